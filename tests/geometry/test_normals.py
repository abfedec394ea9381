"""Normals fitted to depth, boundaries of label maps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyscene.geometry import boundaries, normals

INTRINSICS = torch.tensor([[40.0, 0, 23.5], [0, 44.0, 15.5], [0, 0, 1]])
SIZE = (32, 48)


def rays() -> torch.Tensor:
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in SIZE), indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones(SIZE, dtype=torch.float64)])
    return torch.einsum("ij,jhw->ihw", INTRINSICS.double().inverse(), pixels)


def plane(normal: torch.Tensor, distance: float) -> torch.Tensor:
    """(1, h, w) depth at which rays meet normal . x = -distance."""
    return (-distance / torch.einsum("i,ihw->hw", normal.double(), rays()))[None].float()


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.5, 5))
def test_a_plane_has_its_normal_everywhere(x: float, y: float, distance: float) -> None:
    normal = torch.nn.functional.normalize(torch.tensor([x, y, -1.0]), dim=0)
    depth = plane(normal, distance)
    found, known = normals.from_depth(depth, depth > 0, INTRINSICS)
    flat = found[:, known[0]]
    assert known[0, 3:-3, 3:-3].all()
    assert torch.allclose(flat, normal[:, None].expand_as(flat), atol=1e-4)


def test_a_step_between_surfaces_and_unknown_depth_do_not_mix_in() -> None:
    left, right = torch.tensor([0.0, 0, -1]), torch.nn.functional.normalize(torch.tensor([-0.5, 0, -1.0]), dim=0)
    depth = plane(left, 1.0)
    depth[..., 24:] = plane(right, 3.0)[..., 24:]
    valid = torch.ones_like(depth, dtype=torch.bool)
    valid[:, 10:14, 5:9] = False
    depth[~valid] = 77.0
    found, known = normals.from_depth(depth, valid, INTRINSICS)
    assert not known[~valid].any()
    for columns, normal in ((slice(0, 24), left), (slice(24, 48), right)):
        part = found[:, :, columns][:, known[0, :, columns]]
        assert torch.allclose(part, normal[:, None].expand_as(part), atol=1e-4)


def test_too_few_neighbours_are_no_plane() -> None:
    depth = torch.zeros(1, *SIZE)
    depth[0, 8, 8:12] = 1.0
    assert not normals.from_depth(depth, depth > 0, INTRINSICS)[1].any()


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="must be \\(1, h, w\\)"):
        normals.from_depth(torch.ones(4, 4), torch.ones(4, 4, dtype=torch.bool), INTRINSICS)


def test_axes_are_found_from_depth() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.nn.functional.normalize(torch.randn(3, *SIZE, generator=generator), dim=0)
    turn = torch.tensor([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]])
    valid = torch.ones(1, *SIZE, dtype=torch.bool)
    found, after, before = normals.axes(own, torch.einsum("ij,jhw->ihw", turn, own), valid)
    assert torch.equal(found, turn.double())
    assert after < 0.1 < 30 < before


def test_boundaries_lie_left_of_and_above_the_change() -> None:
    ids = torch.zeros(4, 6, dtype=torch.long)
    ids[2:, 3:] = 7
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[1, 2:] = True
    expected[2:, 2] = True
    assert torch.equal(boundaries.of_ids(ids), expected)
    valid = torch.ones(4, 6, dtype=torch.bool)
    valid[2:, 3:] = False
    assert not boundaries.of_ids(ids, valid).any()
