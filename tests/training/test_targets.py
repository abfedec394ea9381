"""Sources whose labels are not read."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from polyscene.adaptation import METHODS
from polyscene.adaptation.supervised import Supervised
from polyscene.data import sources
from polyscene.model import MultiTaskModel
from polyscene.tasks import Task
from polyscene.training.loop import train
from polyscene.training.records import read
from polyscene.types import Batch, Report

from . import toy


class Looks(Supervised):
    """Supervised, on what it asserts to be a labelled and an unlabelled batch."""

    def __init__(self, tasks: Mapping[str, Task], offset: float = 0.0) -> None:
        super().__init__(tasks)
        self.offset = offset
        self.calls: list[str] = []

    def attach(self, model: MultiTaskModel) -> None:
        self.calls.append("attach")

    def __call__(self, model: MultiTaskModel, batches: dict[str, Batch]) -> Report:
        assert batches["toy"].targets and not batches["photographs"].targets
        assert batches["photographs"].images.shape[0] == 2
        self.calls.append("step")
        return super().__call__(model, {"toy": batches["toy"]})

    def updated(self, model: MultiTaskModel, done: float) -> None:
        self.calls.append(f"{done:.2f}")

    def remarks(self) -> list[str]:
        return [f"offset {self.offset:g}: {' '.join(self.calls)}"]


@pytest.fixture
def looks(monkeypatch) -> None:
    monkeypatch.setitem(METHODS, "looks", f"{__name__}:Looks")


def test_a_step_gets_the_pictures_of_targets_and_is_told_of_updates(tmp_path: Path, looks, capsys) -> None:
    config = toy.with_target(toy.config(tmp_path / "run", steps=2), {"name": "looks", "offset": 3})
    out = train(config)
    assert "offset 3: attach step 0.50 step 1.00" in capsys.readouterr().out
    assert [record["kind"] for record in read(out / "metrics.jsonl")][-1] == "end"


def test_a_target_reads_no_label(monkeypatch) -> None:
    config = toy.with_target(toy.config(Path("run")), {"name": "supervised"})
    built = sources.build(config.data, sources.make(config.data.train["toy"].dataset).tasks, seed=0)
    assert built.target["photographs"].dataset.dataset.tasks == {}
    batch = next(built.target["photographs"].batches())
    assert batch.targets == {} and batch.images.isfinite().all()


def test_the_same_batches_come_after_a_resume() -> None:
    config = toy.with_target(toy.config(Path("run")), {"name": "supervised"})
    tasks = sources.make(config.data.train["toy"].dataset).tasks
    one, two = (sources.build(config.data, tasks, seed=0).target["photographs"] for _ in range(2))
    stream = one.batches()
    next(stream)
    assert torch.equal(next(stream).images, next(two.batches(1)).images)


def test_a_source_is_labelled_or_not() -> None:
    config = toy.config(Path("run")).model_dump(mode="json")
    config["data"]["target"] = {"toy": config["data"]["train"]["toy"]}
    with pytest.raises(ValidationError, match="toy: named in train and in target"):
        type(toy.config(Path("run"))).model_validate(config)
    config["data"]["target"] = {"photographs": {**config["data"]["train"]["toy"], "tasks": ["depth"]}}
    with pytest.raises(ValidationError, match="photographs: labels of a target are not read"):
        type(toy.config(Path("run"))).model_validate(config)
    config["data"]["target"] = {"photographs": {**config["data"]["train"]["toy"], "rare": 0.5}}
    with pytest.raises(ValidationError, match="leave out tasks, classes and rare"):
        type(toy.config(Path("run"))).model_validate(config)
