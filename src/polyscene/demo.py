"""``polyscene demo``: rooms are rendered, a network is trained in front of you, judged, and shown on one page."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from rich.console import Console

import polyscene
from polyscene import config as configuration
from polyscene import evaluate as evaluation
from polyscene import predict, report, zero_shot
from polyscene.config import Config
from polyscene.data import sources
from polyscene.data.loader import Loader
from polyscene.data.sources import Sources
from polyscene.predict import Predictor
from polyscene.report import Comparison, Curve, Goal, Report, Result, Table
from polyscene.training import loop, records

CONFIG = Path(str(files("polyscene"))) / "configs" / "demo.yaml"
SAMPLES = Path(str(files("polyscene"))) / "samples"
ROOMS, CLOUDS, POINTS = 4, 2, (18_000, 11_000)  # how many are shown: rooms, clouds of photographs, points in each
Figures = Mapping[str, Mapping[str, float]]  # by task, by figure


@dataclass(frozen=True)
class Shown:
    """A line of a table."""

    task: str
    figure: str
    unit: str
    higher_is_better: bool
    goal: Goal | None = None
    headline: bool = False


IN_ROOMS = (
    Shown("semseg", "mIoU", "%", True, Goal(bound=35.0, ratio=8.0), headline=True),
    Shown("semseg", "accuracy", "%", True),
    Shown("depth", "RMSE", "m", False, Goal(ratio=0.45), headline=True),
    Shown("depth", "AbsRel", "", False),
    Shown("depth", "δ<1.25", "%", True),
    Shown("normals", "mean", "°", False, Goal(ratio=0.6), headline=True),
    Shown("normals", "median", "°", False),
    Shown("normals", "<22.5°", "%", True),
    Shown("edges", "quick F", "%", True, headline=True),
)
IN_REAL_FRAMES = (
    Shown("depth", "aligned AbsRel", "", False),
    Shown("depth", "aligned δ<1.25", "%", True),
    Shown("normals", "mean", "°", False),
    Shown("normals", "median", "°", False),
    Shown("normals", "<22.5°", "%", True),
)


def run(
    minutes: float = 3.0, out: str | Path | None = None, overrides: Sequence[str] = (), console: Console | None = None
) -> Path:
    """Renders, trains for ``minutes``, evaluates and writes ``report.html`` under ``out``, by default ``runs/demo`` (or
    ``runs/demo-MINUTESmin``). Returns its path. The same call again resumes what was interrupted and reuses what is
    there. ``overrides`` change the configuration, as on the command line of ``polyscene train``."""
    console = console or Console()
    name = "demo" if minutes == 3 else f"demo-{minutes:g}min"
    out = Path(out) if out is not None else Path("runs") / name
    config = configuration.load(CONFIG, ["--training.minutes", str(minutes), "--out", str(out), *overrides])
    clock = _Clock(out / "timings.json")
    with clock.of("rendering"):  # here, so that the minutes are the training's own
        for source in (*config.data.trained_on.values(), *config.data.evaluate.values()):
            sources.make(source.dataset).prepare()
    with clock.of("training"):
        directory = loop.train(config, console=console)
    began = time.monotonic()
    with console.status("looking at unseen rooms, photographs and real frames"):
        predictor = predict.load(directory)
        loaders = sources.build(config.data, predictor.model.tasks, config.seed)
        tables = [_rooms(predictor, loaders), _real_frames(predictor)]
        comparisons = _comparisons(config, predictor)
        photos = predictor(sorted(SAMPLES.glob("*.jpg")))
        clouds = [("An unseen room.", comparisons[0].scene.figure(POINTS[0], height=600))]
        clouds += [(f"Photograph: {scene.name}.", scene.figure(POINTS[1], height=420)) for scene in photos[:CLOUDS]]
    clock.seconds["evaluation and report"] = time.monotonic() - began
    command = f"polyscene demo --minutes {minutes:g}" + (f" --out {out}" if out != Path("runs") / name else "")
    facets = _word(len(predictor.model.tasks)).capitalize()
    page = Report(
        title=f"{facets} facets of a scene, one network, {_length(minutes)} of training",
        over=f"Polyscene {polyscene.__version__} · demo",
        lead=_lead(predictor),
        tables=tables,
        curves=_curves(directory),
        comparisons=comparisons,
        comparisons_note="Views of rooms kept aside, taken evenly and not by how well they came out. Grey: no "
        "label. Depth is drawn in one range for all.",
        photos=photos,
        photos_note="Free pictures of the world outside. The network has seen nothing but rendered rooms, so what it "
        "makes of a cat, a face or a rocket shows where that ends. The lens is assumed, so depth is so up to a factor.",
        clouds=clouds,
        command=command,
        facts=_facts(config, predictor, directory, clock.seconds),
        config=configuration.dump(config),
    )
    path = report.write(page, out / "report.html")
    _say(console, tables, clock.seconds, path)
    return path


class _Clock:
    """Seconds by stage, kept with the run so that a resumed one adds to them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - began
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.seconds))


def _rooms(predictor: Predictor, loaders: Sources) -> Table:
    """What training measured at its end."""
    figures, floors = predictor.facts["metrics"]["rooms"], predictor.facts["floors"]["rooms"]
    train, unseen = loaders.train["rooms"], loaders.evaluate["rooms"]
    pixel = evaluation.position_floors(train, unseen, predictor.model.tasks)
    height, width = unseen.dataset.read(0).images.shape[-2:]
    return Table(
        "Rooms it has never seen",
        f"{_pictures(unseen)} pictures of rooms kept aside at {width}×{height}, trained on {_pictures(train)} of "
        "others. A floor is the best "
        "prediction that does not look at the image: the commonest class, the mean depth, the mean normal, an edge "
        "everywhere; or the mean at each pixel. quick F matches edges within 2 pixels and is not the odsF of "
        "publications.",
        _results(IN_ROOMS, figures, {"constant": floors, "per-pixel mean": pixel}),
    )


def _pictures(loader: Loader) -> int:
    return len(loader.dataset) * loader.dataset.read(0).images.shape[0]


def _real_frames(predictor: Predictor) -> Table:
    title = "Real rooms, zero-shot"
    loader = zero_shot.frames(predictor.model.tasks, predictor.size)
    if isinstance(loader, str):
        return Table(title, f"Skipped: {loader}.")
    figures = evaluation.evaluate(predictor.model, loader, device=predictor.device)
    floors = evaluation.floors(loader, loader, loader.tasks)
    pixel = evaluation.position_floors(loader, loader, loader.tasks)
    return Table(
        title,
        f"{len(loader.dataset)} posed frames of a kitchen and an office, none of which was trained on, at "
        f"{zero_shot.JUDGED[1]}×{zero_shot.JUDGED[0]}. Depth after each image was scaled by the ratio of medians. The "
        "floors know these very frames: their mean depth and normal, over all or at each pixel.",
        _results(IN_REAL_FRAMES, figures, {"constant": floors, "per-pixel mean": pixel}),
    )


def _results(lines: Sequence[Shown], figures: Figures, floors: Mapping[str, Figures]) -> list[Result]:
    return [
        Result(
            line.task,
            line.figure,
            figures[line.task][line.figure],
            {name: by[line.task][line.figure] for name, by in floors.items() if line.figure in by.get(line.task, {})},
            line.higher_is_better,
            line.unit,
            line.goal,
            line.headline,
        )
        for line in lines
        if line.figure in figures.get(line.task, {})
    ]


def _comparisons(config: Config, predictor: Predictor) -> list[Comparison]:
    """The first view of unseen rooms, evenly spaced."""
    rooms = sources.make(config.data.evaluate["rooms"].dataset)
    found = []
    for index in np.linspace(0, len(rooms) - 1, min(ROOMS, len(rooms))).round().astype(int).tolist():
        sample = rooms.read(index)
        pixels = (sample.images[0].movedim(0, -1) * 255).round().byte().numpy()
        truth = {}
        for name, target in sample.targets.items():
            value = target.value[0].movedim(0, -1).numpy()
            truth[name] = (value[..., 0] if value.shape[-1] == 1 else value, target.valid[0, 0].numpy())
        found.append(Comparison(predictor(pixels, sample.camera.intrinsics[0].numpy()), truth))
    return found


def _curves(directory: Path) -> list[Curve]:
    """Every loss, as far as it was recorded."""
    trained = [record for record in records.read(directory / "metrics.jsonl") if record["kind"] == "train"]
    names = list(dict.fromkeys(name for record in trained for name in record["losses"] if name != "gradient norm"))
    return [
        Curve(
            name if name == "loss" else f"{name} loss",
            [float(record["step"]) for record in trained if name in record["losses"]],
            [record["losses"][name] for record in trained if name in record["losses"]],
        )
        for name in names
    ]


def _lead(predictor: Predictor) -> str:
    *others, last = predictor.model.tasks
    parts = predictor.model.parts
    encoder, decoder = parts["encoder"], parts["decoder"]
    assert encoder is not None and decoder is not None
    return (
        f"A single pass through {encoder.name} with the {decoder.name} decoder gives {', '.join(others)} and {last}, "
        "learnt from procedurally rendered rooms on this machine. Every number stands beside a prediction that does "
        "not look at the image."
    )


def _facts(config: Config, predictor: Predictor, directory: Path, seconds: Mapping[str, float]) -> dict[str, str]:
    started = json.loads((directory / "environment.json").read_text())[-1]
    options = config.data.train["rooms"].dataset.options
    count = sum(parameter.numel() for parameter in predictor.model.parameters())
    pictures = options["scenes"] * options.get("views", 2)
    return {
        "time": ", ".join(f"{stage} {_spoken(spent / 60)}" for stage, spent in seconds.items()),
        "training": f"{predictor.facts['steps']} steps on {pictures} pictures of {options['scenes']} rooms",
        "network": f"{count / 1e6:.1f} million parameters, {predictor.size[1]}×{predictor.size[0]}",
        "seed": str(config.seed),
        "hardware": f"{started['processor']}, {started['cores']} cores, on {started['device']}",
        "versions": ", ".join(f"{name} {version}" for name, version in started["packages"].items())
        + f", Python {started['python']}",
        "commit": started["commit"] or "not a checkout",
        "started": started["started"],
        "photographs": (SAMPLES / "CREDITS.md").read_text().split("\n\n")[1].replace("\n", " "),
    }


def _spoken(minutes: float) -> str:
    """``3 minutes``, ``24 s``."""
    if minutes < 1.5:
        return f"{minutes * 60:.0f} s"
    return f"{minutes:.0f} minutes" if abs(minutes - round(minutes)) < 0.05 else f"{minutes:.1f} minutes"


def _length(minutes: float) -> str:
    """``three minutes``, for the title."""
    whole = round(minutes)
    return f"{_word(whole)} minute{'s' if whole > 1 else ''}" if minutes == whole else _spoken(minutes)


def _word(number: int) -> str:
    words = "no one two three four five six seven eight nine ten eleven twelve".split()
    return words[number] if number < len(words) else str(number)


def _say(console: Console, tables: Sequence[Table], seconds: Mapping[str, float], path: Path) -> None:
    from rich.table import Table as Lines

    for table in tables:
        lines = Lines("task", "figure", "network", "floor", "ratio", "", title=table.title, title_justify="left")
        for result in table.results:
            verdict = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[result.met]
            floor = next(iter(result.floors.values()), float("nan"))
            numbers = (
                f"{result.value:.3g} {result.unit}",
                f"{floor:.3g}",
                "" if math.isnan(result.ratio) else f"{result.ratio:.2f}x",
            )
            lines.add_row(result.task, result.figure, *numbers, verdict)
        console.print(lines if table.results else f"{table.title}: {table.note}", highlight=False)
    spent = ", ".join(f"{stage} {_spoken(amount / 60)}" for stage, amount in seconds.items())
    console.print(f"{spent}\n[bold]report[/] {path.resolve()}", highlight=False, soft_wrap=True)
