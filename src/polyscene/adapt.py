"""``polyscene adapt``: a trained network goes on to learn, with labels of one place, on pictures of another that have
none. Importing this imports no torch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from polyscene import config as configuration
from polyscene import info
from polyscene.config import Config, ConfigError, Problem, words
from polyscene.config.schema import Strict
from polyscene.data import DATASETS, description, packed

if TYPE_CHECKING:
    from rich.console import Console

    from polyscene.data.base import Dataset
    from polyscene.predict import Predictor
    from polyscene.types import Sample

RECIPE = Path(str(files("polyscene"))) / "configs" / "adapt.yaml"
LENGTHS = {"steps", "epochs", "minutes"}
SHOWN = 6  # pictures before and after
Set = str | dict[str, Any]


class Short(Strict):
    """``init``: a run or weights, whose tasks, classes, parts and size are taken over. ``source``: what labels are
    learnt from, ``target`` the pictures without, ``evaluate`` labelled ones to tell what was gained: each a data set
    by name (as ``init`` was trained on it), a described folder, pictures (a folder, a pattern, a video), or a mapping
    ``{name: ..., keyword: value}``."""

    init: str
    source: Set
    target: Set
    evaluate: Set | None = None


def run(file: Path, overrides: Sequence[str] = (), console: Console | None = None) -> Path:
    """Trains what ``file`` describes (a short form, or a whole configuration with ``data.target``), tells what it
    gained on the sources under ``data.evaluate`` and draws pictures before and after into the run. Returns its
    folder."""
    config = configuration.load(file, overrides, trains=True, whole=lambda data: whole(data, file.parent, overrides))
    if not config.data.target:
        raise ConfigError([Problem(("data", "target"), "names no pictures to adapt to")], str(file))

    from rich.console import Console as Screen

    from polyscene.data import sources
    from polyscene.training import distributed, loop, tasks

    for source in (*config.data.target.values(), *config.data.evaluate.values()):
        sources.make(source.dataset)  # what is not there is told before anything is rendered
    configuration.check(config, tasks.choose(config))
    console = console or Screen()
    out = loop.train(config, console)
    start = config.training.init
    if not isinstance(start, str) or not distributed.first():
        return out
    for line in gained(config, start, out):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    page = draw(config, start, out)
    console.print(f"before and after: {page}", highlight=False, markup=False, soft_wrap=True)
    return out


def whole(data: Mapping[str, Any], folder: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration that a short form, whose paths are relative to ``folder``, stands for; one that is whole as it
    is. What else stands in the short form takes the place of the recipe's; of its length, so do ``overrides``."""
    keys = Short.model_fields
    if ("data" in data or "tasks" in data) and not set(keys) & set(data):
        return dict(data)
    others = {key: value for key, value in data.items() if key not in keys}
    problems = [
        Problem((key,), words.unknown(key, [*keys, *Config.model_fields]), value)
        for key, value in others.items()
        if key not in Config.model_fields
    ]
    try:
        short = Short.model_validate({key: value for key, value in data.items() if key in keys})
    except ValidationError as error:
        raise ConfigError([*problems, *words.of(error, dict(data), model=Short)]) from None
    if problems:
        raise ConfigError(problems)
    card = _card(short.init)
    learnt = card["facts"].get("data", {})
    full = yaml.safe_load(RECIPE.read_text())
    model = {key: value for key, value in card["model"].items() if key not in ("tasks", "reference")}
    full |= {"tasks": card["model"]["tasks"], "model": {**model, "pretrained": False}}
    full["data"]["size"] = card["facts"].get("size") or [192, 256]
    full["training"]["init"] = short.init
    for use, wanted in (("train", short.source), ("target", short.target), ("evaluate", short.evaluate)):
        (name,) = full["data"][use]
        if wanted is None:
            del full["data"][use]
        else:
            full["data"][use][name]["dataset"] = _dataset(wanted, folder, learnt)
    typed = (word.lstrip("-").removeprefix("training.").partition("=")[0] for word in overrides)
    given = {*(others.get("training") or {}), *typed}
    if given & LENGTHS:
        del full["training"]["minutes"]
    return _merged(full, others)


def _card(init: str) -> dict[str, Any]:
    try:
        return info.describe(init)
    except (FileNotFoundError, info.BadFile) as error:
        raise ConfigError([Problem(("init",), str(error), init)]) from None


def _dataset(wanted: Set, folder: Path, learnt: Mapping[str, Any]) -> dict[str, Any]:
    """As a part. A name is the data set with which ``init`` was trained, or one that needs no keywords."""
    if isinstance(wanted, dict):
        return wanted
    for name, part in learnt.items():
        if wanted in (name, part["name"]):
            return {"name": part["name"], **part["options"]}
    if wanted in DATASETS:
        return {"name": wanted}
    if packed(wanted if "://" in wanted else folder / Path(wanted).expanduser()):
        return {"name": "shards", "path": wanted}
    path = folder / Path(wanted).expanduser()
    described = path.suffix in (".yaml", ".yml") or (path / description.FILE).is_file()
    return {"name": "folder" if described else "photographs", "path": wanted}


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(base)
    for key, value in over.items():
        held = merged.get(key)
        part = isinstance(value, dict) and "name" in value
        merged[key] = _merged(held, value) if isinstance(held, dict) and isinstance(value, dict) and not part else value
    return merged


def gained(config: Config, start: str, out: Path) -> Iterator[str]:
    """Each task's headline on every source under ``data.evaluate``, before and after."""
    from polyscene import devices, weights
    from polyscene.data import sources
    from polyscene.evaluate import judge

    if not config.data.evaluate:
        yield "no labelled pictures under `evaluate`: what was gained cannot be told"
        return
    place = devices.pick(config.training.device)
    models = [weights.load(where)[0].to(place) for where in (start, out)]
    alone = config.data.model_copy(update={"train": {}, "target": {}})
    for name, loader in sources.build(alone, models[1].tasks, config.seed).evaluate.items():
        before, after = (judge(model, loader, device=place) for model in models)
        for task, judged in after.items():
            head = judged.headline
            was = f"{before[task].figures[head]:.4g} -> " if task in before else ""
            yield f"{name}: {task} {head} {was}{judged.figures[head]:.4g}"


def draw(config: Config, start: str, out: Path) -> Path:
    """A page of a few pictures of the targets, as both networks see them."""
    from polyscene import panels, predict
    from polyscene.data import sources

    networks = [predict.load(where, config.training.device) for where in (start, out)]
    rows = []
    for source in config.data.target.values():
        dataset = sources.make(source.dataset).only(())
        dataset.prepare()
        count = max(1, SHOWN // len(config.data.target))
        for place in range(min(count, len(dataset))):
            sample = _readable(dataset, place * len(dataset) // min(count, len(dataset)))
            known = sample.camera.intrinsics[0].numpy() if sample.camera.known[0] else None
            picture = (sample.images[0].movedim(0, -1) * 255).round().byte().numpy()
            facets = _compared(networks, picture, known)
            rows.append(panels.compose(facets, columns=len(facets), width=240))
    path = out / "before_after.png"
    panels.stack(rows).save(path)
    return path


def _readable(dataset: Dataset, first: int) -> Sample:
    """The sample ``first``, or the next that can be read. Training told which cannot."""
    from polyscene.data.base import BadSample

    for index in (*range(first, len(dataset)), *range(first)):
        try:
            return dataset.read(index)
        except BadSample:
            continue
    raise ValueError(f"{dataset.name}: no sample of it can be read")


def _compared(networks: list[Predictor], picture: Any, intrinsics: Any) -> list[Any]:
    """A photograph, and every facet of it as the two see it, side by side and in the same colours."""
    from polyscene import panels

    before, after = (network(picture, intrinsics) for network in networks)
    facets = [panels.Facet("photograph", picture)]
    for name in (name for name in after.values if name in before.values):
        limits = after.tasks[name].limits(panels.as_tensor(after.values[name]))
        for scene, when in ((before, "before"), (after, "after")):
            facets.append(panels.facet(scene.tasks[name], scene.values[name], f"{name}, {when}", limits))
    return facets
