import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polyscene.types import Camera, Sample, Target, collate


def sample(views: int, tasks: tuple[str, ...] = ("depth",), size: tuple[int, int] = (4, 6), name: str = "a") -> Sample:
    eye3, eye4 = torch.eye(3).expand(views, 3, 3), torch.eye(4).expand(views, 4, 4)
    yes = torch.ones(views, dtype=torch.bool)
    targets = {
        task: Target(torch.rand(views, 1, *size), torch.ones(views, 1, *size, dtype=torch.bool)) for task in tasks
    }
    return Sample(torch.rand(views, 3, *size), targets, Camera(eye3, eye4, yes), yes, "double", (name,))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_views_are_padded_and_marked(counts: list[int]) -> None:
    batch = collate([sample(views) for views in counts])
    assert batch.images.shape[:2] == (len(counts), max(counts))
    assert batch.present.sum(1).tolist() == counts
    padding = ~batch.present
    assert not batch.targets["depth"].valid[padding].any()
    assert not batch.camera.known[padding].any()


def test_a_task_that_a_sample_lacks_is_all_invalid() -> None:
    batch = collate([sample(1, ("depth", "normals")), sample(2, ("depth",))])
    assert batch.targets["normals"].valid[0, 0].all()
    assert not batch.targets["normals"].valid[1].any()
    assert batch.targets["normals"].value.shape == batch.targets["depth"].value.shape


def test_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        collate([sample(1), sample(1, size=(4, 8))])


def test_a_batch_moves_as_one_and_keeps_its_names() -> None:
    batch = collate([sample(1, name="a"), sample(1, name="b")])
    moved = batch.to("meta")
    assert moved.images.is_meta and moved.targets["depth"].valid.is_meta and moved.camera.known.is_meta
    assert moved.meta == ("a", "b") and moved.source == "double"
    doubled = batch.map(lambda tensor: torch.cat([tensor, tensor]))
    assert doubled.images.shape[0] == 4


def test_shapes_are_part_of_the_types() -> None:
    with pytest.raises(Exception, match=r"Target|shape|type"):
        Target(torch.rand(1, 1, 4, 4), torch.ones(1, 1, 5, 4, dtype=torch.bool))
