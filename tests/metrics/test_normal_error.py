import math

import pytest
import torch
from tests.metrics.figures import judge, target
from torch import Tensor

from polyscene.metrics import NormalError
from polyscene.metrics.normals import angles
from polyscene.metrics.protocols import PROTOCOLS, NormalsRules
from polyscene.tasks import Normals


def turned(*degrees: float) -> Tensor:
    """(1, 3, 1, n) unit vectors so far from (0, 0, -1)."""
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angle.sin(), torch.zeros_like(angle), -angle.cos()])[None, :, None].float()


def by(protocol: str) -> NormalError:
    return NormalError(PROTOCOLS[protocol].normals)


def off(*degrees: float) -> tuple[Tensor, Tensor]:
    return turned(*degrees), turned(*[0.0] * len(degrees))


def test_against_exact_angles() -> None:
    degrees = torch.rand(2001, generator=torch.Generator().manual_seed(0)).double() * 90
    found = judge(NormalError(), off(*degrees.tolist()))
    assert found["mean"] == pytest.approx(degrees.mean().item(), abs=1e-5)
    assert found["median"] == pytest.approx(degrees.median().item(), abs=0.0011)
    assert found["RMSE"] == pytest.approx(degrees.square().mean().sqrt().item(), abs=1e-5)
    for limit in (11.25, 22.5, 30):
        assert found[f"<{limit:g}°"] == pytest.approx((degrees < limit).double().mean().item() * 100, abs=1e-9)


def test_right_and_opposite() -> None:
    straight = turned(0, 0, 0)
    assert judge(NormalError(), (straight, straight)) == {
        "mean": 0, "median": 0, "RMSE": 0, "<11.25°": 100, "<22.5°": 100, "<30°": 100
    }  # fmt: skip
    found = judge(NormalError(), (-straight, straight))
    assert found["mean"] == pytest.approx(180) and found["median"] == pytest.approx(180, abs=0.0011)


@pytest.mark.parametrize("degrees", [0.0, 0.01, 1.0, 45.0, 90.0, 179.0, 179.99])
def test_angles_are_accurate_everywhere_and_blind_to_length(degrees: float) -> None:
    known = turned(0)
    for length in (1.0, 0.7, 2.0):
        assert float(angles(turned(degrees) * length, known)) == pytest.approx(degrees, abs=2e-5)


@pytest.mark.parametrize("protocol", ["polyscene", "mtan"])
def test_a_prediction_without_a_direction_is_a_right_angle_off(protocol: str) -> None:
    assert judge(by(protocol), (torch.zeros_like(turned(0.0)), turned(0.0)))["mean"] == pytest.approx(90)


def test_the_arc_cosine_of_float32_does_not_see_a_hundredth_of_a_degree() -> None:
    assert judge(NormalError(NormalsRules("arccosine")), off(0.01))["mean"] == 0
    assert judge(NormalError(NormalsRules("arctangent")), off(0.01))["mean"] == pytest.approx(0.01, rel=1e-3)
    assert judge(NormalError(NormalsRules("arccosine")), off(20.0))["mean"] == pytest.approx(20, abs=1e-3)


def test_an_8_bit_picture_turns_a_perfect_prediction() -> None:
    """(0, 0, -1) is stored as (127, 127, 0): -1/255 in x and in y."""
    expected = math.degrees(math.atan(math.sqrt(2) / 255))
    for protocol in ("mtlpt", "astmt"):
        assert judge(by(protocol), off(0.0))["mean"] == pytest.approx(expected, abs=1e-3)
    for protocol in ("polyscene", "invpt", "atrc", "sak"):
        assert judge(by(protocol), off(0.0))["mean"] == 0


def test_pixels_or_images_are_averaged() -> None:
    images = off(10, 20, 60), off(40.0)
    pooled = judge(by("polyscene"), *images)
    assert pooled["mean"] == pytest.approx(32.5, abs=1e-4) and pooled["<30°"] == 50
    assert pooled["median"] == pytest.approx(20, abs=0.0011)
    apart = judge(by("mtan"), *images)
    assert apart["mean"] == pytest.approx((30 + 40) / 2, abs=1e-4) and apart["median"] == pytest.approx(30, abs=1e-4)
    root = math.sqrt((100 + 400 + 3600) / 3)
    assert apart["RMSE"] == pytest.approx((root + 40) / 2, abs=1e-4)
    assert apart["<30°"] == pytest.approx((200 / 3 + 0) / 2)
    dense = judge(by("dense_mtl"), *images)
    assert dense["mean"] == pytest.approx(35, abs=1e-4)
    assert dense["RMSE"] == pytest.approx(math.sqrt((root**2 + 1600) / 2), abs=1e-4)


def test_rmse_is_not_the_mean() -> None:
    """As a public meter has it under the name rmse."""
    found = judge(by("mtlpt"), off(0.0, 40.0))
    assert found["RMSE"] > found["mean"] + 5


def test_the_l1_loss_is_a_mean_over_components() -> None:
    """A third of that of code which divides by the number of pixels: its weights mean another thing."""
    value, known = turned(180), target(turned(0))
    assert float(Normals(l1_share=1.0).loss(value, known)) == pytest.approx(2 / 3, abs=1e-6)
