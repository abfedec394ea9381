"""Shards: they hold what the set holds, are written to the end whatever happens, and are read from anywhere."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from folders import make_folder, save

from polyscene import cli, config
from polyscene.config import Data
from polyscene.data import sources, stored
from polyscene.data.base import BadSample, Dataset
from polyscene.data.fetched import Elsewhere
from polyscene.data.folder import Folder
from polyscene.data.loader import Loader
from polyscene.data.order import together, turn
from polyscene.data.pack import PackError, pack
from polyscene.data.shards import FILE, Shards
from polyscene.tasks import Depth, Normals, SemanticSegmentation
from polyscene.types import Camera, Sample, Target


class Views(Dataset):
    """Two views of everything that is hard to store: no files, holes, many classes, pictures of 16 bit."""

    name = "views"
    tasks = {  # noqa: RUF012
        "semseg": SemanticSegmentation(classes=tuple(map(str, range(300)))),
        "depth": Depth(),
        "normals": Normals(),
    }

    def __init__(self, count: int = 5, deep: bool = False) -> None:
        self.count, self.deep, self.notes = count, deep, ["made up"]

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Sample:
        draw = torch.Generator().manual_seed(index)
        size = 7, 9

        def some() -> torch.Tensor:
            return torch.rand(2, 1, *size, generator=draw) < 0.7

        ids = torch.randint(300, (2, 1, *size), generator=draw)
        normals = torch.nn.functional.normalize(torch.randn(2, 3, *size, generator=draw), dim=1)
        images = torch.rand(2, 3, *size, generator=draw)
        poses = torch.eye(4).repeat(2, 1, 1)
        poses[:, :3, 3] = torch.randn(2, 3, generator=draw)
        known = torch.tensor([True, index % 2 == 0])
        hole = torch.zeros(2, 1, *size, dtype=torch.bool)
        return Sample(
            images if self.deep else (images * 255).round() / 255,
            {
                "semseg": Target(ids, some() if index else hole),
                "depth": Target(torch.rand(2, 1, *size, generator=draw) + 0.1, some()),
                "normals": Target(normals, some()),
            },
            Camera(torch.rand(2, 3, 3, generator=draw), poses, known),
            torch.ones(2, dtype=torch.bool),
            self.name,
            (f"views é {index}",),
        )


def assert_same(one: Sample, other: Sample) -> None:
    assert torch.equal(one.images, other.images)
    assert one.targets.keys() == other.targets.keys()
    for name in one.targets:
        assert stored.same(one.targets[name], other.targets[name]), name
    for a, b in (
        (one.camera.intrinsics, other.camera.intrinsics),
        (one.camera.world_from_camera, other.camera.world_from_camera),
        (one.camera.known, other.camera.known),
        (one.present, other.present),
    ):
        assert a.dtype == b.dtype and torch.equal(a, b)
    assert (one.source, one.meta) == (other.source, other.meta)


def with_holes(root: Path) -> Path:
    """A folder whose depth has NaN where unknown, whose classes are of some frames only, and one frame of which is
    a JPEG."""
    make_folder(root, 6)
    text = (root / "polyscene.yaml").read_text().replace("rgb/{id}.png", "rgb/{id}.*")
    text = text.replace('"depth/{id}.png", scale: 0.001, invalid: 0', '"depth/{id}.npy", invalid: .nan')
    text = text.replace("ignore: [255]}", "ignore: [255], optional: true}")
    (root / "polyscene.yaml").write_text(text)
    for frame in range(6):
        depth = np.full((24, 32), 1 + frame / 7, np.float32)
        depth[:, : frame + 1] = np.nan
        np.save(root / f"depth/frame_{frame}.npy", depth)
    (root / "seg/frame_2.png").unlink()
    (root / "rgb/frame_3.png").unlink()
    save(root / "rgb/frame_3.jpg", np.random.default_rng(3).integers(0, 256, (24, 32, 3), np.uint8))
    return root


MAKERS: dict[str, Callable[[Path], Dataset]] = {
    "views": lambda root: Views(),
    "numbers": lambda root: Views(2, deep=True),
    "folder": lambda root: Folder(with_holes(root)),
    "neighbours": lambda root: Folder(with_holes(root), views=2),
}


@pytest.mark.parametrize("made", MAKERS)
def test_a_set_is_the_same_in_shards(made: str, tmp_path: Path) -> None:
    dataset = MAKERS[made](tmp_path / "set")
    pack(dataset, tmp_path / "out", samples=2)
    shards = Shards(tmp_path / "out")
    assert (len(shards), shards.name, list(shards.notes)) == (len(dataset), dataset.name, list(dataset.notes))
    assert dict(shards.tasks) == dict(dataset.tasks)
    for index in range(len(dataset)):
        assert_same(shards.read(index), dataset.read(index))
    assert shards.only({"depth"}).read(0).targets.keys() == {"depth"}


def test_files_are_kept_as_they_are_and_any_tar_program_reads_them(tmp_path: Path) -> None:
    root = with_holes(tmp_path / "set")
    pack(Folder(root), tmp_path / "out", "train", samples=6)
    with tarfile.open(tmp_path / "out/train-000000.tar") as archive:
        held = {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]
        assert {(each.mtime, each.uid, each.uname, each.mode) for each in archive} == {(0, 0, "", 0o644)}
    assert held["00000003.image.jpg"] == (root / "rgb/frame_3.jpg").read_bytes()
    assert held["00000001.depth.npy"] == (root / "depth/frame_1.npy").read_bytes()
    assert json.loads(held["00000001.json"])["labels"]["depth"] == "file"
    assert json.loads(held["00000002.json"])["labels"]["semseg"] == "ids"


def test_webdataset_reads_them(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    pack(Views(), tmp_path / "out", samples=3)
    urls = sorted(map(str, (tmp_path / "out").glob("*.tar")))
    seen = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb"))
    assert [each["__key__"] for each in seen] == [f"{index:08d}" for index in range(5)]
    read = Views().read(4)
    assert np.allclose(seen[4]["1.image.png"], read.images[1].movedim(0, -1).numpy())
    assert seen[4]["json"]["meta"] == list(read.meta)
    depth = np.where(read.targets["depth"].valid[0, 0], read.targets["depth"].value[0, 0], np.nan)
    assert np.array_equal(seen[4]["depth.npy"], depth, equal_nan=True)


# -- writing ----------------------------------------------------------------------------------------------------------
def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


class Killed(BaseException):
    pass


def test_killed_at_any_write_it_ends_the_same_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(Views(), tmp_path / "whole", samples=2, workers=1)
    whole, rename = content(tmp_path / "whole"), os.replace
    deaths = 0
    for after in range(9):
        left = [after]

        def dying(source: str, target: str, left: list[int] = left) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            rename(source, target)

        out = tmp_path / f"out{after}"
        monkeypatch.setattr(os, "replace", dying)
        try:
            pack(Views(), out, samples=2, workers=1)
        except Killed:
            deaths += 1
            with pytest.raises(BadSample, match=r"not finished|missing"):
                Shards(out)
        monkeypatch.setattr(os, "replace", rename)
        (out / "shard-000001.tar.part").write_bytes(b"half of it")
        pack(Views(), out, samples=2, workers=2)
        assert content(out) == whole
    assert deaths == 8  # the beginning, three shards and their listings, the end


def test_a_finished_pack_is_not_written_again(tmp_path: Path) -> None:
    pack(Views(), tmp_path, samples=2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")}
    pack(Views(), tmp_path, samples=2)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")} == before


def test_another_set_or_other_files_are_refused(tmp_path: Path) -> None:
    pack(Views(), tmp_path / "a", samples=2)
    with pytest.raises(PackError, match=r"per_shard is 2, not 3.*another folder"):
        pack(Views(), tmp_path / "a", samples=3)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/notes.txt").touch()
    with pytest.raises(PackError, match=r"notes\.txt.*empty folder"):
        pack(Views(), tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["notes.txt"]


def test_what_others_have_begun_stays(tmp_path: Path) -> None:
    (tmp_path / "movie.mkv.part").touch()
    with pytest.raises(PackError, match=r"movie\.mkv\.part"):
        pack(Views(), tmp_path, samples=2)
    assert [path.name for path in tmp_path.iterdir()] == ["movie.mkv.part"]
    (tmp_path / "movie.mkv.part").unlink()
    pack(Views(), tmp_path, samples=2)
    (tmp_path / "movie.mkv.part").touch()
    pack(Views(), tmp_path, samples=2)
    assert (tmp_path / "movie.mkv.part").exists()


class Others(Views):
    def read(self, index: int) -> Sample:
        return super().read(index + 1)


def test_two_sets_of_the_same_name_and_size_do_not_mix(tmp_path: Path) -> None:
    pack(Views(), tmp_path, samples=2, options={"seed": 1})
    before = content(tmp_path)
    with pytest.raises(PackError, match=r"probe is"):
        pack(Others(), tmp_path, samples=2, options={"seed": 1})
    with pytest.raises(PackError, match=r'options is {"seed": 1}, not {"seed": 2}'):
        pack(Views(), tmp_path, samples=2, options={"seed": 2})
    assert content(tmp_path) == before
    pack(Views(), tmp_path, samples=2, options={"seed": 1}, skip=True)  # nothing was left out
    with pytest.raises(PackError, match=r"skip is true, not false"):
        pack(Views(), tmp_path, samples=2, options={"seed": 1})


def test_a_sample_that_cannot_be_read_ends_it_or_is_left_out(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "set", 5)
    (root / "depth/frame_1.png").write_bytes(b"no picture")
    with pytest.raises(BadSample, match=r"frame_1\.png"):
        pack(Folder(root), tmp_path / "out", samples=1)
    facts = pack(Folder(root), tmp_path / "out", samples=1, skip=True)
    assert list(facts.left_out) == ["1"] and "frame_1.png" in facts.left_out["1"]
    shards = Shards(tmp_path / "out")
    assert len(shards) == 4
    assert_same(shards.read(1), Folder(root).read(2))


def test_a_shard_is_about_as_large_as_asked(tmp_path: Path) -> None:
    facts = pack(Views(40), tmp_path, megabytes=0.1)
    assert len(facts.shards) > 1 and all(5e4 < shard.bytes < 1.5e5 for shard in facts.shards[:-1])


# -- reading ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Six shards of two samples, somewhere else."""
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))
    pack(Views(12), tmp_path / "pack", samples=2)
    url = f"memory://{uuid.uuid4().hex}"
    fsspec.filesystem("memory").put(str(tmp_path / "pack") + "/", url, recursive=True)
    return url


def kept(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache/shards").glob("*") if not path.suffix)


def test_from_elsewhere_the_samples_are_the_same_and_the_cache_stays_small(memory: str, tmp_path: Path) -> None:
    size = Shards(memory).facts.shards[0].bytes
    shards = Shards(memory, cache=3.5 * size / 1e9)
    for index in torch.randperm(12, generator=torch.Generator().manual_seed(0)).tolist():
        assert_same(shards.read(index), Views(12).read(index))
        assert len(kept(tmp_path)) <= 3
    again = Shards(memory, cache=3.5 * size / 1e9)
    old = kept(tmp_path)[0]
    os.utime(old, (0, 0))
    gone = next(n for n, shard in enumerate(again.facts.shards) if not (old.parent / shard.sha256).exists())
    again.read(2 * gone)
    assert not old.exists()  # used least recently


@pytest.mark.parametrize("batch", [2, 1])
def test_the_next_shard_of_a_lane_is_fetched_ahead(memory: str, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    told: list[int] = []
    shards = Shards(memory, window=2)
    monkeypatch.setattr(Elsewhere, "expect", lambda self, name, size, digest: told.append(int(name[6:12])))
    loader = Loader(shards, shards.tasks, batch, lambda sample, tasks, draw: sample, 0, workers=0)
    flat = [int(name.split()[-1]) // 2 for number in range(12 // batch) for name in loader.number(number).meta]
    assert all(len(dict.fromkeys(lane)) == 3 and lane[0] == lane[1] for lane in (flat[::2], flat[1::2]))
    assert told[:8] == flat[4:]


def test_threads_share_a_cache_that_holds_hardly_anything(memory: str, tmp_path: Path) -> None:
    shards = Shards(memory, cache=1e-9, window=3)
    loader = Loader(shards, shards.tasks, 3, lambda sample, *_: sample, 0, workers=4)
    wanted = names(loader, range(8))
    assert [batch.meta for batch, _ in zip(loader.batches(), range(8), strict=False)] == wanted
    assert len(kept(tmp_path)) <= 2


def test_a_network_that_fails_is_asked_again_and_then_told(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shards, fails, copy = Shards(memory), [1], Elsewhere._copy

    def failing(self: Elsewhere, *given: object) -> tuple[str, int]:
        if fails[0]:
            fails[0] -= 1
            raise TimeoutError("nobody answers")
        return copy(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Elsewhere, "_copy", failing)
    monkeypatch.setattr("polyscene.data.fetched.time.sleep", lambda seconds: None)
    assert_same(shards.read(0), Views(12).read(0))
    fails[0] = 3
    with pytest.raises(OSError, match=r"shard-000001\.tar cannot be fetched: nobody answers"):
        shards.read(2)


def test_what_is_expected_arrives(memory: str, tmp_path: Path) -> None:
    shards = Shards(memory)
    shards.expect(5)
    shards.read(5)  # waits for the one that fetches it
    assert [path.name for path in kept(tmp_path)] == [shards.facts.shards[2].sha256]


def test_another_shard_elsewhere_than_was_packed_is_refused(memory: str, tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    name = f"{memory.removeprefix('memory:/')}/shard-000001.tar"
    whole = bytes(system.cat(name))
    system.pipe(name, whole[:3000] + b"?" + whole[3001:])
    shards = Shards(memory)
    shards.read(0)
    with pytest.raises(BadSample, match=r"shard-000001\.tar: has .* bytes of sha256 .*; copy it again"):
        shards.read(2)
    system.pipe(name, whole + bytes(1_000_000))
    with pytest.raises(BadSample, match=f"not {len(whole):,} of"):
        shards.read(2)
    system.rm(name)
    with pytest.raises(BadSample, match="missing"):
        shards.read(2)
    assert not list((tmp_path / "cache/shards").glob("*.part"))


def test_what_is_damaged_in_the_cache_is_fetched_again(memory: str, tmp_path: Path) -> None:
    def read() -> None:
        assert_same(Shards(memory).read(0), Views(12).read(0))

    read()
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    read()
    assert file.read_bytes() == whole
    shards = Shards(memory)
    for damaged in (whole[:2000] + b"?" + whole[2001:], bytes(len(whole))):
        file.write_bytes(damaged)
        read()
        assert file.read_bytes() == whole
    for fetched in range(2):  # once; then there is more to it
        shards.read(1)
        file.write_bytes(bytes(len(whole)))
        if fetched:
            with pytest.raises(BadSample, match="checksum"):
                shards.read(0)
        else:
            assert_same(shards.read(0), Views(12).read(0))


def test_a_cache_can_be_shared_with_other_users(memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o022)
    try:
        Shards(memory).read(0)
    finally:
        os.umask(before)
    assert kept(tmp_path)[0].stat().st_mode & 0o777 == 0o644

    def refused(*given: object) -> None:
        raise PermissionError("not the owner")

    monkeypatch.setattr(os, "utime", refused)
    assert_same(Shards(memory).read(0), Views(12).read(0))


def test_damage_is_told_by_shard_and_sample_and_can_be_skipped(tmp_path: Path) -> None:
    pack(Views(8), tmp_path, samples=4)
    file = tmp_path / "shard-000001.tar"
    whole = bytearray(file.read_bytes())
    whole[2000] ^= 1
    file.write_bytes(whole)
    shards = Shards(tmp_path)
    with pytest.raises(BadSample, match=r"shard-000001\.tar sample 0: its checksum .*; copy it again"):
        shards.read(4)
    loader = Loader(shards, shards.tasks, 2, lambda sample, *_: sample, 0, shuffle=False, on_bad_sample="skip")
    assert sum(len(batch.meta) for batch in loader.once()) == 7 and loader.skipped == 1
    file.write_bytes(whole[:-1])
    with pytest.raises(BadSample, match=r"shard-000001\.tar: has .* bytes, not"):
        Shards(tmp_path).read(4)
    file.unlink()
    with pytest.raises(BadSample, match="missing"):
        Shards(tmp_path).read(4)
    file.write_bytes(whole)
    shutil.copy(tmp_path / "shard-000000.json", tmp_path / "shard-000001.json")
    with pytest.raises(BadSample, match="not the one that was packed"):
        Shards(tmp_path).read(4)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("shards", [], "not finished"),
        ("format", 2, "format 2"),
        ("samples", 9, "fewer samples"),
        ("tasks", {"depth": {"type": "Depth", "name": "depth", "x": 1}}, "tasks.depth cannot be made"),
        ("tasks", {"depth": {"type": "os.system"}}, "unknown task type"),
        ("tasks", {"depth": {"type": "Depth", "encoding": "log_bins", "bins": 10**10}}, "bins is more than 65,536"),
        ("name", None, "no description of shards"),
    ],
)
def test_a_description_that_is_none_is_refused(tmp_path: Path, key: str, value: object, told: str) -> None:
    pack(Views(2), tmp_path, samples=2)
    facts = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**facts, key: value}))
    with pytest.raises(BadSample, match=told):
        Shards(tmp_path)


def test_no_more_samples_are_believed_in_than_there_are_bytes_for(tmp_path: Path) -> None:
    pack(Views(2), tmp_path, samples=2)
    facts = json.loads((tmp_path / FILE).read_text())
    facts["samples"] = facts["shards"][0]["samples"] = 1 << 27
    (tmp_path / FILE).write_text(json.dumps(facts))
    with pytest.raises(BadSample, match="bytes cannot hold 134,217,728 samples"):
        Shards(tmp_path)
    facts["shards"][0]["bytes"] = 1 << 40
    (tmp_path / FILE).write_text(json.dumps(facts))
    with pytest.raises(BadSample, match=r"has .* bytes, not 1,099,511,627,776"):
        Shards(tmp_path)


def test_pixels_and_views_are_bounded_for_all_of_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(Views(1), tmp_path / "a", samples=1)
    monkeypatch.setattr(stored, "PIXELS", 2 * 7 * 9 - 1)
    with pytest.raises(BadSample, match="image of 9x7 pixels, more than are read"):
        Shards(tmp_path / "a").read(0)
    with pytest.raises(PackError, match="2 views of 9x7 pixels, more"):
        pack(Views(1), tmp_path / "b")
    monkeypatch.undo()
    monkeypatch.setattr(stored, "VIEWS", 1)
    with pytest.raises(BadSample, match="2 views, more than the 1"):
        Shards(tmp_path / "a").read(0)
    with pytest.raises(PackError, match="2 views, more than the 1"):
        pack(Views(1), tmp_path / "b")


@pytest.mark.parametrize("name", ["../../x.tar", "/etc/passwd", "a/b.tar", "x", "..tar"])
def test_no_shard_lies_elsewhere(tmp_path: Path, name: str) -> None:
    pack(Views(2), tmp_path, samples=2)
    facts = json.loads((tmp_path / FILE).read_text())
    facts["shards"][0]["name"] = name
    (tmp_path / FILE).write_text(json.dumps(facts))
    with pytest.raises(BadSample, match=r"shards\.0\.name"):
        Shards(tmp_path)


# -- the order --------------------------------------------------------------------------------------------------------
def names(loader: Loader, numbers: range) -> list[tuple[str, ...]]:
    return [loader.number(number).meta for number in numbers]


def test_training_sees_every_sample_once_an_epoch_and_carries_on_anywhere(tmp_path: Path) -> None:
    pack(Views(11), tmp_path, samples=3)

    def load(**options: object) -> Loader:
        shards = Shards(tmp_path, window=2)
        return Loader(shards, {}, transform=lambda sample, *_: sample, seed=3, workers=0, **options)  # type: ignore

    whole = names(load(batch=4), range(11))
    flat = [name for batch in whole for name in batch]
    assert all(set(Counter(flat[epoch * 11 : epoch * 11 + 11]).values()) == {1} for epoch in range(4))
    assert flat[:11] != flat[11:22]
    assert names(load(batch=4), range(6, 11)) == whole[6:]
    parts = [names(load(batch=2, part=(own, 2)), range(11)) for own in range(2)]
    assert [one + other for one, other in zip(*parts, strict=True)] == whole


def test_ranks_read_shards_of_their_own() -> None:
    groups = torch.arange(64).repeat_interleave(25)
    for first in (0, 1600 * 3):
        order = together(groups, 32, 8, first, torch.Generator().manual_seed(1))
        assert order.sort().values.equal(torch.arange(1600))
        owners = groups[order].view(-1, 4, 8)  # batches, ranks, samples
        seen = [set(owners[:, rank].flatten().tolist()) for rank in range(4)]
        assert sum(map(len, seen)) <= 64 + 3  # but for those that the cuts between lanes go through
        assert all(len(set(batch.flatten().tolist())) >= 7 for batch in owners)  # each mixes eight


@pytest.mark.parametrize(("batch", "window", "ranks"), [(1, 8, 1), (2, 8, 2), (6, 8, 3), (3, 7, 1), (5, 2, 1)])
def test_small_batches_mix_as_many_shards_in_turns(batch: int, window: int, ranks: int) -> None:
    groups = torch.arange(64).repeat_interleave(25)
    step = turn(batch, window)
    assert step % batch == 0 and window <= step < window + batch
    for first in (0, 1600 * 3):
        order = together(groups, batch, window, first, torch.Generator().manual_seed(1))
        assert order.sort().values.equal(torch.arange(1600))
        mixed = groups[order][-first % step :].unfold(0, step, step)
        assert all(len(set(each.tolist())) >= window - 1 for each in mixed)
        whole = groups[order][-first % batch :].unfold(0, batch, batch).unflatten(1, (ranks, -1))
        seen = [set(whole[:, rank].flatten().tolist()) for rank in range(ranks)]
        assert ranks == 1 or sum(map(len, seen)) <= 64 + 2 * window


def test_ranks_evaluate_pieces_that_lie_together(tmp_path: Path) -> None:
    pack(Views(11), tmp_path, samples=2)
    shards = Shards(tmp_path)
    loader = Loader(shards, {}, 3, lambda sample, *_: sample, 0, workers=0)
    parts = [[name for batch in loader.once((rank, 3)) for name in batch.meta] for rank in range(3)]
    assert [name for part in parts for name in part] == [name for batch in loader.once() for name in batch.meta]
    assert [len(part) for part in parts] == [3, 4, 4]


@pytest.mark.parametrize("processes", [1, 2])
def test_mixed_sources_keep_their_weights(tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of shards and a folder, in batches of 6, 3 and 3: what is drawn in an epoch of the first."""
    pack(Views(60), tmp_path / "a", samples=7)
    pack(Views(25), tmp_path / "b", samples=4)
    make_folder(tmp_path / "c", 10)
    parts = {"a": ("shards", 6), "b": ("shards", 3), "c": ("folder", 3)}
    train = {
        name: {"dataset": {"name": kind, "path": str(tmp_path / name)}, "batch": batch}
        for name, (kind, batch) in parts.items()
    }
    data = Data.model_validate({"size": (8, 8), "train": train, "workers": 0})
    tasks = {"depth": Depth()}
    drawn: dict[str, Counter[str]] = {name: Counter() for name in parts}
    blank = Views(1).read(0)
    for kind in (Shards, Folder):
        monkeypatch.setattr(kind, "read", lambda self, index: replace(blank, meta=(str(index),)))
    for own in range(processes):
        built = sources.build(data, tasks, seed=1, part=(own, processes)).train
        steps = 30 // processes
        for name, loader in built.items():
            loader.transform = lambda sample, tasks, draw: sample
            for number in range(steps):
                drawn[name].update(loader.number(number).meta)
    for name, (_, batch) in parts.items():
        assert drawn[name].total() == 30 * batch  # of every thirty steps
        assert max(drawn[name].values()) - min(drawn[name].values()) <= 1  # and of each source its samples alike


# -- commands ---------------------------------------------------------------------------------------------------------
def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSCENE_CACHE", str(tmp_path / "cache"))
    root, out = make_folder(tmp_path / "set", 10), tmp_path / "out"
    assert cli.main(["data", "pack", str(root), "--out", str(out), "--split", "train", "--samples", "3"]) == 0
    assert "8 samples in 3 shards" in capsys.readouterr().out
    assert (out / "train-000002.tar").exists()
    assert cli.main(["data", "verify", str(out)]) == 0
    assert cli.main(["data", "show", str(out), "--out", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").exists()
    again = ["data", "pack", f"{{name: shards, path: {out}}}", "--out", str(tmp_path / "again")]
    assert cli.main(again) == 0
    assert len(Shards(tmp_path / "again")) == 8
    file = out / "train-000001.tar"
    file.write_bytes(file.read_bytes()[:-1])
    capsys.readouterr()
    assert cli.main(["data", "verify", str(out)]) == 1
    assert "train-000001.tar" in capsys.readouterr().out
    assert cli.main(["data", "pack", "nowhere", "--out", str(out)]) == 2
    assert cli.main(["data", "pack", str(root), "--out", str(out), "--samples", "5"]) == 2
    assert "another packing" in capsys.readouterr().err


def test_a_configuration_names_folders_relative_to_itself_and_addresses_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCKET", "s3://bucket/packs")
    for path, meant in {
        "packs/a": str(tmp_path / "packs/a"),
        "memory://b": "memory://b",
        "${BUCKET}/c": "s3://bucket/packs/c",
    }.items():
        (tmp_path / "run.yaml").write_text(
            f"tasks: [depth]\ndata:\n  train: {{a: {{dataset: {{name: shards, path: '{path}'}}}}}}\n"
        )
        assert config.load(tmp_path / "run.yaml").data.train["a"].dataset.options["path"] == meant


def test_of_a_configuration_one_source_is_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder(tmp_path / "set", 4)
    source = f"{{dataset: {{name: folder, path: {root}}}, batch: 2}}"
    (tmp_path / "run.yaml").write_text(
        f"tasks: [depth]\ndata:\n  train: {{a: {source}}}\n  evaluate: {{b: {source}}}\ntraining: {{steps: 1}}\n"
    )
    command = ["data", "pack", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 2
    assert "train.a, evaluate.b" in capsys.readouterr().err
    assert cli.main([*command, "--source", "evaluate.b"]) == 0
    assert len(Shards(tmp_path / "out")) == 4
