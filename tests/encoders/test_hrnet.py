from __future__ import annotations

import torch

from polyscene.encoders.hrnet import HRNet


def test_enlarging_by_a_power_of_two_first_is_another_thing_at_other_sizes() -> None:
    plain, scaled = (
        HRNet("hrnet_w18_small_v2", (0.5,), (0.5,), upsample=how).eval() for how in ("bilinear", "scaled_bilinear")
    )
    scaled.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        for size, same in (((32, 64), True), ((40, 52), False)):
            images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
            first, second = plain(images).maps[0], scaled(images).maps[0]
            assert first.shape == second.shape
            assert torch.equal(first, second) == same
