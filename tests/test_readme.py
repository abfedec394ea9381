"""Every command and every snippet of the README runs, in its order, on small data. What takes minutes is made small by
SMALLER; nothing else is changed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import jaxtyping
import numpy as np
import pytest
from tests.data.folders import make_folder

from polyscene import cli, demo

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SMALLER = {
    "minutes: 20": "steps: 2",
    "scenes: 100": "scenes: 1",
    "size: [192, 256]": "size: [64, 96]",
    "--scenes 4": "--scenes 1",
    "polyscene adapt mine.yaml": "polyscene adapt mine.yaml --steps 2",
}
TINY_DEMO = [
    "--data.size", "[64, 96]",
    "--data.train.rooms.dataset.scenes", "1", "--data.train.rooms.dataset.size", "[64, 96]",
    "--data.evaluate.rooms.dataset.scenes", "1", "--data.evaluate.rooms.dataset.size", "[64, 96]",
    "--data.train.rooms.batch", "2", "--data.evaluate.rooms.batch", "2",
]  # fmt: skip


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def smaller(text: str) -> str:
    for long, short in SMALLER.items():
        text = text.replace(long, short)
    return text


COMMANDS = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines() if line.strip()]


def test_the_readme_is_short_and_starts_with_a_picture_and_the_two_commands() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert lines[0].startswith("![")
    assert (ROOT / re.search(r"\((.*?)\)", lines[0])[1]).is_file()
    assert COMMANDS[:2] == ["make demo", "make test"]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize(
    ("target", "runs"),
    [
        ("demo", "polyscene demo"),
        ("test", "-m pytest"),
        ("docs", "mkdocs build"),
        ("starter", "experiments/starter/run"),
    ],
)
def test_make(target: str, runs: str) -> None:
    plan = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert runs in plan


def test_pip_install(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    words = [
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(tmp_path / "site"),
        ".",
    ]
    subprocess.run([sys.executable, "-m", "pip", *words], cwd=source, check=True)
    installed = tmp_path / "site" / "polyscene"
    for needed in ("py.typed", "configs/demo.yaml", "samples/CREDITS.md", "report.css", "starter/model.safetensors"):
        assert (installed / needed).is_file(), needed


def test_commands_and_snippets_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("POLYSCENE_DATA", str(tmp_path / "absent"))
    samples = ROOT / "src" / "polyscene" / "samples"
    os.mkdir("photos")
    shutil.copy(samples / "coffee.jpg", "photos")
    shutil.copy(samples / "chelsea.jpg", "photo.jpg")
    make_folder(Path("my_data"))
    Path("my_data/polyscene.yaml").unlink()
    os.mkdir("shots")
    shutil.copy(samples / "rocket.jpg", "shots/one.png")
    film = cv2.VideoWriter("walk.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64))
    for shade in (60, 200):
        film.write(np.full((64, 96, 3), shade, np.uint8))
    film.release()
    served: list[str] = []  # pages that are served until they are interrupted have tests of their own
    for page in ("app.server", "view"):
        monkeypatch.setattr(f"polyscene.{page}.run", lambda *_, page=page: served.append(page))
    for name, block in zip(("my.yaml", "mine.yaml"), blocks("yaml"), strict=True):
        Path(name).write_text(smaller(block))

    for command in COMMANDS:
        if not command.startswith("polyscene "):
            assert command.split()[0] in ("make", "pip"), f"not run by any test: {command}"
            continue
        words = shlex.split(smaller(command))[1:]
        if words[0] == "demo":  # the same call that the command makes, on one room
            demo.run(0.01, Path(words[words.index("--out") + 1]), TINY_DEMO)
        else:
            jaxtyping.config.update("jaxtyping_disable", words[0] == "export")  # sizes are tensors in a traced network
            assert cli.main(words) == 0, command
            jaxtyping.config.update("jaxtyping_disable", False)
    for snippet in blocks("python"):
        exec(compile(snippet, "README.md", "exec"), {})
    assert list(Path("out").glob("*.npz")) and Path("onnx/model.onnx").is_file()
    assert served == ["app.server", "view"]
