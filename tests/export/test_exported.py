"""A network written as ONNX and OpenVINO: says what torch says, or is not kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn

from polyscene import cli, create_model, weights
from polyscene.export import command, engine, graph, parity, precision, signals
from polyscene.model import MultiTaskModel
from polyscene.portable import Portable
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation

TASKS = [SemanticSegmentation(classes=("wall", "floor", "thing")), Depth(), Normals(), Edges()]
SIZE = (64, 96)
SAMPLE = command.SAMPLES / "coffee.jpg"


@pytest.fixture(autouse=True, scope="module")
def _sizes_are_traced() -> Iterator[None]:
    """While a graph is traced, sizes are tensors, which the shape checks of the tests refuse."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def network(encoder: str = "test_efficientnet", decoder: Any = None, focal: float | None = 0.9) -> MultiTaskModel:
    torch.manual_seed(0)
    decoder = decoder or {"name": "multi_head", "channels": 16, "context_channels": 16}
    model = create_model(TASKS, encoder, decoder, canonical_focal=focal)
    for head in model.heads.values():
        nn.init.normal_(head.project.weight, std=0.3)  # maps that are not flat
    return model.eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    weights.save(network(), folder, size=SIZE, licence="CC0")
    return folder


@pytest.fixture(scope="module")
def onnx(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx")
    command.run(trained, out, photos=[SAMPLE])
    return out


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_timed", lambda *_: {})


def pictures(batch: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    images = np.random.default_rng(1).random((batch, 3, *size), np.float32)
    return {"images": images, "focal": np.linspace(50, 150, batch, dtype=np.float32)}


def worst(trained: Path, running: engine.Engine, batch: int, size: tuple[int, int]) -> float:
    inputs = pictures(batch, size)
    own = parity.torch_values(Portable(weights.load(trained)[0]), inputs)
    return max(parity.largest_differences([own], [running(inputs)]).values())


def test_the_folder_tells_what_it_holds(onnx: Path) -> None:
    about = json.loads((onnx / "export.json").read_text())
    assert sorted(path.name for path in onnx.iterdir()) == ["export.json", "look.py", "model.onnx"]
    assert about["file"] == "model.onnx" and about["size"] == [64, 96] and about["any_size"] is True
    assert about["inputs"] == ["images", "focal"] and about["outputs"] == ["semseg", "depth", "normals", "edges"]
    assert about["classes"]["semseg"] == ["wall", "floor", "thing"] and about["units"]["depth"] == "m"
    assert [task["type"] for task in about["tasks"]] == ["SemanticSegmentation", "Depth", "Normals", "Edges"]
    assert about["licence"] == "CC0" and about["canonical_focal"] == 0.9
    assert max(about["largest_difference"].values()) < 1e-4
    assert set(about["milliseconds"]) == {"torch", "onnxruntime fp32", "OpenVINO fp32"}


@pytest.mark.parametrize(("batch", "size"), [(1, SIZE), (3, SIZE), (2, (128, 64))])
def test_any_batch_and_any_size(trained: Path, onnx: Path, batch: int, size: tuple[int, int]) -> None:
    assert worst(trained, engine.open_engine(onnx), batch, size) < 1e-3


def test_delicate_convolutions_keep_their_bits(onnx: Path) -> None:
    import onnx as library

    nodes = library.load(onnx / "model.onnx").graph
    kept = precision.delicate(nodes)
    names = [node.name for node in nodes.node if node.op_type == "Conv"]
    assert names[0] in kept and 5 < len(names) - len(set(kept))
    assert sum("/heads." in name or "/project/" in name for name in kept) == len(TASKS)


def test_openvino(trained: Path, onnx: Path, tmp_path: Path, untimed: None) -> None:
    before = signals.stack()
    command.run(trained, tmp_path, "openvino", photos=[SAMPLE])
    after = signals.stack()
    assert (after.start, after.size, after.flags) == (before.start, before.size, before.flags), "signals would crash"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.json", "model.bin", "model.xml"]
    running = engine.open_engine(tmp_path / "model.xml", threads=1)
    assert worst(trained, running, 3, (128, 64)) < 1e-3
    precision.openvino(onnx / "model.onnx", tmp_path / "half.xml", half=True)
    assert (tmp_path / "half.bin").stat().st_size < 0.6 * (tmp_path / "model.bin").stat().st_size


@pytest.mark.parametrize(
    ("format", "bits", "share"), [("onnx", "fp16", 0.75), ("openvino", "int8", 0.8), ("onnx", "int8", 0.8)]
)
def test_fewer_bits(
    trained: Path, onnx: Path, tmp_path: Path, format: Any, bits: Any, share: float, capsys: Any, untimed: None
) -> None:
    about = command.run(trained, tmp_path, format, bits, photos=[SAMPLE])
    heavy = tmp_path / ("model.onnx" if format == "onnx" else "model.bin")
    assert heavy.stat().st_size < share * (onnx / "model.onnx").stat().st_size
    assert about["agreement"]["semseg"]["agreement"] > 90
    assert 0 < worst(trained, engine.open_engine(tmp_path), 3, SIZE) < 0.3
    printed = capsys.readouterr().out
    assert "AbsRel" in printed and "angle" in printed


def test_depth_without_a_focal_length_is_that_of_the_usual_camera(onnx: Path) -> None:
    running, inputs = engine.open_engine(onnx), pictures(1, SIZE)
    images = {"images": inputs["images"]}
    usual = {**images, "focal": np.float32([0.9 * 96])}
    np.testing.assert_array_equal(running(images)["depth"], running(usual)["depth"])
    assert not np.allclose(running(images)["depth"], running(inputs)["depth"])


def test_the_script_needs_neither_torch_nor_polyscene(trained: Path, onnx: Path, tmp_path: Path) -> None:
    script = (onnx / "look.py").read_text()
    lines = [line for line in script.splitlines() if line.strip() and not line.startswith(('"""', "import", "from"))]
    assert len(lines) <= 20 and max(map(len, script.splitlines())) <= 120
    told = "import atexit, sys; atexit.register(lambda: print({'torch', 'polyscene'} & set(sys.modules)))"
    run = f"{told}; import runpy; sys.argv = {['look.py', str(SAMPLE), 'found.npz']!r}; "
    run += f"runpy.run_path({str(onnx / 'look.py')!r})"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
    assert "depth: (" in done.stdout and " m\n" in done.stdout
    found = np.load(tmp_path / "found.npz")
    size = found["depth"].shape
    assert size[0] % 32 == size[1] % 32 == 0 and size[0] < size[1]
    assert found["normals"].shape == (3, *size) and set(np.unique(found["semseg"])) <= {0, 1, 2}
    inputs = command.examples([SAMPLE], (size[0], size[1]), Portable(weights.load(trained)[0]))[0]
    own = parity.torch_values(Portable(weights.load(trained)[0]), {**inputs, "focal": np.float32([0.9 * size[1]])})
    assert np.median(np.abs(found["depth"] / own["depth"][0, 0] - 1)) < 0.02


def test_the_engine_needs_no_torch() -> None:
    lines = "import sys; from polyscene.export import Engine, open_engine; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_differs_is_not_kept_and_what_was_there_stays(
    trained: Path, onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in onnx.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    own = Depth.activate
    monkeypatch.setattr(Depth, "activate", lambda task, raw: own(task, raw) * (1.02 if torch.jit.is_tracing() else 1.0))
    monkeypatch.setattr(graph, "CLOSE", 10.0)
    with pytest.raises(command.Unlike, match=r"depth 0\.0\d+.*nothing was kept"):
        command.run(trained, tmp_path, photos=[SAMPLE])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_another_format_takes_the_place_of_the_one_before(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    out = tmp_path / "out"
    made.mkdir(), out.mkdir()
    for name in ("model.onnx", "look.py", "notes.txt"):
        (out / name).write_text("before")
    for name in ("model.xml", "model.bin"):
        (made / name).write_text("after")
    command._keep(made / "model.xml", {"format": "openvino", "file": "model.xml"}, out)
    assert sorted(file.name for file in out.iterdir()) == ["export.json", "model.bin", "model.xml", "notes.txt"]


def test_a_vit_takes_one_size(tmp_path: Path) -> None:
    portable = Portable(network("test_vit", {"name": "vit_light", "width": 8}, focal=None))
    assert not graph.write(portable, SIZE, tmp_path / "model.onnx")
    about = {"file": "model.onnx", "size": SIZE, "any_size": False, "inputs": ("images",), "outputs": portable.outputs}
    (tmp_path / "export.json").write_text(json.dumps(about))
    running, inputs = engine.open_engine(tmp_path), {"images": pictures(3, SIZE)["images"]}
    assert max(parity.largest_differences([parity.torch_values(portable, inputs)], [running(inputs)]).values()) < 1e-3
    with pytest.raises(ValueError, match="128x64: this exported network takes 64x96 alone"):
        running({"images": pictures(1, (128, 64))["images"]})


def test_padding_is_that_of_tensorflow() -> None:
    model = network("tf_efficientnet_lite0")
    portable, images = Portable(model), torch.rand(1, 3, 64, 96)
    still = graph.prepare(portable, SIZE)
    assert any(isinstance(module, graph._Padded) for module in still.modules())
    assert not any(isinstance(module, graph._Padded) for module in portable.modules())
    with torch.inference_mode():
        for name, value in portable(images).items():
            torch.testing.assert_close(still(images)[name], value)


def test_judged_on_labelled_data(trained: Path, tmp_path: Path, capsys: Any, untimed: None) -> None:
    from PIL import Image

    data = tmp_path / "data"
    for kind in ("images", "depth"):
        (data / kind).mkdir(parents=True)
    for place in range(2):
        pixels = np.random.default_rng(place).integers(0, 255, (64, 96, 3), np.uint8)
        Image.fromarray(pixels).save(data / "images" / f"{place}.png")
        Image.fromarray(np.full((64, 96), 2000, np.uint16)).save(data / "depth" / f"{place}.png")
    (data / "polyscene.yaml").write_text(
        "name: tiny\nimages: images/{id}.png\ntasks:\n  depth: {path: 'depth/{id}.png', scale: 0.001}\n"
    )
    about = command.run(trained, tmp_path / "out", photos=[SAMPLE], data=str(data))
    (found,) = about["figures"]["torch"].items()
    assert about["figures"]["exported"] == {found[0]: pytest.approx(found[1], rel=1e-3)}
    assert f"{found[0]}: " in capsys.readouterr().out


def test_mistakes_take_one_line(trained: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="50x64: both sides must be multiples of 32"):
        command.run(trained, tmp_path / "a", size=(50, 64))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no picture in"):
        command.run(trained, tmp_path / "a", photos=[tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="polyscene export"):
        engine.open_engine(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"export\.json is missing"):
        engine.open_engine(tmp_path / "empty")
    (tmp_path / "model.pt").touch()
    with pytest.raises(ValueError, match=r"\.onnx or \.xml"):
        engine.open_engine(tmp_path / "model.pt")
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    (tmp_path / "export.json").write_text('{"file": "model.onnx"}')
    with pytest.raises(ValueError, match="cannot be run"):
        engine.open_engine(tmp_path)
    (tmp_path / "export.json").write_text("{")
    with pytest.raises(ValueError, match="export again"):
        engine.open_engine(tmp_path)
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert cli.main(["export", str(trained), "--out", str(tmp_path / "a")]) == 2
    assert capsys.readouterr().err == (
        "polyscene: onnx, onnxruntime, openvino not installed: pip install 'polyscene[export]'\n"
    )


def test_the_runtime_may_be_missing(onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(engine.NotInstalled, match=r"onnxruntime is not installed: pip install 'polyscene\[export\]'"):
        engine.open_engine(onnx)
