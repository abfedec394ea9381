"""Shards of very many inputs: split by name, resumed by manifest, nothing twice."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyscene import cli, pictures, weights
from polyscene.lock import held
from polyscene.predict import Manifest, Predictor, command, predict_paths, predict_shard
from polyscene.predict.listing import Listing, family
from polyscene.predict.manifest import Refused
from polyscene.scene import Scene
from polyscene.shard import Shard

ALL = Shard(1, 1)


@pytest.fixture
def photos(photo: np.ndarray, tmp_path: Path) -> Path:
    """Seven pictures and one that is none."""
    for number, name in enumerate(("a/0.png", "a/1.png", "a/1.bmp", "b/0.png", "b/c/2.png", "3.png", "4.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(photo, number, axis=1)).save(path)
    (tmp_path / "photos" / "broken.jpg").write_text("no picture")
    return tmp_path / "photos"


def content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.suffix in (".png", ".npz")}


def stamps(out: Path) -> dict[str, tuple[int, int]]:
    return {name: (stat.st_ino, stat.st_mtime_ns) for name in content(out) if (stat := (out / name).stat())}


def lines(out: Path) -> list[dict]:  # type: ignore[type-arg]
    files = sorted((out / "manifest").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def run(photos: Path, out: Path, predictor: Predictor, shard: Shard = ALL, **how: object) -> Manifest:
    return predict_shard([photos], out, shard, predictor, **{"write": ["depth", "edges"], "batch": 1, **how})  # type: ignore[arg-type]


def test_shards_write_what_one_machine_does(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    whole = predict_paths([photos], tmp_path / "whole", predictor, write=["depth", "edges"], batch=1)
    done = [run(photos, tmp_path / "out", predictor, Shard(number, 3)) for number in (1, 2, 3)]
    assert content(tmp_path / "out") == content(tmp_path / "whole") and len(content(tmp_path / "out")) == 14
    assert sum(each.written for each in done) == len(whole.written) == 7 and sum(each.failed for each in done) == 1
    told = lines(tmp_path / "out")
    assert len(told) == 8 and {line["input"] for line in told} == {
        str(path) for path in [*whole.written, *whole.failed]
    }
    for line in told:
        assert line["size"] == os.path.getsize(line["input"])
        assert line["files"] == [str(file.relative_to(tmp_path / "whole"))
                                 for file in whole.written.get(Path(line["input"]), ())]  # fmt: skip


def test_the_same_again_goes_on_and_writes_nothing_twice(
    predictor: Predictor, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(photos, out, predictor)
    reference, (file,) = content(out), (out / "manifest").glob("*.jsonl")
    told = file.read_text().splitlines(keepends=True)
    kept = [line for line in told if "3.png" not in line and "4.png" not in line and "b/0" not in line]
    file.write_text("".join(kept) + '{"input": "half a li')
    (out / "4.edges.png").unlink()  # one of two files was written
    for name in ("b/0.depth.png", "b/0.edges.png"):  # nothing was
        (out / name).unlink()
    before = stamps(out)
    capsys.readouterr()
    again = run(photos, out, predictor)
    assert (again.written, again.found, again.failed) == (2, 1, 0) and again.exit_code == 0
    assert "8 of 8 inputs; 4 are done, 1 failed before (--retry" in capsys.readouterr().out
    assert content(out) == reference and before.items() <= stamps(out).items()
    assert sorted(line["input"] for line in lines(out)) == sorted(json.loads(line)["input"] for line in told)
    now = {line["input"]: line for line in lines(out)}
    assert now[str(photos / "3.png")]["outcome"] == "found"
    assert all(now[line["input"]]["files"] == line["files"] for line in map(json.loads, told))
    assert not [path for path in out.rglob("*.part*")]


def test_failures_are_kept_until_they_are_to_be_tried_again(
    predictor: Predictor, photos: Path, photo: np.ndarray, tmp_path: Path
) -> None:
    first = run(photos, tmp_path / "out", predictor)
    assert first.failed == 1 and first.exit_code == 1
    (line,) = [line for line in lines(tmp_path / "out") if line["outcome"] == "failed"]
    assert line["error"].startswith(f"{photos / 'broken.jpg'}: cannot be read as a picture") and line["files"] == []
    Image.fromarray(photo).save(photos / "broken.jpg")
    assert run(photos, tmp_path / "out", predictor).written == 0
    assert run(photos, tmp_path / "out", predictor, retry=True).written == 1
    last = run(photos, tmp_path / "out", predictor, Shard(1, 2), retry=True)
    assert (last.written, last.found) == (0, 0), "what shards of another count did is done"


def test_who_would_write_the_same_is_refused(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos, out, predictor, Shard(1, 3))
    with held(out / "manifest" / ".00002-of-00003.lock"):
        for shard in (Shard(2, 3), Shard(1, 2)):
            with pytest.raises(Refused, match=f"process .number {os.getpid()} .* what shard {shard} would"):
                run(photos, out, predictor, shard)
        run(photos, out, predictor, Shard(3, 3))
    with pytest.raises(Refused, match=r"made otherwise \(write: \['depth', 'edges'\] there, \['npz'\] now\); give"):
        run(photos, out, predictor, write=["npz"])
    with pytest.raises(ValueError, match="webcam:0 cannot be looked at in shards"):
        predict_shard(["webcam:0"], out, ALL, predictor)


def test_lines_are_the_same_whoever_wrote_the_files(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    told = []
    for left in ((), (".npz", ".glb"), (".panel.png", ".npz", ".glb"), (".glb",)):
        for end in left:
            (tmp_path / "out" / f"3{end}").unlink()
        for file in (tmp_path / "out").glob("manifest/*.jsonl"):
            file.unlink()
        predict_shard([photos / "3.png"], tmp_path / "out", ALL, predictor)
        told += [line["files"] for line in lines(tmp_path / "out")]
    assert told[0] == told[1] == told[2] == ["3.panel.png", "3.npz", "3.glb"]
    assert told[3] == told[0][:2], "a surface is the first to be written: where it alone is lacking there is none"


def test_no_picture_is_credited_with_the_output_of_another(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    run(photos, out, predictor)
    (other / "a").mkdir(parents=True)
    for name in ("3.png", "a/0.png"):
        (other / name).write_bytes((photos / "4.png").read_bytes())
    with pytest.raises(Refused, match=r"otherwise \(inputs: \['.*photos'\] there, \['.*other'\] now\); give another"):
        run(other, out, predictor)
    both = [photos, other]
    how = {"write": ["depth"], "batch": 1}
    for number in (1, 2):
        predict_shard(both, tmp_path / "both", Shard(number, 2), predictor, **how)  # type: ignore[arg-type]
    before = content(tmp_path / "both")
    assert len(before) == 9 and before["3_png.depth.png"] != before["3_png_2.depth.png"]
    (photos / "3.png").unlink(), (other / "3.jpg").write_bytes((other / "3.png").read_bytes())
    for file in (tmp_path / "both" / "manifest").glob("*.jsonl"):
        told = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in told if str(other / "3.png") not in line))
    predict_shard(both, tmp_path / "both", ALL, predictor, **how)  # type: ignore[arg-type]
    (refused,) = [line for line in lines(tmp_path / "both") if line["input"] == str(other / "3.png")]
    assert "3_png.depth.png is the output of another input" in refused["error"]
    assert before.items() <= content(tmp_path / "both").items()


def test_outputs_that_nothing_tells_of_are_not_taken_for_ours(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    predict_paths([photos / "a"], out, predictor, write=["depth"])
    (out / "note.txt").touch()
    with pytest.raises(
        Refused, match=r"depth.png is there, but no .*run.json that tells how it was made; give another"
    ):
        run(photos, out, predictor)
    for path in out.glob("*.png"):
        path.unlink()
    monkeypatch.chdir(photos.parent)
    assert run(Path("photos"), out, predictor).written == 7
    monkeypatch.chdir(photos)
    assert run(Path("../photos"), tmp_path / "again", predictor).written == 7
    assert run(photos, out, predictor).exit_code == 0, "wherever it is started"


def test_damaged_manifests_are_named(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos, out, predictor)
    (file,) = (out / "manifest").glob("*.jsonl")
    whole = file.read_bytes()
    for damaged in (b"\0\0\n", b'{"input": "a"}\n', b"\xff\n", b"[]\n"):
        file.write_bytes(whole[: whole.index(b"\n") + 1] + damaged + whole)
        with pytest.raises(ValueError, match=r"00001-of-00001.jsonl, line 2: is damaged .*; remove the line"):
            run(photos, out, predictor)
    file.write_bytes(whole)
    (out / "manifest" / "run.json").write_text("[1]")
    with pytest.raises(Refused, match=r"run.json is damaged .*; give another --out"):
        run(photos, out, predictor)


def test_patterns_that_lead_out_are_refused(photos: Path, tmp_path: Path) -> None:
    assert [name for _, name in pictures.walk([photos / "*" / "1.*"])] == ["a/1.bmp", "a/1.png"]
    assert {name for _, name in pictures.walk([photos / "*" / ".." / "3.png"])} == {"3.png"}
    with pytest.raises(ValueError, match=r"b/c/\.\./\.\./3.png is not in .*/b; write it without \.\. behind"):
        list(pictures.walk([f"{photos}/b/*/../../3.png"]))


def test_networks_that_differ_in_no_number_are_told_apart(predictor: Predictor) -> None:
    model = predictor.model
    before = predictor.network.digest()
    assert before == predictor.network.digest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "canonical_focal", 0.7)
        assert predictor.network.digest() != before
    with pytest.MonkeyPatch.context() as patch:
        named = type(model.tasks["semseg"])(classes=("floor", "wall", "table"))
        patch.setitem(model.tasks, "semseg", named)
        assert predictor.network.digest() != before


def test_names_alone_say_whose_an_input_is(tmp_path: Path) -> None:
    names = [f"{folder}/{number:03d}.jpg" for folder in "ab" for number in range(60)]
    alike = ["x.jpg", "x.png", "x_png.tif", "x_jpg_2.gif", "x.JPG"]
    for name in [*names, *alike]:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    found = [list(Listing.of([tmp_path / "in"], tmp_path / "out", Shard(number, 4))) for number in (1, 2, 3, 4)]
    every = [each for part in found for each in part]
    assert len(every) == len({name for _, name in every}) == len({path for path, _ in every}) == 125
    assert all(15 < len(part) < 50 for part in found) and len({family(name) for name in alike}) == 1
    assert {name for _, name in pictures.find([tmp_path / "in"])} == {name for _, name in every}
    several = Listing.of(
        [tmp_path / "in" / "a" / "000.jpg", tmp_path / "in", tmp_path / "in" / "b"], tmp_path / "out", ALL
    )
    assert len(several) == 125 and next(str(name) for _, name in several) == "000"
    for name in names[::2]:
        (tmp_path / "in" / name).unlink()
    fewer = [list(Listing.of([tmp_path / "in"], tmp_path / "out", Shard(number, 4))) for number in (1, 2, 3, 4)]
    assert all(set(some) <= set(all) for some, all in zip(fewer, found, strict=True))
    assert list(found[0]) == sorted(found[0]), "in the order of names, whatever the file system's"


def test_where_the_network_fails_only_those_pictures_do(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dark, calls = photos / "3.png", []
    Image.new("RGB", (96, 64)).save(dark)
    network = type(predictor.network).__call__

    def failing(self: object, images: object, focal: object) -> object:
        calls.append(len(images))  # type: ignore[arg-type]
        if (images == 0).all((1, 2, 3)).any():  # type: ignore[attr-defined]
            raise RuntimeError("no memory for this one")
        return network(self, images, focal)  # type: ignore[arg-type]

    monkeypatch.setattr(type(predictor.network), "__call__", failing)
    outcome = predict_paths([photos], tmp_path / "out", predictor, write=["depth"], batch=4)
    assert outcome.failed[dark] == f"{dark}: no memory for this one" and len(outcome.written) == 6
    assert calls == [4, 1, 1, 1, 1, 3]
    monkeypatch.setattr(command, "HELPLESS", 3)
    monkeypatch.setattr(type(predictor.network), "__call__", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="the network failed at 3 pictures, one after another: division by zero"):
        run(photos, tmp_path / "none", predictor)


def test_a_full_disk_is_no_fault_of_a_picture(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Scene, "save", full)
        with pytest.raises(OSError, match="No space left"):
            run(photos, tmp_path / "out", predictor)
    assert all(line["outcome"] == "failed" and "broken" in line["input"] for line in lines(tmp_path / "out"))
    assert run(photos, tmp_path / "out", predictor).written == 7


def test_the_command_line(
    predictor: Predictor, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights.save(predictor.model, tmp_path / "net", size=(64, 96))
    words = ["predict", str(photos), "--out", str(tmp_path / "out"), "--weights", str(tmp_path / "net"),
             "--device", "cpu", "--write", "depth"]  # fmt: skip
    status = [cli.main([*words, "--shard", f"{number}/2"]) for number in (1, 2, 1)]
    assert sorted(status[:2]) == [0, 1] and status[2] == 0, "what failed before is not said to fail again"
    assert len(content(tmp_path / "out")) == 7
    assert cli.main([*words, "--retry"]) == 2 and "--retry goes with --shard" in capsys.readouterr().err
    assert cli.main([*words, "--shard", "0/2"]) == 2 and "counted from 1" in capsys.readouterr().err
