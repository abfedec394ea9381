"""The loader: batches are a function of (seed, number), errors keep their names, sources join by class name."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from folders import cut_short, make_folder

from polyscene.config import Data
from polyscene.data import sources
from polyscene.data.base import BadSample, Dataset
from polyscene.data.folder import Folder
from polyscene.data.loader import Loader, LoadError
from polyscene.tasks import Depth, Edges, SemanticSegmentation
from polyscene.transforms import Augment, Centre
from polyscene.types import Batch, Camera, Sample, Target

TASKS = {"depth": Depth()}


class Numbers(Dataset):
    """Sample i is a picture of the number i, its depth i + 1 metres."""

    name = "numbers"
    tasks = TASKS

    def __init__(self, count: int, bad: tuple[int, ...] = (), broken: tuple[int, ...] = ()) -> None:
        self.count, self.bad, self.broken = count, bad, broken

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Sample:
        if index in self.bad:
            raise BadSample(f"{index}.png", "spoilt", "throw it away")
        if index in self.broken:
            raise KeyError(index)
        size = 6, 8 + 4 * (index % 2)
        target = Target(torch.full((1, 1, *size), index + 1.0), torch.ones(1, 1, *size, dtype=torch.bool))
        known = torch.ones(1, dtype=torch.bool)
        camera = Camera(torch.eye(3)[None], torch.eye(4)[None], known)
        return Sample(
            torch.full((1, 3, *size), index / 100), {"depth": target}, camera, known, "numbers", (str(index),)
        )


def load(dataset: Dataset, seed: int = 0, **options: object) -> Loader:
    keywords = {"batch": 3, "transform": Augment((6, 8)), **options}
    return Loader(dataset, TASKS, seed=seed, **keywords)  # type: ignore[arg-type]


def same(one: Batch, other: Batch) -> bool:
    return one.meta == other.meta and all(
        torch.equal(a, b)
        for a, b in [(one.images, other.images), (one.targets["depth"].value, other.targets["depth"].value)]
    )


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_are_a_function_of_seed_and_number(workers: int) -> None:
    first = list(itertools.islice(load(Numbers(7)).batches(), 8))
    again = list(itertools.islice(load(Numbers(7), workers=workers).batches(), 8))
    assert all(map(same, first, again))
    resumed = list(itertools.islice(load(Numbers(7), workers=workers).batches(start=5), 3))
    assert all(map(same, first[5:], resumed))
    other = list(itertools.islice(load(Numbers(7), seed=1).batches(), 8))
    assert not any(same(a, b) for a, b in zip(first, other, strict=True))


def test_every_epoch_shows_every_sample_once_in_another_order() -> None:
    shown = [name for batch in itertools.islice(load(Numbers(7)).batches(), 7) for name in batch.meta]
    epochs = [shown[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(epoch, key=int) == [str(index) for index in range(7)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert len(load(Numbers(7))) == 3


def test_augmentation_differs_between_epochs() -> None:
    shown = [batch for batch in itertools.islice(load(Numbers(3), batch=1).batches(), 6) if batch.meta == ("1",)]
    assert len(shown) == 2 and not same(*shown)


def test_unshuffled_is_in_order() -> None:
    batch = next(load(Numbers(7), shuffle=False).batches(1))
    assert batch.meta == ("3", "4", "5")


def test_once_shows_every_sample_in_order_with_labels_at_their_own_size() -> None:
    batches = list(load(Numbers(5), batch=2, transform=Centre((3, 4))).once())
    assert [name for batch in batches for name in batch.meta] == ["0", "1", "2", "3", "4"]
    assert {batch.images.shape[-2:] for batch in batches} == {(3, 4)}
    assert all(batch.targets["depth"].value.shape[-2:] == (6, 8) for batch in batches)
    at_network_size = next(load(Numbers(5), transform=Centre((3, 4), "network")).once())
    assert at_network_size.targets["depth"].value.shape[-2:] == (3, 4)


def test_once_cuts_a_batch_where_labels_change_size() -> None:
    def untouched(sample: Sample, tasks: object, generator: object) -> Sample:
        return sample if sample.images.shape[-1] == 8 else Centre((6, 8), "own")(sample, TASKS, torch.Generator())

    class Mixed(Numbers):
        def read(self, index: int) -> Sample:
            sample = super().read(0)
            rows = 6 if index < 3 else 12
            value = torch.ones(1, 1, rows, 8)
            return Sample(sample.images, {"depth": Target(value, value > 0)}, sample.camera, sample.present, "mixed")

    sizes = [tuple(batch.targets["depth"].value.shape) for batch in load(Mixed(5), batch=2, transform=untouched).once()]
    assert sizes == [(2, 1, 1, 6, 8), (1, 1, 1, 6, 8), (2, 1, 1, 12, 8)]


def test_bad_samples_stop_or_are_replaced_alike_and_counted() -> None:
    with pytest.raises(BadSample, match=r"4\.png: spoilt; throw it away"):
        list(itertools.islice(load(Numbers(7, bad=(4,))).batches(), 3))
    skipping = load(Numbers(7, bad=(4,)), on_bad_sample="skip")
    batches = list(itertools.islice(skipping.batches(), 4))
    assert skipping.skipped == 1 and "4.png" in skipping.bad
    assert "4" not in {name for batch in batches for name in batch.meta}
    assert all(len(batch.meta) == 3 for batch in batches)
    again = load(Numbers(7, bad=(4,)), on_bad_sample="skip", workers=2).batches(2)
    assert same(batches[2], next(again))
    assert sum(len(batch.meta) for batch in skipping.once()) == 6


def test_a_set_without_a_good_sample_is_an_error() -> None:
    with pytest.raises(BadSample, match="no sample of it can be used"):
        next(load(Numbers(2, bad=(0, 1)), on_bad_sample="skip").batches())
    with pytest.raises(ValueError, match="has no samples"):
        load(Numbers(0))


def test_unforeseen_errors_name_the_sample() -> None:
    with pytest.raises(LoadError, match="numbers, sample 2: KeyError"):
        list(load(Numbers(4, broken=(2,)), on_bad_sample="skip").once())


def test_threads_of_the_main_process_are_left_alone() -> None:
    before = torch.get_num_threads()
    next(load(Numbers(3), workers=2).batches())
    assert torch.get_num_threads() == before


# -- sources -----------------------------------------------------------------------------------------------------------
def data(root: Path, **options: object) -> Data:
    part = {"name": "folder", "path": str(root)}
    train = {"dataset": {**part, "split": "train"}, "batch": 2, **options}
    return Data.model_validate(
        {"size": (12, 16), "train": {"tiny": train}, "evaluate": {"tiny": {"dataset": {**part, "split": "val"}}}}
    )


def test_sources_join_classes_by_name(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")
    tasks = {"semseg": SemanticSegmentation(classes=("wall", "seat", "lamp")), "depth": Depth(), "edges": Edges()}
    built = sources.build(data(root, classes={"chair": "seat"}), tasks, seed=0)
    plain, joined = (
        Folder(root, "train").read(0).targets["semseg"],
        built.train["tiny"].dataset.read(0).targets["semseg"],
    )
    floor, wall, chair = (plain.valid & (plain.value == number) for number in range(3))
    assert (joined.value[wall] == 0).all() and (joined.value[chair] == 1).all()
    assert torch.equal(joined.valid, wall | chair) and floor.any()
    assert any("ignored: floor" in note for note in built.notes)
    assert any("normals" in note for note in built.notes)
    batch = next(built.train["tiny"].batches())
    assert set(batch.targets) == {"semseg", "depth", "edges"} and batch.images.shape == (2, 1, 3, 12, 16)


def test_a_slip_in_a_map_of_classes_is_told(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")
    tasks = {"semseg": SemanticSegmentation(classes=("wall", "seat"))}
    with pytest.raises(ValueError) as told:
        sources.build(data(root, classes={"chiar": "seat", "floor": "wal"}), tasks, seed=0)
    assert "'chiar'; did you mean 'chair'" in str(told.value) and "'wal'; did you mean 'wall'" in str(told.value)


def test_sources_keep_only_the_labels_asked_for(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")
    built = sources.build(data(root, tasks=("depth",)), {"depth": Depth(), "edges": Edges()}, seed=0)
    assert set(next(built.train["tiny"].batches()).targets) == {"depth"}
    assert "no training source labels 'edges'" in built.notes
    assert sum(len(batch.meta) for batch in built.evaluate["tiny"].once()) == 2
    with pytest.raises(ValueError, match=r"unknown label 'dept'.*did you mean 'depth'"):
        sources.build(data(root, tasks=("dept",)), TASKS, seed=0)


def test_sources_refuse_what_has_nothing_in_common(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")
    with pytest.raises(ValueError, match="no class of semseg is one of the model's"):
        sources.build(data(root), {"semseg": SemanticSegmentation(classes=("sky", "road"))}, seed=0)
    cut_short(root / "rgb" / "frame_0.png")  # found when read, not before
    assert sources.build(data(root), TASKS, seed=0).train["tiny"]


def test_samples_with_rare_classes_come_oftener_and_the_same_at_every_number() -> None:
    """Of ten samples one shows the rare class: half of the draws are by class, half of these or more by the rare."""

    class Few(Dataset):
        def __init__(self) -> None:
            self.name, task = "few", SemanticSegmentation(classes=("common", "rare", "absent"))
            self.tasks = {task.name: task}

        def __len__(self) -> int:
            return 10

        def read(self, index: int) -> Sample:
            ids = torch.zeros(1, 1, 4, 8, dtype=torch.long)
            ids[..., :1, :2] = int(index == 7)
            camera = Camera(torch.eye(3)[None], torch.eye(4)[None], torch.zeros(1, dtype=torch.bool))
            targets = {"semseg": Target(ids, torch.ones(1, 1, 4, 8, dtype=torch.bool))} if self.tasks else {}
            return Sample(
                torch.zeros(1, 3, 4, 8), targets, camera, torch.ones(1, dtype=torch.bool), "few", (str(index),)
            )

    few = Few()
    drawn, again, plain = (
        Loader(few, few.tasks, 40, lambda sample, *_: sample, seed=3, workers=0, rare=share)
        for share in (0.5, 0.5, 0.0)
    )
    told = drawn.number(5).meta
    assert told == again.number(5).meta and told != plain.number(5).meta
    counts = [list(loader.number(5).meta).count("7") for loader in (plain, drawn)]
    assert counts[0] == 4 and counts[1] > 14
    with pytest.raises(ValueError, match="labels no classes"):
        Loader(few.only(()), {}, 2, lambda sample, *_: sample, seed=3, rare=0.5)
