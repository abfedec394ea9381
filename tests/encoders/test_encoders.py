from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from polyscene import encoders
from polyscene.encoders import pretrained


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "mobilenetv4_conv_small_035", "test_mambaout"])
def test_stem_and_stages_make_the_same_maps(name: str) -> None:
    encoder = encoders.build(name).eval()
    images = torch.rand(1, 3, 64, 96)
    tensor = encoder.stem(images)
    for stage, expected in zip(encoder.stages, encoder(images).maps, strict=True):
        tensor = stage(tensor)
        assert torch.equal(tensor, expected)


def test_hrnet_gives_its_branches() -> None:
    with torch.device("meta"):
        encoder = encoders.build("hrnet_w18_small_v2")
    assert encoder.channels == (18, 36, 72, 144)
    assert encoder.strides == (4, 8, 16, 32)
    assert not encoder.interleaves


def test_a_vit_gives_four_blocks_the_last_normed() -> None:
    torch.manual_seed(0)
    encoder = encoders.build("vit_tiny_patch16_224", depth=6).eval()
    torch.nn.init.uniform_(encoder.net.norm.weight)
    assert encoder.blocks == (0, 2, 3, 5)
    images = torch.rand(1, 3, 64, 96)
    maps = encoder(images).maps
    tokens = encoder.net.forward_features(encoder.normalise(images))[:, 1:]
    assert torch.allclose(maps[-1].flatten(2).transpose(1, 2), tokens, atol=1e-5)
    assert [tuple(level.shape) for level in maps] == [(1, 192, 4, 6)] * 4
    assert encoders.build("vit_tiny_patch16_224", depth=6, blocks=[1, 3]).strides == (16, 16)
    with pytest.raises(ValueError, match="blocks"):
        encoders.build("vit_tiny_patch16_224", depth=6, blocks=[3, 9])


def test_images_are_normalised_as_the_network_expects() -> None:
    encoder = encoders.build("test_resnet")
    expected = timm.get_pretrained_cfg("test_resnet")
    grey = torch.tensor(expected.mean)[None, :, None, None].expand(1, 3, 4, 4)
    assert torch.allclose(encoder.normalise(grey), torch.zeros(()), atol=1e-6)
    assert torch.allclose(encoder.normalise(grey + torch.tensor(expected.std)[:, None, None]), torch.ones(()))


def test_packaged_weights_load_strictly_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    encoder = encoders.build("tf_efficientnet_lite0", pretrained=True)
    state = pretrained.packaged("tf_efficientnet_lite0")
    assert encoder.net.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[key]) for key, tensor in encoder.net.state_dict().items())


def test_every_name_of_the_package_has_its_place() -> None:
    package, _, inside = pretrained.PACKAGED["tf_efficientnet_lite0"].partition("/")
    path = Path(pytest.importorskip(package).__file__).parent / inside
    state = pretrained.timm_names(torch.load(path, "cpu", weights_only=True))
    assert len(state) == 296
    timm.create_model("tf_efficientnet_lite0").load_state_dict(state, strict=True)


def test_the_names_agree_with_the_published_map(real_data: Path) -> None:
    file = real_data / "pretrained_keymaps" / "efficientnet_lite0_to_timm_tf_efficientnet_lite0.json"
    for theirs, timms in json.loads(file.read_text()).items():
        assert list(pretrained.timm_names({theirs: torch.zeros(())})) == [timms]


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_weights_from_a_file(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = timm.create_model(name)
    state = source.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    encoder = encoders.build(name, tmp_path / "w.safetensors")
    loaded = {key.replace("_", "."): tensor for key, tensor in encoder.net.state_dict().items()}
    wanted = {key.replace("_", "."): tensor for key, tensor in state.items()}
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in loaded.items())
    stem = next(iter(state))
    save_file({key: tensor for key, tensor in state.items() if key != stem}, tmp_path / "cut.safetensors")
    with pytest.raises(ValueError, match=stem):
        encoders.build(name, tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "resnet_18"}, "resnet18"),
        ({"name": "resnet18", "pretrained": "package"}, "tf_efficientnet_lite0"),
        ({"name": "test_resnet", "pretrained": Path("no/such/file.pth")}, "no/such/file.pth"),
        ({"name": "test_resnet", "checkpoint_path": "x.pth"}, "checkpoint_path"),
        ({"name": "test_resnet", "no_such_option": 1}, "no_such_option"),
        ({"name": "beit_base_patch16_224", "depth": 3}, "img_size"),
    ],
)
def test_refusals_name_the_remedy(arguments: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        encoders.build(**arguments)


class Opens:
    """A pickle of this opens ``file`` when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return open, (str(self.file), "w")


def test_files_of_weights_that_are_none_are_refused_and_nothing_is_unpickled(tmp_path: Path) -> None:
    trap, state = tmp_path / "opened", timm.create_model("test_resnet").state_dict()
    torch.save({"state_dict": Opens(trap)}, tmp_path / "trap.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save(state, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "renamed.safetensors").write_bytes(whole)
    first = next(key for key, tensor in state.items() if tensor.ndim == 4)
    torch.save({**state, first: torch.zeros(1, 1, 1, 1)}, tmp_path / "shape.pth")
    for name, said in {
        "trap.pth": "more than tensors",
        "cut.pth": "cut short",
        "renamed.safetensors": "cut short",
        "list.pth": "no tensors by name",
        "shape.pth": "do not fit test_resnet",
    }.items():
        with pytest.raises(ValueError, match=said):
            encoders.build("test_resnet", tmp_path / name)
    assert not trap.exists()
    encoders.build("test_resnet", tmp_path / "whole.pth")
