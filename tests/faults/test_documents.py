"""Texts and descriptions that are written to do harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from polyscene import create_model, document, weights
from polyscene.bounded import Bounded, TooLarge
from polyscene.config import ConfigError, load
from polyscene.data import description, files
from polyscene.data.base import BadSample
from polyscene.data.cameras import Cameras
from polyscene.document import BadText

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
HOSTILE = {
    "aliases that stand for billions": LAUGHS,
    "an anchor that holds itself": "a: &a [*a]",
    "deep": "[" * 5000,
    "deeper than people write": "[" * 150 + "]" * 150,
    "no such day": "when: 2001-99-99",
    "no number": "n: !!int x",
    "neither true nor false": "b: !!bool x",
    "a program": "!!python/object/apply:os.system [echo]",
    "an endless number": "n: " + "9" * 5000,
    "a key that is a list": "[1]: 2",
    "two documents": "--- 1\n--- 2\n",
    "a control character": "a: \x00",
    "a book": "a: " + "x" * 3_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadText) as error:
        document.from_yaml(HOSTILE[name])
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    file = tmp_path / "polyscene.yaml"
    file.write_text(HOSTILE[name])
    with pytest.raises(ConfigError, match="is not YAML"):
        load(file)
    with pytest.raises(description.BadDescription, match="not YAML"):
        description.load(file)


def test_anchors_that_people_use_are_read() -> None:
    text = "base: &base {rate: 1}\none: {<<: *base, steps: 2}\ntwo: *base\n"
    assert document.from_yaml(text) == {"base": {"rate": 1}, "one": {"rate": 1, "steps": 2}, "two": {"rate": 1}}


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 150 + "]" * 150, "{", "\xff".encode("latin1"), "9" * 5000])
def test_hostile_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadText):
        document.from_json(text)


@pytest.mark.parametrize("line", ["images: ../{id}.png", "images: /{id}.png", "images: a/../../{id}.png"])
def test_patterns_stay_within_the_folder(line: str, tmp_path: Path) -> None:
    (tmp_path / "polyscene.yaml").write_text(f"name: x\n{line}\n")
    with pytest.raises(description.BadDescription, match="leads out of the data set's folder"):
        description.load(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        {"image_size": {"width": 1e400, "height": 10}},
        {"image_size": {"width": 0, "height": 0}},
        {"intrinsics": {"fx": 1e400, "fy": 1, "cx": 0, "cy": 0}},
        {"frames": [{"id": "a", "T_world_cam": [[10**400]]}]},
        {"frames": [[]]},
    ],
)
def test_cameras_of_impossible_numbers(damage: dict[str, object], tmp_path: Path) -> None:
    facts = {
        "image_size": {"width": 64, "height": 48},
        "intrinsics": {"fx": 60, "fy": 60, "cx": 31.5, "cy": 23.5},
        "frames": [{"id": "a"}],
    }
    file = tmp_path / "cameras.json"
    file.write_text(json.dumps(facts))
    assert Cameras.load(file).size == (48, 64)
    file.write_text(json.dumps({**facts, **damage}))
    with pytest.raises(BadSample):
        Cameras.load(file)


def test_an_array_that_says_it_is_larger_than_its_file_is_not_allocated(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    body = header + b" " * (117 - len(header)) + b"\n"
    file = tmp_path / "depth.npy"
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body + bytes(64))
    with pytest.raises(BadSample, match="cannot be read"):
        files.read_label(file)


def test_postscript_is_no_label(tmp_path: Path) -> None:
    file = tmp_path / "label.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(BadSample, match="cannot be read"):
        files.read_label(file)


def test_a_small_file_builds_no_large_network(tmp_path: Path) -> None:
    parts = {"encoder": {"name": "test_resnet"}, "decoder": {"name": "multi_head", "channels": 8, "context": "none"}}
    card = {"model": create_model(["depth"], **parts).describe(), "facts": {}}
    file = tmp_path / "model.safetensors"
    for name, grown in (("channels", 1_000_000_000), ("channels", 30_000)):
        card["model"]["decoder"][name] = grown
        save_file({"a": torch.zeros(4)}, file, {"format": weights.FORMAT, "card": json.dumps(card)})
        with pytest.raises(weights.BadWeights, match="cannot be built"):
            weights.load(file)


def test_a_bound_is_kept_over_many_tensors() -> None:
    with Bounded(10_000):
        assert torch.zeros(80, 100).shape == (80, 100)
        with pytest.raises(TooLarge, match="10,000 numbers"):
            torch.empty((30, 100))
    with Bounded(10_000), pytest.raises(TooLarge):
        for _ in range(11):
            torch.zeros(1)
    with Bounded(10_000), torch.device("meta"):
        assert torch.empty(10**6).device.type == "meta"
