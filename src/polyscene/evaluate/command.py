"""``polyscene eval``: a network judged, told in words and written down. Importing this imports no torch."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from polyscene import atomic, info, tables
from polyscene.evaluate.baseline import Baseline
from polyscene.evaluate.judgement import FILE, VIEWS, Figures, Judged, Judgement, finite
from polyscene.metrics import protocols

if TYPE_CHECKING:
    from polyscene.config import Config, Data, Source
    from polyscene.data.loader import Loader
    from polyscene.metrics.protocols import Protocol
    from polyscene.tasks import Task

FITS = {
    "cover": "the largest centred field of view",
    "pad": "pictures as they are, padded or cut to their middle",
    "stretch": "pictures resized whatever their aspect",
}


def run(
    weights: str | Path,
    data: str,
    split: str | None = None,
    out: Path | None = None,
    limit: int | None = None,
    with_floors: bool = True,
    device: str = "auto",
    protocol: str = "polyscene",
    edges: Literal["exact", "quick"] | None = None,
    root: Path | None = None,
    baseline: Sequence[str | Path] = (),
    workers: int | None = None,
) -> dict[str, Any]:
    """``polyscene eval``: prints the headlines of each source and how they were counted, writes every figure as
    ``metrics.json`` and ``metrics.md`` into ``out`` (where the weights are, by default) and returns what the former
    holds. ``data``: a configuration, whose ``evaluate`` sources are judged; a folder with a polyscene.yaml, or such a
    file; or the name of a data set, the files of which are at ``root`` or where POLYSCENE_NAME says.
    """
    config = configuration(data, split, root)  # mistakes in it are told before torch is imported
    if limit is not None and limit < 1:
        raise ValueError(f"--limit {limit}: judge at least one batch")
    if workers is not None and workers < 1:
        raise ValueError(f"--workers {workers}: give 1 or more, or leave it out to use this process alone")
    rules = protocols.find(protocol)
    rules = rules if edges is None else rules.exact() if edges == "exact" else rules.quick()
    info.find(weights)
    alone = Baseline(baseline)

    from polyscene.training import distributed

    with distributed.joined(device):
        return _judge(config, weights, data, out, limit, with_floors, device, rules, alone, workers)


def _judge(
    config: Config,
    weights: str | Path,
    data: str,
    out: Path | None,
    limit: int | None,
    with_floors: bool,
    device: str,
    rules: Protocol,
    alone: Baseline,
    workers: int | None,
) -> dict[str, Any]:
    """As one of several ranks, which share the samples; the first one speaks and writes."""
    import io

    from rich.console import Console
    from rich.progress import Progress

    from polyscene import devices
    from polyscene import weights as files
    from polyscene.data import sources
    from polyscene.evaluate import floors, judge, position_floors
    from polyscene.training import distributed

    ranks = distributed.count()
    if limit is not None and limit % ranks:
        raise ValueError(f"--limit {limit}: {ranks} processes judge as many batches each; give a multiple of {ranks}")
    place = devices.pick(device)
    model, facts = files.load(weights)
    model.to(place)
    home = info.locate(weights)
    section = config.data
    if not section.evaluate:
        raise ValueError(f"{data}: data.evaluate names no source to judge on")
    section = section.model_copy(update=_as_trained(section, home, facts, rules))
    known = {name: source for name, source in section.train.items() if with_floors and name in section.evaluate}
    section = section.model_copy(update={"train": known, "target": {}})
    with distributed.in_turns():
        built = sources.build(section, model.tasks, config.seed)
    single = {name: _alone(alone, name, loader, model.tasks, rules) for name, loader in built.evaluate.items()}
    console = Console() if distributed.first() else Console(quiet=True, file=io.StringIO())
    for note in built.notes:
        console.print(note, highlight=False)
    found: dict[str, Judgement] = {}
    for name, loader in built.evaluate.items():
        with Progress(console=Console(stderr=True), transient=True, disable=not distributed.first()) as bar:
            shown, few = bar.add_task(name), None if limit is None else limit // ranks
            judged = judge(model, loader, few, place, partial(_advance, bar, shown), rules, workers, ranks=True)
        for bad in distributed.gather(loader.bad):
            loader.bad |= bad
        beside: dict[str, Figures] = {}
        fast = {task: each for task, each in model.tasks.items() if not each.metric(rules).slow}
        if with_floors and fast.keys() & judged.keys():
            ways = {"constant": floors, "place only": position_floors}
            teacher = built.train.get(name, loader)
            beside = {way: find(teacher, loader, fast, few, rules, ranks=True) for way, find in ways.items()}
        found[name] = Judgement(
            judged,
            rules.name,
            rules.of,
            _split(section.evaluate[name]),
            len(loader.dataset),
            _view(loader, section, limit),
            tuple(_notes(judged, loader, name in built.train, bool(beside))),
            beside,
            single[name],
        )
        table = found[name].headlines(name)
        console.print(tables.console(table))
        for line in table.notes:
            console.print(line, highlight=False, markup=False, style="dim")
    by_source = {name: {**one.facts(), "skipped": built.evaluate[name].skipped} for name, one in found.items()}
    result = finite({"weights": str(info.find(weights)), "data": data, "sources": by_source})
    if not distributed.first():
        return dict(result)
    folder = out or (home if home.is_dir() else home.parent)
    folder.mkdir(parents=True, exist_ok=True)
    readable = [each for name, one in found.items() for each in (one.headlines(name), one.every_figure())]
    with atomic.whole((folder / FILE).with_suffix(".md")) as part:
        part.write_text("\n".join(map(tables.markdown, readable)), encoding="utf-8")
    with atomic.whole(folder / FILE) as part:
        part.write_text(json.dumps(result, indent=2, ensure_ascii=False), encoding="utf-8")
    console.print(f"every figure: {folder / FILE} and .md", highlight=False, soft_wrap=True)
    return dict(result)


def _advance(bar: Any, shown: Any, done: int, total: int) -> None:
    bar.update(shown, completed=done, total=total)


def configuration(data: str, split: str | None, root: Path | None = None) -> Config:
    """What ``--data`` means, as a configuration with ``evaluate`` sources."""
    from polyscene import document, parts
    from polyscene.config import Config, load
    from polyscene.data import DATASETS, packed
    from polyscene.data.description import FILE as DESCRIPTION
    from polyscene.data.description import load as describe

    path = Path(data)
    if path.exists() and root is not None:
        raise ValueError(f"--root {root}: {data} says itself where its files are; --root goes with a data set's name")
    if path.is_file() and path.name != DESCRIPTION:
        try:
            keys = document.from_yaml(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, document.BadText):
            return load(path)  # says what is wrong
        if isinstance(keys, dict) and "images" not in keys:
            if split is not None:
                raise ValueError(f"--split {split}: the sources of {data} say themselves which split they are")
            return load(path)
    if packed(data):
        if split is not None:
            raise ValueError(f"--split {split}: shards hold a split each; give the folder of that one")
        part: dict[str, Any] = {"name": "shards", "path": data}
    elif path.exists():
        split = split or ("val" if "val" in describe(path)[0].splits else None)
        part = {"name": "folder", "path": data, **({"split": split} if split else {})}
    else:
        if data not in DATASETS or data == "folder":
            names = [name for name in DATASETS if name != "folder"]
            raise ValueError(f"--data {data!r} is no file or folder, and an {parts.unknown(data, names, 'data set')}")
        takes = parts.keywords(DATASETS[data]) or {}
        given = {"split": split or "val", "root": None if root is None else str(root), "scenes": 60}
        part = {"name": data} | {key: value for key, value in given.items() if key in takes and value is not None}
    return Config.model_validate({"tasks": [], "data": {"evaluate": {path.stem or data: {"dataset": part}}}})


def _as_trained(section: Data, home: Path, facts: Mapping[str, Any], rules: Protocol) -> dict[str, Any]:
    """What of the input a configuration leaves open: as in the training of the network, else as the protocol's own."""
    from polyscene import document
    from polyscene.config import Data

    settings: dict[str, Any] = {"size": tuple(facts["size"])} if facts.get("size") else {}
    told: dict[str, Any] = {}
    if (home / "config.yaml").is_file():
        told = document.from_yaml((home / "config.yaml").read_text(encoding="utf-8")).get("data", {})
    else:
        told = {"augment": rules.recipe}
    trained = Data.model_validate({key: told[key] for key in ("fit", "augment") if key in told})
    settings |= {"augment": trained.augment}
    settings |= {"fit": trained.fit} if "augment" not in section.model_fields_set else {}
    return {key: value for key, value in settings.items() if key not in section.model_fields_set}


def _alone(
    baseline: Baseline, source: str, loader: Loader, tasks: Mapping[str, Task], rules: Protocol
) -> dict[str, float]:
    from polyscene.evaluate import shared

    words = {name: task.metric(rules).words() for name, task in shared(tasks, loader).items()}
    return baseline.of(source, rules.name, words)


def _split(source: Source) -> str:
    return str(source.dataset.options.get("split") or "")


def _view(loader: Loader, section: Data, limit: int | None) -> str:
    from polyscene import transforms

    samples, seen = len(loader.dataset), transforms.testing(section)
    some = f"the first {min(limit * loader.batch, samples)} of {samples}" if limit else f"all {samples}"
    where = (
        "labels at their own resolution, to which outputs are brought"
        if seen.labels == "own"
        else "labels brought to it"
    )
    return f"{some} samples; network input {seen.size[0]}x{seen.size[1]}, {FITS[seen.fit]}; {where}"


def _notes(judged: Mapping[str, Judged], loader: Loader, taught: bool, with_floors: bool) -> Iterator[str]:
    from polyscene.metrics import Consistency

    if loader.skipped:
        yield f"{loader.skipped} samples could not be read and were left out"
    if with_floors:
        yield f"floors are found in {'its training labels' if taught else 'these very labels, which flatters them'}"
    if any(figure.startswith(VIEWS) for task in judged.values() for figure in task.figures):
        about = (inspect.getdoc(Consistency) or "").partition("\n\n")[0].replace("``", "")
        yield f"cross-view: {' '.join(about.split())}"
