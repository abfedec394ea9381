"""What the demo is made of; `make demo` runs the whole."""

from pathlib import Path

import pytest
import torch

from polyscene import config as configuration
from polyscene import demo, pictures, zero_shot
from polyscene.data import sources
from polyscene.tasks import Depth
from polyscene.transforms import cover


def test_its_configuration_is_shipped_and_whole() -> None:
    config = configuration.load(demo.CONFIG, ["--training.minutes", "0.5", "--out", "elsewhere"])
    assert config.training.minutes == 0.5 and config.out == Path("elsewhere")
    rooms, unseen = (sources.make(each["rooms"].dataset) for each in (config.data.train, config.data.evaluate))
    assert not set(rooms.numbers) & set(unseen.numbers)  # type: ignore[attr-defined]


def test_the_sample_photographs_are_small_and_credited() -> None:
    credits = (demo.SAMPLES / "CREDITS.md").read_text()
    photos = sorted(demo.SAMPLES.glob("*.jpg"))
    assert [photo.stem for photo in photos] == ["astronaut", "chelsea", "coffee", "rocket"]
    for photo in photos:
        assert f"`{photo.name}`" in credits
        assert max(pictures.read(photo).pixels.shape) <= 512 and photo.stat().st_size < 80_000


def test_results_keep_to_what_was_measured() -> None:
    figures = {"depth": {"RMSE": 0.4, "AbsRel": 0.1}}
    found = demo._results(demo.IN_ROOMS, figures, {"constant": {"depth": {"RMSE": 1.0}}, "per-pixel mean": {}})
    assert [(result.figure, dict(result.floors)) for result in found] == [("RMSE", {"constant": 1.0}), ("AbsRel", {})]
    assert found[0].met is True and found[1].met is None


@pytest.mark.parametrize(
    ("minutes", "title", "spoken"),
    [(3.0, "three minutes", "3 minutes"), (1.0, "one minute", "60 s"), (0.4, "24 s", "24 s")],
)
def test_times_are_spoken(minutes: float, title: str, spoken: str) -> None:
    assert demo._length(minutes) == title and demo._spoken(minutes) == spoken


def test_stages_add_up_over_resumed_runs(tmp_path: Path) -> None:
    (tmp_path / "timings.json").write_text('{"training": 100.0}')
    clock = demo._Clock(tmp_path / "timings.json")
    with pytest.raises(KeyboardInterrupt), clock.of("training"):
        raise KeyboardInterrupt
    assert 100 < demo._Clock(tmp_path / "timings.json").seconds["training"] < 101


def test_without_real_frames_the_reason_is_told(tmp_path: Path) -> None:
    told = zero_shot.frames({"depth": Depth()}, (24, 32), tmp_path)
    assert isinstance(told, str) and "kitchen.yaml is not here" in told


def test_real_frames_of_both_sets_are_judged_at_one_size_and_kept(real_data: Path) -> None:
    loader = zero_shot.frames({"depth": Depth()}, (24, 32))
    if isinstance(loader, str):
        pytest.skip(loader)
    frames = loader.dataset
    first, last = frames.read(0), frames.read(len(frames) - 1)
    assert len(frames) == 136 and frames.read(0) is first
    assert first.images.shape[-2:] == last.targets["depth"].value.shape[-2:] == zero_shot.JUDGED
    batch = next(loader.once())
    assert batch.images.shape[-2:] == (24, 32) and batch.targets["depth"].value.shape[-2:] == zero_shot.JUDGED
    part = frames.parts[1]  # type: ignore[attr-defined]
    again = cover(part.read(len(part) - 1), part.tasks, zero_shot.JUDGED)
    assert torch.equal(again.targets["depth"].value, last.targets["depth"].value)
    with pytest.raises(IndexError):
        frames.read(136)
