"""The command line. Importing this file imports no torch: help and mistakes come at once."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from polyscene import __version__, parts
from polyscene.data import ORIGINALS
from polyscene.data import commands as data_commands

# Set before torch is loaded: its threads wait by spinning, which on few cores starves the threads that read data (a
# training step beside a busy loader took 4 times as long on 2 cores).
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

Command = Callable[..., int | None]
Commands = Mapping[str, "Command | Commands"]


def demo(minutes: float = 3.0, out: Path | None = None) -> None:
    """Render rooms, train the starter network on them, judge it, and write report.html.

    Args:
        minutes: of training; rendering and judging come on top.
        out: where the run and its report go; runs/demo by default.
    """
    from polyscene.demo import run

    run(minutes, out)


def train(config: Positional[Path], overrides: Positional[tuple[str, ...]] = ()) -> None:
    """Train what a configuration describes; the same command again resumes.

    Args:
        config: the YAML file.
        overrides: --section.key value, for any key of the configuration (--training.optimiser.lr 1e-4,
            --model.decoder.channels 96); those of `training` need no section (--device cpu, --minutes 20).
    """
    from polyscene.config import check, load

    read = load(config, overrides, trains=True)
    from polyscene.training import tasks
    from polyscene.training.loop import train as run

    check(read, tasks.choose(read))
    run(read)


def adapt(config: Positional[Path], overrides: Positional[tuple[str, ...]] = ()) -> None:
    """Teach a trained network pictures without labels, such as your own; the same command again resumes.

    Args:
        config: a YAML file of three lines, `init` (a run), `source` (labelled data) and `target` (a folder, pattern or
            video), with `evaluate` (labelled pictures) to be told what was gained; or a whole configuration with
            `method` and `data.target`.
        overrides: --section.key value, for any key of the configuration, as for `train`.
    """
    from polyscene.adapt import run

    run(config, overrides)


def eval_(
    weights: Positional[Annotated[str, arg(metavar="RUN|WEIGHTS")]],
    data: Annotated[str, arg(metavar="CONFIG_OR_NAME")],
    protocol: str = "polyscene",
    edges: Literal["exact", "quick"] | None = None,
    split: str | None = None,
    root: Path | None = None,
    baseline: tuple[Path, ...] = (),
    out: Path | None = None,
    limit: int | None = None,
    floors: bool = True,
    workers: int | None = None,
    device: str = "auto",
) -> None:
    """Judge a network on labelled data: figures, how they were counted, floors, Δ_MTL; metrics.json and metrics.md.

    Args:
        weights: a run, a folder of weights, or a .safetensors file.
        data: a configuration (its `evaluate` sources), a described folder or its polyscene.yaml, or the name of a data
            set (`polyscene data list`).
        protocol: whose way of counting: polyscene, invpt, atrc, mtlpt, astmt, sak, dense_mtl, mtan.
        edges: odsF by exact matching, or the quick F of training curves; by default as the protocol says.
        split: of a data set by name or of a described folder; val by default.
        root: where the files of a data set by name are; by default what the variable POLYSCENE_NAME says.
        baseline: single-task networks to tell Δ_MTL against: runs, metrics.json files, or a YAML file of
            `task: figure` lines.
        out: folder for metrics.json and metrics.md; where the weights are by default.
        limit: batches of each source; all by default.
        floors: judge also predictions that do not look at the image.
        workers: processes that help with exact boundaries, which take some 0.2 s an image; none by default.
        device: auto, cpu, cuda...
    """
    from polyscene.evaluate.command import run

    run(weights, data, split, out, limit, floors, device, protocol, edges, root, baseline, workers)


def predict(
    inputs: Positional[tuple[str, ...]],
    out: Path,
    weights: str = "starter",
    write: str | None = None,
    tasks: tuple[str, ...] = (),
    size: tuple[int, ...] = (),
    tiles: int = 1,
    batch: int = 4,
    focal: float | None = None,
    cameras: Path | None = None,
    webcam: int | None = None,
    frames: int | None = None,
    shard: Annotated[str | None, arg(metavar="I/N")] = None,
    retry: bool = False,
    device: str = "auto",
) -> int:
    """Look at pictures: a panel, the arrays (.npz) and a coloured surface (.glb) of each; of films, a film of panels.

    Args:
        inputs: pictures, films, folders of them, patterns ('shots/**/left_*.jpg'), webcam:0.
        out: folder to write to.
        weights: a run, a folder of weights, a .safetensors file, or what `polyscene export` wrote.
        write: kinds of file, with commas between: panels, npz, glb, or a task: depth is then a PNG of 16 bits in
            millimetres. By default panels,npz,glb of pictures and panels of films.
        tasks: only these.
        size: what the network is to see: H W, or the longer side; by default what it was trained at.
        tiles: look again at overlapping tiles, so many along each side, for the details of large pictures.
        batch: pictures at a time.
        focal: focal length in pixels of the pictures, if known; else EXIF tells it, or it is assumed.
        cameras: a cameras.json of the pictures: a network with a neck sees neighbours together.
        webcam: number of a webcam to watch, until Ctrl-C.
        frames: of a film or webcam at most.
        shard: only this machine's part of the inputs, counted from 1: 1/8 to 8/8, or
            $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT of an array of 1-8; all may share OUT. OUT/manifest tells what
            became of each input, and the same command again goes on where it was; 1/1 does so on one machine.
        retry: with --shard, try again what failed before.
        device: auto, cpu, cuda...
    """
    if retry and shard is None:
        raise ValueError("--retry goes with --shard; without, everything is done again")
    given = [*inputs, *([] if webcam is None else [f"webcam:{webcam}"])]
    if not given:
        raise ValueError("no input is given; name pictures, films, or folders of them")
    named = [name for name in inputs if not set(name) & set("*?[") and not name.startswith("webcam:")]
    missing = [name for name in named if not Path(name).exists()]
    if missing:
        raise FileNotFoundError(f"no such picture or folder: {', '.join(missing)}")
    from polyscene.predict import predict_paths, predict_shard
    from polyscene.shard import Shard

    kinds = None if write is None else [kind.strip() for kind in write.split(",") if kind.strip()]
    how: dict[str, Any] = {
        "write": kinds, "tasks": tasks, "size": size, "tiles": tiles, "batch": batch, "focal": focal,
        "cameras": cameras, "frames": frames,
    }  # fmt: skip
    if shard is None:
        return predict_paths(given, out, weights, device, **how).exit_code
    return predict_shard(given, out, Shard.parse(shard), weights, device, retry=retry, **how).exit_code


def app(
    weights: tuple[str, ...] = ("starter",),
    host: str = "127.0.0.1",
    port: int = 7860,
    device: str = "auto",
) -> None:
    """Serve a web page: drop a photo, see every facet of it and turn it in 3D.

    Args:
        weights: one or more that a visitor chooses between: runs, folders of weights, .safetensors files, or what
            `polyscene export` wrote.
        host: the address to listen at; 0.0.0.0 lets other machines in.
        port: of that address.
        device: auto, cpu, cuda...
    """
    missing = [name for name in ("gradio", "plotly") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"the web page needs {' and '.join(missing)}: pip install 'polyscene[app]'")
    from polyscene.app.server import run

    run(weights, host, port, device)


def view(
    places: Positional[tuple[Path, ...]] = (),
    weights: str = "starter",
    data: str | None = None,
    split: str | None = None,
    sample: int = 0,
    host: str = "127.0.0.1",
    port: int = 8080,
    device: str = "auto",
) -> None:
    """Walk in a browser through what a network sees; views of known cameras stand in one space.

    Args:
        places: pictures, folders of them, or .npz files of predict.
        weights: a run, a folder of weights, or a .safetensors file.
        data: instead, a set with several views, as eval takes it: a name, a folder, a configuration.
        split: of the data.
        sample: which one, counted from 0.
        host: the address to listen at; 0.0.0.0 lets other machines in.
        port: of that address; the next free one if it is taken.
        device: auto, cpu, cuda...
    """
    if importlib.util.find_spec("viser") is None:
        raise ValueError("the viewer needs viser: pip install 'polyscene[view]'")
    from polyscene.view import run

    run(places, weights, data, split, sample, host, port, device)


def export(
    weights: Positional[Annotated[str, arg(metavar="RUN|WEIGHTS")]],
    out: Path,
    format: Literal["onnx", "openvino"] = "onnx",
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    size: Annotated[tuple[int, int] | None, arg(metavar="H W")] = None,
    photos: tuple[Path, ...] = (),
    data: Annotated[str | None, arg(metavar="CONFIG_OR_NAME")] = None,
) -> None:
    """Write a network for use outside Python: ONNX or OpenVINO, checked against torch on photographs, and timed.

    Args:
        weights: a run, a folder of weights, or a .safetensors file.
        out: folder to write to; `polyscene predict --weights` takes it.
        format: onnx (onnxruntime, TensorRT, browsers; with a script that needs neither torch nor polyscene), openvino.
        precision: fp32, fp16 (half the size) or int8 (a quarter; convolutions alone).
        size: height and width in multiples of 32; about as the network was trained by default.
        photos: pictures and folders of them to check on and to find the ranges of 8 bits with; the package's samples by
            default.
        data: also judge before and after on this labelled data, as `polyscene eval --data` does.
    """
    from polyscene.export.command import run

    run(weights, out, format, precision, size, photos, data)


def info(weights: Positional[Annotated[str, arg(metavar="RUN|WEIGHTS")]], as_json: bool = False) -> None:
    """What a network is: tasks, classes, size, parameters, licence, provenance.

    Args:
        weights: a run, a folder of weights, or a .safetensors file.
        as_json: print the whole description as JSON.
    """
    from polyscene.info import describe, lines

    facts = describe(weights)
    print(json.dumps(facts, indent=2) if as_json else "\n".join(lines(facts)))


def convert(
    format: Positional[Annotated[str, arg(metavar="FORMAT")]],
    file: Positional[Path],
    out: Path,
    meta: Path | None = None,
) -> None:
    """Make a network of ours of a checkpoint of public code; every tensor is used, or listed.

    Args:
        format: the code's family: atrc, dense_mtl, invpt, mti_net...
        file: the checkpoint (.pth, .tar, .safetensors); nothing but tensors is unpickled.
        out: folder to write to.
        meta: a JSON file that says what tensors cannot: `tasks` in the reference's order, `channels` of each, and what
            the family needs in `config`, `backbone` or `source_order_used_in_post_concat`.
    """
    from polyscene.convert.command import run

    done = run(format, file, meta, out)
    print(f"{out}: {len(done.state)} tensors")
    for reason in dict.fromkeys(done.leftovers.values()):
        names = [name for name, given in done.leftovers.items() if given == reason]
        more = f" and {len(names) - 1} more, named in {out / 'model.json'}" if len(names) > 1 else ""
        print(f"    left out: {names[0]}{more} ({reason})")


def report(
    runs: Positional[tuple[Path, ...]],
    base: str | None = None,
    out: Path = Path("report.html"),
    format: str | None = None,
    published: str | None = None,
) -> None:
    """Compare runs: mean and spread over seeds, and what each changed for all tasks against one; report.html.

    Args:
        runs: runs, and folders of them; those of one name are the seeds of one network.
        base: the name that the others are compared with; the first by default.
        out: what is written: a page with tables, curves, and depth as each sees it.
        format: html, md, tex and csv, or several with commas between; by default what the suffix of `out` says.
        published: rows of papers to stand below: nyuv2, pascal_context, or a YAML file of the like.
    """
    from polyscene.comparison.command import run

    run(runs, base, out, format.split(",") if format else (), published)


def bench(words: Positional[Annotated[tuple[str, ...], arg(metavar="NAME [OPTIONS]")]] = ()) -> int:
    """Run a benchmark of the checkout, which prints one JSON line a row; without a name, list them.

    Args:
        words: the name of a file in benchmarks/ (- and _ are the same), and options of its own.
    """
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    found = {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}
    if not found:
        raise FileNotFoundError(f"benchmarks come with the checkout, not with the package: there are none at {folder}")
    if not words:
        print("\n".join(found))
        return 0
    name, rest = words[0].replace("-", "_"), words[1:]
    if name not in found:
        raise ValueError(parts.unknown(name, found, "benchmark"))
    source = str(folder.parent / "src")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))}
    return subprocess.run([sys.executable, str(found[name]), *rest], env=environment).returncode


PREPARE: Commands = {
    "video": data_commands.prepare_video,
    **{name: data_commands.preparing(name) for name in ORIGINALS},
}
DATA: Commands = {
    "list": data_commands.listing,
    "render": data_commands.render,
    "describe": data_commands.describe,
    "verify": data_commands.verify,
    "show": data_commands.show,
    "pack": data_commands.pack,
    "prepare": PREPARE,
}
COMMANDS: Commands = {
    "demo": demo,
    "train": train,
    "adapt": adapt,
    "eval": eval_,
    "predict": predict,
    "app": app,
    "view": view,
    "data": DATA,
    "convert": convert,
    "export": export,
    "info": info,
    "report": report,
    "bench": bench,
}
ABOUT = {  # groups of commands
    "data": "List, render, describe, verify, show, pack and prepare data sets.",
    "prepare": "Sets of the field: get, check, derive. Videos: make a described folder.",
}
PASSES_ON = {train: 1, adapt: 1, bench: 0}  # commands that take options unknown to us after so many words


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status: 0, 1 where a check found something, 2 for a mistake of the user's."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return _dispatch("polyscene", COMMANDS, words)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        elif isinstance(error, (ValueError, OSError, FloatingPointError)):
            print(f"polyscene: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
            print("polyscene: this should not have happened; please report it", file=sys.stderr)
        return 2 if isinstance(error, (ValueError, OSError)) else 1


def _dispatch(program: str, commands: Commands, words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help(program, commands))
        return 0 if words else 2
    if words[0] == "--version":
        print(__version__)
        return 0
    name, *rest = words
    if name not in commands:
        raise ValueError(parts.unknown(name, commands, "command"))
    command = commands[name]
    if isinstance(command, Mapping):
        return _dispatch(f"{program} {name}", command, rest)
    how = (tyro.conf.PositionalRequiredArgs,) if commands is DATA else ()
    if command in PASSES_ON and not {"-h", "--help"} & set(rest[:1]):
        rest, own = rest[: PASSES_ON[command]], rest[PASSES_ON[command] :]
        rest += ["--", *own] if own else []
    return tyro.cli(command, prog=f"{program} {name}", args=rest, config=how) or 0


def _help(program: str, commands: Commands) -> str:
    rows = []
    width = max(map(len, commands)) + 2
    for name, command in commands.items():
        about = ABOUT[name] if isinstance(command, Mapping) else (command.__doc__ or "").partition("\n")[0]
        rows.append(f"  {name:<{width}}{about}")
    return "\n".join(
        [
            f"usage: {program} COMMAND ...",
            "",
            *rows,
            "",
            f"`{program} COMMAND --help` says more. --debug shows where an error came from.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
