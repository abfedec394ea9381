"""What ``polyscene data ...`` does. Each returns the exit status; keywords are the options."""

from __future__ import annotations

import inspect
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from polyscene.data import DATASETS, ORIGINALS, packed

if TYPE_CHECKING:
    from polyscene.data.original import Original
    from polyscene.data.verify import Problem
    from polyscene.parts import Keyword


def listing() -> int:
    """The data sets there are: what they label, and the keywords they take."""
    from polyscene import parts
    from polyscene.data import DATASETS, LABELS

    for name, target in DATASETS.items():
        keywords = (parts.keywords(target) or {}).values()
        print(_wrapped(f"{name}: {parts.summary(target).replace('``', '')}", 0))
        print(_wrapped(f"labels: {', '.join(LABELS.get(name, ['what its polyscene.yaml says, or none']))}", 4))
        print(_wrapped(f"keywords: {', '.join(map(_worded, keywords))}", 4))
    print("\n`polyscene data prepare NAME` says where to get a set of the field.")
    return 0


def _wrapped(line: str, indent: int) -> str:
    return textwrap.fill(line, 100, initial_indent=" " * indent, subsequent_indent=" " * (indent + 4))


def _worded(keyword: Keyword) -> str:
    """Its name and, where they are listed, its choices."""
    annotation = keyword.annotation or ""
    if annotation.startswith("Literal["):
        return f"{keyword.name} ({annotation[8:-1].replace(', ', '|')})".replace("'", "")
    return f"{keyword.name} (required)" if keyword.required else keyword.name


def render(
    data: Positional[Literal["rooms", "streets"]] = "rooms",
    scenes: int = 16,
    views: int = 2,
    size: tuple[int, int] = (192, 256),
    seed: int = 0,
    split: Literal["train", "val"] = "train",
    quality: Literal["fast", "high"] = "fast",
    root: Path | None = None,
    workers: int | None = None,
    shard: Annotated[str | None, arg(metavar="I/N")] = None,
) -> int:
    """Render rooms or streets into the cache; does only what is not there yet.

    Args:
        data: what to render.
        scenes: how many rooms or streets.
        views: pictures of each.
        size: height and width.
        seed: of the whole set.
        split: training and held-out scenes have different numbers.
        quality: of light and shadow; geometry and labels are the same.
        root: instead of the cache folder.
        workers: processes; all cores by default.
        shard: only this machine's part of the scenes, counted from 1: 1/8 to 8/8, or
            $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT of an array of 1-8. All may share one folder.
    """
    from polyscene import parts
    from polyscene.shard import Shard

    part = None if shard is None else Shard.parse(shard)
    made: Any = parts.load(DATASETS, data, "data set")
    dataset = made(scenes, views, size, seed, split, quality=quality, root=root, workers=workers)
    dataset.prepare(part)
    print(dataset.folder)
    return 0


def describe(folder: Path, out: Path | None = None) -> int:
    """Write a first polyscene.yaml for FOLDER by looking at it.

    Args:
        folder: where the pictures and labels lie, in sub-folders.
        out: the file to write, FOLDER/polyscene.yaml by default; "-" prints it. Never overwrites.
    """
    from polyscene.data import describe as looking
    from polyscene.data.description import FILE

    if not folder.is_dir():
        return _refuse(f"{folder}: no such folder")
    try:
        text = looking.describe(folder)
    except ValueError as error:
        return _refuse(str(error))
    if out == Path("-"):
        print(text, end="")
        return 0
    file = out or folder / FILE
    if file.parent.resolve() != folder.resolve():
        text = f"root: {folder.resolve()}\n{text}"
    try:
        with file.open("x") as opened:
            opened.write(text)
    except FileExistsError:
        return _refuse(f"{file} exists; give another --out, or - to print the description")
    except OSError as error:
        return _refuse(
            f"{file} cannot be written ({error.strerror}); give another --out, or - to print the description"
        )
    print(f"{file}: look through it, then: polyscene data verify {file}")
    return 0


def verify(data: Annotated[str | Path, arg(metavar="NAME|FOLDER")], root: Path | None = None) -> int:
    """Read every file of a data set and list what is wrong with it.

    Args:
        data: the name of a set of the field, a folder with a polyscene.yaml, such a file, or a folder of shards.
        root: where the files of a set of the field lie; $POLYSCENE_NAME by default.
    """
    from polyscene.data.verify import verify as check
    from polyscene.data.verify import verify_shards

    if packed(data):
        with _progress("verifying") as progress:
            return _told(verify_shards(str(data), progress))
    if data in ORIGINALS:
        return _told(_verified(str(data), root))
    if not Path(data).exists():
        return _refuse(_unfound(str(data)))
    with _progress("verifying") as progress:
        return _told(check(data, progress))


def preparing(name: str) -> Callable[..., int]:
    """``polyscene data prepare NAME`` for a set of the field."""

    def prepare(root: Path | None = None, convert: Path | None = None, out: Path | None = None) -> int:
        from polyscene import parts

        reader: type[Original] = parts.load(DATASETS, name, "data set")
        print(f"{reader.title}\n\n{inspect.cleandoc(reader.where)}\n")
        if convert is not None:
            if out is None:
                return _refuse("--convert needs --out, the folder to write to")
            reader.convert(convert, out)
            print(f"written: {out}")
            root = out
        if root is None and not os.environ.get(f"POLYSCENE_{name.upper()}"):
            print(f"Then: polyscene data prepare {name} --root FOLDER, or set POLYSCENE_{name.upper()}")
            return 0
        return _told(_verified(name, root))

    prepare.__doc__ = f"""Where to get {name}; check what is on disk, and derive the labels that it lacks.

    Args:
        root: where the files lie; $POLYSCENE_{name.upper()} by default. Nothing is written there.
        convert: files of another published form, to be written as the form that is read, where there is such.
        out: the folder to write these to.
    """
    return prepare


def _verified(name: str, root: Path | None) -> list[Problem]:
    """All splits of a set of the field, with what a user should know of each."""
    from polyscene import parts
    from polyscene.data.base import BadSample
    from polyscene.data.original import find_root
    from polyscene.data.verify import Problem, verify_set

    reader: Any = parts.load(DATASETS, name, "data set")
    find_root(name, root)
    problems: list[Problem] = []
    for split in reader.splits:
        try:
            dataset = reader(root=root, split=split)
        except BadSample as error:
            problems += [Problem(each.file, each.problem, each.remedy) for each in (error, *error.others)]
            continue
        derived = f"; derived: {', '.join(sorted(dataset.derived))}" if dataset.derived else ""
        print(f"{name} {split}: {len(dataset)} samples; labels: {', '.join(dataset.tasks)}{derived}")
        for note in dataset.notes:
            print(f"    {note}")
        with _progress(f"{name} {split}") as progress:
            problems += verify_set(dataset, progress)
    return list(dict.fromkeys(problems))


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _told(problems: Sequence[Problem]) -> int:
    for problem in problems:
        print(f"{problem.file}\n    {problem.problem}\n    -> {problem.remedy}")
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    print(count if problems else "nothing wrong")
    return 1 if problems else 0


def prepare_video(
    source: Positional[Path],
    out: Path,
    depth: Path | None = None,
    depth_scale: float = 0.001,
    every: int | None = None,
    focal: float | None = None,
    distortion: bool = True,
    matching: Literal["sequential", "exhaustive"] = "sequential",
    threads: int = -1,
) -> int:
    """Find the camera's path in a video, or a folder of pictures, and describe it as a data set (extra: sfm).

    Args:
        source: a video file, or a folder of pictures taken with one camera.
        out: folder to write; the same command again carries on, or says that it is finished.
        depth: folder of depth pictures of the frames' names, which fix the scale (0 is unknown).
        depth_scale: metres a unit of depth.
        every: take each of so many frames only the first; by default so that at most 200 are taken.
        focal: length in pixels, if known; found otherwise.
        distortion: find a radial distortion too, and take it out of the pictures.
        matching: sequential compares frames with the next ones, exhaustive all with all.
        threads: all cores by default.
    """
    from polyscene.data import video

    for line in video.prepare(source, out, depth, depth_scale, every, focal, distortion, matching, threads).lines():
        print(line)
    print(f"{out}: look through it, then: polyscene data verify {out}")
    return 0


def show(
    data: str,
    out: Path = Path("sheet.png"),
    split: str | None = None,
    count: int = 6,
    views: int = 1,
    root: Path | None = None,
) -> int:
    """Draw a contact sheet of samples with all their labels.

    Args:
        data: "rooms", "streets", the name of a set of the field, a folder with a polyscene.yaml, such a file, or a
            folder of shards.
        out: the PNG to write.
        split: of the data set; all, or the training scenes, by default.
        count: samples, evenly spread.
        views: pictures a sample.
        root: where the files of a set of the field lie; $POLYSCENE_NAME by default.
    """
    from polyscene.config import Part
    from polyscene.data.sheet import contact_sheet
    from polyscene.data.sources import make

    options: dict[str, Any]
    if data in ("rooms", "streets"):
        options = {"name": data, "scenes": count, "views": views, "split": split or "train"}
    elif data in ORIGINALS:
        asked = {"root": root and str(root), "split": split, "views": views if views > 1 else None}
        options = {"name": data, **{key: value for key, value in asked.items() if value is not None}}
    elif packed(data):
        options = {"name": "shards", "path": data}
    elif not Path(data).exists():
        return _refuse(_unfound(data))
    else:
        options = {"name": "folder", "path": data, "views": views, "split": split}
    if count < 1 or views < 1:
        return _refuse(f"a sheet needs at least one sample and one view; got {count} and {views}")
    try:
        dataset = make(Part.model_validate(options))
        dataset.prepare()
        spread = [round(place * (len(dataset) - 1) / max(1, count - 1)) for place in range(min(count, len(dataset)))]
        sheet = contact_sheet([dataset.read(index) for index in spread], dataset.tasks)
    except ValueError as error:
        return _refuse(str(error))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
    print(out)
    return 0


def pack(
    data: Annotated[str, arg(metavar="DATA")],
    out: Path | None = None,
    split: str | None = None,
    root: Path | None = None,
    source: str | None = None,
    shard_size: float = 256.0,
    samples: int | None = None,
    skip: bool = False,
    workers: int | None = None,
) -> int:
    """Write a data set as shards (tar files of many samples) for training elsewhere; the same command again carries on.

    Args:
        data: a folder with a polyscene.yaml, such a file, the name of a set of the field, a data set as a configuration
            writes it ('{name: rooms, scenes: 300}'), or a configuration.
        out: folder to write to, of this set alone.
        split: of the data set; shards are named after it.
        root: where the files of a set of the field lie; $POLYSCENE_NAME by default.
        source: of a configuration with several, such as train.rooms.
        shard_size: MB a shard, about.
        samples: a shard, instead.
        skip: leave out samples that cannot be read, and list them.
        workers: threads; all cores by default.
    """
    from polyscene.config import Part
    from polyscene.data.pack import pack as write
    from polyscene.data.sources import make

    if out is None:
        return _refuse("pack needs --out, the folder to write to")
    if shard_size <= 0 or (samples is not None and samples < 1):
        return _refuse("a shard holds at least one sample: give a --shard-size above 0, or --samples of 1 or more")
    part = Part.model_validate(_options(data, split, root, source))
    prefix = re.sub("[^0-9A-Za-z_-]", "-", str(part.options.get("split") or "shard"))
    made = {key: value for key, value in part.options.items() if key not in ("path", "root")}
    with _progress("packing") as progress:
        facts = write(make(part), out, prefix, shard_size, samples, skip, workers, progress, made)
    size = sum(shard.bytes for shard in facts.shards)
    count = sum(shard.samples for shard in facts.shards)
    print(f"{out}: {count} samples in {len(facts.shards)} shards, {size / 1e6:.1f} MB")
    for index, why in facts.left_out.items():
        print(f"    left out: {index} ({why})")
    print(f"in a configuration: {{name: shards, path: {out}}}")
    return 0


def _options(data: str, split: str | None, root: Path | None, source: str | None) -> dict[str, Any]:
    """The data set that is meant, as a configuration writes it."""
    from polyscene import config, document, parts
    from polyscene.data.description import FILE

    given: dict[str, Any] = {"split": split, "root": root and str(root)}
    path = Path(data)
    if data.startswith("{"):
        written = document.from_yaml(data)
        if not isinstance(written, dict) or "name" not in written:
            raise ValueError(f"{data}: a data set is written as {{name: ..., keyword: value}}")
        options = written
    elif packed(data):
        options = {"name": "shards", "path": data}
    elif path.is_file() and path.name != FILE and "images" not in (document.from_yaml(path.read_text()) or ()):
        read = config.load(path).data
        named = {
            f"{use}.{name}": each.dataset
            for use, sources in (("train", read.train), ("evaluate", read.evaluate), ("target", read.target))
            for name, each in sources.items()
        }
        chosen = source or next(iter(named)) if len(named) == 1 else source
        if chosen not in named:
            raise ValueError(f"{data}: name one of its sources by --source: {', '.join(named)}")
        options = {"name": named[chosen].name, **named[chosen].options}
    elif path.exists():
        options = {"name": "folder", "path": data}
    elif data in DATASETS:
        options = {"name": data}
    else:
        raise ValueError(_unfound(data))
    takes = parts.keywords(DATASETS.get(options["name"], DATASETS["folder"])) or {}
    for key, value in given.items():
        if value is not None and key not in takes:
            raise ValueError(f"--{key} {value}: {options['name']} has no such keyword")
    return options | {key: value for key, value in given.items() if value is not None}


def _unfound(data: str) -> str:
    from polyscene import parts

    return f"{data}: no such folder or file; {parts.unknown(data, ORIGINALS, 'set of the field')}"


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 2
