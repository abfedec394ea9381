"""Overlapping tiles, aligned and blended."""

import numpy as np
import pytest
import torch
from torch import Tensor

from polyscene.predict import Predictor, enlarging, tiles
from polyscene.tasks import Depth, SemanticSegmentation

TASKS = {"depth": Depth(), "semseg": SemanticSegmentation(classes=("a", "b"))}


def scene(size: tuple[int, int]) -> dict[str, Tensor]:
    """A slope whose classes change in the middle."""
    across = torch.linspace(0, 1, size[1]).expand(1, *size)
    share = (across > 0.5).float()
    return {"depth": 1 + across, "semseg": torch.cat([1 - share, share])}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_perfect_look_at_tiles_of_any_scale_leaves_no_seam(count: int) -> None:
    height, width = 24, 32
    large = scene((count * height, count * width))
    picture = torch.cat([large["depth"], large["semseg"]])
    scales = iter(np.random.default_rng(0).uniform(0.5, 2, 1000).tolist())

    def look(images: Tensor) -> dict[str, Tensor]:
        assert images.shape == (1, 3, height, width)
        return {"depth": images[:, :1] * next(scales), "semseg": images[:, 1:]}

    refined = tiles.refined(picture, scene((height, width)), TASKS, count, look)
    assert refined["depth"].shape == (1, count * height, count * width)
    inner = (..., slice(None), slice(count, -count))  # the look at the whole is flat beyond its outermost pixels
    torch.testing.assert_close(refined["depth"][inner], large["depth"][inner], rtol=0.02, atol=0.0)
    assert refined["depth"].diff(dim=-1).abs().max() < 3 / (count * width)
    assert (refined["semseg"].argmax(0) == large["semseg"].argmax(0)).float().mean() > 0.98


def test_every_pixel_is_in_a_tile_and_tiles_overlap() -> None:
    for side in (32, 96, 224):
        for count in (1, 2, 3, 4, 7):
            starts = tiles._starts(side, count)
            assert starts[0] == 0 and starts[-1] == side * (count - 1)
            assert all(0 < step <= 0.76 * side for step in np.diff(starts))


def test_depth_takes_the_scale_of_the_whole_and_classes_stay() -> None:
    whole = scene((8, 8))
    torch.testing.assert_close(TASKS["depth"].align(whole["depth"] * 3, whole["depth"]), whole["depth"])
    assert TASKS["semseg"].align(whole["semseg"] * 3, whole["semseg"]) is not whole["semseg"]


def test_a_predictor_with_tiles_sees_more_detail(predictor: Predictor, photo: np.ndarray) -> None:
    large = np.kron(photo, np.ones((2, 2, 1), np.uint8))
    plain, fine = predictor(large), predictor.configure(tiles=2)(large)
    assert fine.depth.shape == plain.depth.shape == (128, 192)
    assert not np.allclose(fine.depth, plain.depth)
    assert abs(np.median(np.log(fine.depth / plain.depth))) < 0.2
    np.testing.assert_allclose(np.linalg.norm(fine.normals, axis=-1), 1, atol=1e-5)
    with pytest.raises(ValueError, match="counts, from 1 on"):
        predictor.configure(tiles=0)


def test_bands_are_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    soft = torch.rand(3, 7, 9)
    whole = torch.nn.functional.interpolate(soft[None], (50, 61), mode="bilinear")[0]
    for band in (1, 1000, 10**7):
        monkeypatch.setattr(enlarging, "BAND", band)
        np.testing.assert_allclose(
            enlarging.decided(soft, (50, 61), lambda value: value), whole.movedim(0, -1), atol=1e-5
        )
        ids = enlarging.decided(soft, (50, 61), lambda value: value.argmax(-3, keepdim=True))
        assert ids.dtype == np.int16 and (ids == whole.argmax(0).numpy()).mean() > 0.999
    np.testing.assert_allclose(enlarging.decided(soft, (7, 9), lambda value: value), soft.movedim(0, -1), atol=1e-6)
