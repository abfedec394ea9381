import json
import subprocess
import sys
from pathlib import Path

import pytest

from polyscene import cli, weights
from polyscene.model import create_model

NAMES = [[name] for name in cli.COMMANDS] + [["data", name] for name in cli.DATA]


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_every_command_explains_itself(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = cli.main([*words, "--help"])
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    assert status == 0 and f"polyscene {' '.join(words)}" in capsys.readouterr().out


def test_help_lists_every_command_and_imports_no_torch() -> None:
    code = "import sys\nfrom polyscene import cli\nprint(cli.main(['--help']), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("0 False")
    assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "did you mean 'train'?"),
        (["data", "rendr"], "did you mean 'render'?"),
        (["train", "nowhere.yaml"], "No such file"),
        (["predict", "nowhere.jpg", "--out", "x"], "nowhere.jpg"),
        (["info", "nowhere"], "no weights at nowhere"),
        (["eval", "nowhere", "--data", "romos"], "did you mean 'rooms'?"),
        (["eval", "nowhere", "--data", "rooms"], "no weights at nowhere"),
        (["eval", "nowhere", "--data", "rooms", "--limit", "0"], "--limit 0"),
        (["bench", "no_such"], "unknown benchmark"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_a_line_with_status_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert cli.main([*words, "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_nothing_given_shows_the_help_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "usage: polyscene" in capsys.readouterr().out


def test_info_says_what_a_network_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = create_model(["depth", "normals"], encoder="resnet18", decoder={"name": "multi_head", "channels": 16})
    weights.save(model, tmp_path, licence="Apache-2.0", size=[64, 96], metrics={"rooms": {"depth": {"RMSE": 0.5}}})
    assert cli.main(["info", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    count = sum(parameter.numel() for parameter in model.parameters())
    assert f"{count:,}" in told and "Apache-2.0" in told and "resnet18" in told and "RMSE 0.5" in told
    assert cli.main(["info", str(tmp_path), "--as-json"]) == 0
    assert sum(json.loads(capsys.readouterr().out)["parameters"].values()) == count


def test_info_refuses_what_is_cut_short_or_not_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = create_model(["depth"], encoder="resnet18", decoder={"name": "multi_head", "channels": 16})
    file = weights.save(model, tmp_path)
    whole = file.read_bytes()
    for content in (whole[:-10], whole[:100], b"", b"PK\x03\x04 something else entirely"):
        file.write_bytes(content)
        assert cli.main(["info", str(file)]) == 2
        assert "cut short" in capsys.readouterr().err
    file.write_bytes((2).to_bytes(8, "little") + b"{}")
    assert cli.main(["info", str(file)]) == 2
    assert "not written by polyscene" in capsys.readouterr().err


def test_benchmarks_take_options_of_their_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "cost-volume", "--help"]) == 0
    assert "--rounds" in capfd.readouterr().out
