import math

import pytest
import torch

from polyscene.adaptation.pose_network import PoseNetwork, motion
from polyscene.encoders import pretrained


def test_motion() -> None:
    """A quarter turn about y takes z to x; then the shift."""
    pose = motion(torch.tensor([[0.0, math.pi / 2, 0.0, 1.0, 2.0, 3.0]]))[0]
    assert torch.allclose(pose @ torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([2.0, 2.0, 3.0, 1.0]), atol=1e-6)
    assert torch.equal(motion(torch.zeros(2, 6)), torch.eye(4).expand(2, 4, 4))


def test_motion_is_rigid_and_has_a_gradient_at_rest() -> None:
    pose = motion(torch.randn(5, 6, generator=torch.Generator().manual_seed(0)))
    turn = pose[:, :3, :3]
    assert torch.allclose(turn @ turn.mT, torch.eye(3).expand(5, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(turn), torch.ones(5), atol=1e-5)
    rest = torch.zeros(1, 6, requires_grad=True)
    motion(rest)[0, 2, 1].backward()
    assert rest.grad is not None and rest.grad[0].tolist() == [1, 0, 0, 0, 0, 0]


def test_it_begins_near_the_identity_and_depends_on_the_order() -> None:
    torch.manual_seed(0)
    network = PoseNetwork("test_resnet", width=16).eval()
    one, other = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    there, back = network(one, other), network(other, one)
    assert (there - torch.eye(4)).abs().max() < 0.05 and not torch.equal(there, back)


def test_published_size() -> None:
    """ResNet-18 without its classifier, with six channels in, and the decoder: 12.5 million."""
    with torch.device("meta"):
        network = PoseNetwork()
    trunk, first, decoder = 11_176_512, 3 * 64 * 49, 512 * 256 + 256 + 2 * (256 * 256 * 9 + 256) + 256 * 6 + 6
    assert sum(each.numel() for each in network.parameters()) == trunk + first + decoder


def test_weights_of_one_picture_serve_two() -> None:
    name = "tf_efficientnet_lite0"
    try:
        state = pretrained.state_of(name, "package")
    except ValueError as error:
        pytest.skip(str(error))
    assert state is not None
    network = PoseNetwork(name, "package", width=8)
    own = network.encoder.state_dict()["conv_stem.weight"]
    assert torch.allclose(own, state["conv_stem.weight"].repeat(1, 2, 1, 1) / 2)
