"""Every door through which files and requests of strangers come in, under damaged and hostile ones: configurations,
descriptions, cameras, labels, shards, checkpoints, exported networks, requests to the web page. Of each nothing but the
errors that are documented may come out, in one message; nothing may take long, start a program, ask the network, or
open a file outside its folder. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import yaml
from benchmarks._damage import scrambled
from PIL import Image
from safetensors.torch import save as to_bytes
from starlette.responses import PlainTextResponse
from tests.data.folders import make_folder

from polyscene import config, create_model, info, weights
from polyscene.app import upload
from polyscene.app.desk import intrinsics
from polyscene.app.door import Door
from polyscene.convert import command as conversion
from polyscene.data import tar
from polyscene.data.base import BadSample
from polyscene.data.cameras import Cameras
from polyscene.data.description import BadDescription
from polyscene.data.folder import Folder
from polyscene.data.loader import Loader
from polyscene.data.pack import pack
from polyscene.data.shards import Shards
from polyscene.encoders import pretrained
from polyscene.training import checkpoint

ROOT = Path(__file__).resolve().parents[1]
SLOW = 10.0  # seconds of CPU time
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 0.5, 1e308, float("inf"), float("nan"), 2**31, 2**63, 10**30, "", "x", "x" * 3000,
    "\0", "💥", "../../../etc/passwd", "/etc/passwd", "~/x", "/dev/zero", "${HOME}", "${NO_SUCH_THING}",
    "{id}", "*" * 20 + "{id}", "**/{id}*", "hub:nobody/nothing", "hf-hub:nobody/nothing", "a\nb", [], {}, [[]], [None],
    [1, "a"], {"": None},
    {"name": "rooms"}, {"name": "folder", "path": "/"}, [[[[[[[[]]]]]]]], list(range(50)), "2001-99-99", "0" * 400,
)  # fmt: skip
TOKENS = (
    "&a ", "*a", "<<: *a\n", "!!python/object/apply:os.system [echo]", "!!binary x", "!!timestamp x", "!!set {a, b}",
    "? ", "- ", ": ", "[", "]", "{", "}", "\t", "'", '"', "|", ">", "%YAML 9.9\n", "---\n", "...\n",
    "\0", "\ufeff", "9" * 300, "1e999", ".inf", ".nan", "null", "~", "[" * 300, "#", "\\", "0x",
    "1_0:61:61", "2001-99-99", "=",
)  # fmt: skip


# -- changes ----------------------------------------------------------------------------------------------------------
def rewritten(text: str, rng: random.Random) -> str:
    """Lines lost, doubled and moved, and signs that mean something put anywhere."""
    lines = text.splitlines(keepends=True)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(lines))
        match rng.randrange(5):
            case 0 if len(lines) > 1:
                del lines[place]
            case 1:
                lines.insert(rng.randrange(len(lines)), lines[place])
            case 2:
                lines[place] = "  " * rng.randrange(3) + lines[place].lstrip()
            case _:
                at = rng.randrange(len(lines[place]) + 1)
                lines[place] = lines[place][:at] + rng.choice(TOKENS) + lines[place][at:]
    return "".join(lines)


def changed(tree: Any, rng: random.Random) -> Any:
    """One to three of its nodes replaced, dropped or renamed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(tree))
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        match rng.randrange(8):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("", "x", "name", "path", "$tensor", "$items", "__metadata__"))] = holder.pop(key)
            case 2 if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
                holder[key] = holder[key] * rng.choice((-1, 10, 1000, 10**9))
            case _:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


def a_text(tree: Any, rng: random.Random) -> bytes:
    """YAML of a changed tree, or a rewritten or scrambled text."""
    text = yaml.safe_dump(tree, sort_keys=False)
    match rng.randrange(4):
        case 0:
            return rewritten(text, rng).encode("utf-8", "replace")
        case 1:
            return scrambled(text.encode(), rng)
    return yaml.safe_dump(changed(tree, rng), allow_unicode=rng.random() < 0.5).encode("utf-8", "replace")


def a_json(tree: Any, rng: random.Random) -> bytes:
    if rng.random() < 0.25:
        return scrambled(json.dumps(tree).encode(), rng)
    return json.dumps(changed(tree, rng)).encode()


# -- doors ------------------------------------------------------------------------------------------------------------
class Entrance:
    """``errors``: what may come out. ``attempt(rng)`` lets one input in; ``spoilt`` is that input, to look at."""

    errors: tuple[type[Exception], ...] = ()
    names_files = False  # a configuration is its user's own: it may name data wherever it lies

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spoilt = b""

    def attempt(self, rng: random.Random) -> None:
        raise NotImplementedError

    def write(self, name: str, content: bytes) -> Path:
        self.spoilt = content
        file = self.folder / name
        file.write_bytes(content)
        return file


class Configs(Entrance):
    errors = (config.ConfigError,)
    names_files = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        make_folder(folder / "tiny", 4)
        source = {"dataset": {"name": "folder", "path": "tiny", "split": "train"}, "batch": 2, "weight": 0.5}
        rooms = {"dataset": {"name": "rooms", "scenes": 4, "size": [48, 64]}, "batch": 2}
        self.seeds = [
            {
                "name": "a",
                "seed": 1,
                "tasks": ["depth", {"type": "Normals"}, {"type": "SemanticSegmentation", "classes": ["a", "b"]}],
                "weights": {"depth": 2.0},
                "data": {"size": [48, 64], "train": {"tiny": source}, "evaluate": {"rooms": rooms}, "workers": 1},
                "model": {
                    "encoder": {"name": "test_resnet"},
                    "decoder": {"name": "pad_net", "channels": 8},
                    "neck": {"name": "cross_view"},
                    "pretrained": False,
                },
                "training": {"steps": 3, "optimiser": {"lr": 0.1, "groups": [{"match": "encoder.*", "lr": 0.5}]}},
            },
            {"tasks": "rooms", "data": {"train": {"rooms": rooms}}, "training": {"epochs": 2, "ema": 0.9}},
        ]

    def attempt(self, rng: random.Random) -> None:
        file = self.write("run.yaml", a_text(rng.choice(self.seeds), rng))
        words = []
        if rng.random() < 0.2:
            words = [f"--training.{rng.choice(('steps', 'optimiser.lr', 'x', ''))}", rng.choice((*TOKENS, "../x", "1"))]
        config.load(file, words, trains=rng.random() < 0.5)


class Descriptions(Entrance):
    errors = (BadDescription, BadSample)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        make_folder(folder, 4)
        self.whole = yaml.safe_load((folder / "polyscene.yaml").read_text())
        self.whole |= {"neighbours": {"baseline": [0.03, 0.4], "overlap": 0.2}, "licence": "CC0", "root": "."}

    def attempt(self, rng: random.Random) -> None:
        self.write("polyscene.yaml", a_text(self.whole, rng))
        found = Folder(self.folder, rng.choice((None, "train")), views=rng.choice((1, 2)))
        found.read(rng.randrange(len(found)))


class CameraFiles(Entrance):
    errors = (BadDescription, BadSample)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        make_folder(folder, 4)
        self.whole = json.loads((folder / "cameras.json").read_text())

    def attempt(self, rng: random.Random) -> None:
        file = self.write("cameras.json", a_json(self.whole, rng))
        cameras = Cameras.load(file)
        for frame in list(cameras.poses)[:4]:
            cameras.posed(frame)
        if rng.random() < 0.3:
            found = Folder(self.folder, "train", views=rng.choice((1, 2)))
            found.read(rng.randrange(len(found)))


class Labels(Entrance):
    """Pictures and arrays of the labels, and the picture itself."""

    errors = (BadSample,)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        make_folder(folder, 1)
        text = (folder / "polyscene.yaml").read_text().replace("splits:", "x:").partition("x:")[0]
        text = text.replace('"edges/{id}.png"', '"edges/{id}.npy"')
        (folder / "polyscene.yaml").write_text(text)
        np.save(folder / "edges/frame_0.npy", np.zeros((24, 32), np.float32))
        self.set = Folder(folder)
        self.whole = {
            file: file.read_bytes()
            for file in sorted(folder.glob("*/frame_0.*"))
            if "edges/frame_0.png" not in str(file)
        }

    def attempt(self, rng: random.Random) -> None:
        file = rng.choice(list(self.whole))
        self.write(str(file.relative_to(self.folder)), scrambled(self.whole[file], rng))
        try:
            self.set.read(0)
        finally:
            file.write_bytes(self.whole[file])


class ShardFiles(Entrance):
    """Descriptions, listings and archives, most with checksums to match, so that what lies behind these is reached."""

    errors = (BadSample,)
    NAMES = ("../../x.json", "/etc/passwd", "00000000.json", "00000001.image.png", "a", "", "\xff.png", "./x.npy")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        source = folder / "source"
        make_folder(source, 3)
        text = (source / "polyscene.yaml").read_text().replace('"edges/{id}.png"', '"edges/{id}.npy"')
        (source / "polyscene.yaml").write_text(text)
        for frame in range(3):
            np.save(source / f"edges/frame_{frame}.npy", np.zeros((24, 32), np.float32))
        pack(Folder(source, views=2), folder / "out", samples=1, workers=1)
        self.set = folder / "out"
        self.whole = {path.name: path.read_bytes() for path in self.set.glob("shard*")}
        self.facts = json.loads(self.whole["shards.json"])
        archive = self.whole["shard-000000.tar"]
        self.members = [(name, bytes(each)) for name, each in tar.members(memoryview(archive)[: -len(tar.END)])]

    def attempt(self, rng: random.Random) -> None:
        facts, archive = copy.deepcopy(self.facts), self.whole["shard-000000.tar"]
        match rng.randrange(6):
            case 0:
                self._put("shards.json", a_json(facts, rng))
            case 1:
                name = rng.choice(list(self.whole))
                self._put(name, scrambled(self.whole[name], rng))
            case 2:
                listing = json.loads(self.whole["shard-000000.json"])
                self._told(facts, archive, a_json(listing, rng))
            case 3:
                self._told(facts, scrambled(archive, rng))
            case _:
                self._told(facts, self._archive(rng))
        try:
            found = Shards(self.set)
            Loader(found, found.tasks, 2, lambda sample, *_: sample, 0, workers=0).number(0)
            found.read(rng.choice((0, 0, 0, len(found) - 1)))
        finally:
            for name, content in self.whole.items():
                (self.set / name).write_bytes(content)

    def _put(self, name: str, content: bytes) -> None:
        self.write(f"out/{name}", content)

    def _told(self, facts: Any, archive: bytes, listing: bytes | None = None) -> None:
        """An archive that is listed and described as if it were what was packed."""
        if listing is None:
            end = max(1, len(archive) - len(tar.END))
            listing = json.dumps({"samples": [[0, zlib.crc32(archive[:end])]]}).encode()
        (about,) = [each for each in facts["shards"] if each["name"] == "shard-000000.tar"]
        about |= {"bytes": max(1, len(archive)), "sha256": hashlib.sha256(archive).hexdigest()}
        about["listing"] = hashlib.sha256(listing).hexdigest()
        (self.set / "shards.json").write_text(json.dumps(facts))
        (self.set / "shard-000000.json").write_bytes(listing)
        self._put("shard-000000.tar", archive)

    def _archive(self, rng: random.Random) -> bytes:
        """Members changed, or called otherwise."""
        members, place = list(self.members), rng.randrange(len(self.members))
        name, content = members[place]
        match rng.randrange(4):
            case 0 if name.endswith(".json"):
                content = a_json(json.loads(content), rng)
            case 0 | 1:
                content = scrambled(content, rng)
            case 2:
                content = rng.choice(members)[1]
            case _:
                about = tarfile.TarInfo(rng.choice(self.NAMES))
                about.size, about.type = len(content), rng.choice((b"0", b"1", b"2", b"5", b"g", b"L"))
                about.linkname = rng.choice(("", "/etc/passwd"))
                members[place] = ("", about.tobuf() + content + bytes(-len(content) % tar.BLOCK))
                return b"".join(each if not said else tar.member(said, each) for said, each in members) + tar.END
        members[place] = (name, content)
        if rng.random() < 0.1:
            del members[rng.randrange(len(members))]
        return b"".join(tar.member(said, each) for said, each in members) + tar.END


class Weights(Entrance):
    """Our own files: headers and cards changed as trees, or bytes of them."""

    errors = (weights.BadWeights, info.BadFile)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        decoder = {"name": "multi_head", "channels": 4, "context": "none"}
        model = create_model(["depth", "semseg"], encoder="test_resnet", decoder=decoder)
        weights.save(model, folder, size=[48, 64], licence="CC0", metrics={"a": {"depth": {"RMSE": 1.0}}})
        self.whole = (folder / "model.safetensors").read_bytes()
        length = struct.unpack("<Q", self.whole[:8])[0]
        self.header, self.body = json.loads(self.whole[8 : 8 + length]), self.whole[8 + length :]
        self.card = json.loads(self.header["__metadata__"]["card"])

    def attempt(self, rng: random.Random) -> None:
        match rng.randrange(4):
            case 0:
                content = scrambled(self.whole, rng)
            case 1:
                content = self._of(changed(self.header, rng))
            case _:
                card = json.dumps(changed(self.card, rng))
                content = self._of({**self.header, "__metadata__": {"format": weights.FORMAT, "card": card}})
        file = self.write("model.safetensors", content)
        told = info.describe(file)
        list(info.lines(told))
        weights.load(file)

    def _of(self, header: Any) -> bytes:
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + self.body


class States(Entrance):
    """Checkpoints of training, whole and in parts."""

    errors = (checkpoint.BadCheckpoint,)
    counts = (0, 1, 2, 3, -1, 10**9, 10**30, True, 2.0, float("nan"), "2", None, [2])

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        tree = {"at": 3, "trainer": {"model": {"a": torch.zeros(3)}, "optimiser": {"state": {0: {"s": torch.ones(2)}}}}}
        checkpoint.save_state(folder, tree)
        self.whole = {name: (folder / name).read_bytes() for name in (checkpoint.TENSORS, checkpoint.TREE)}
        self.parts = dict(self.whole)
        for place in range(1, 3):
            self.parts[f"state.{place}.safetensors"] = to_bytes({"/trainer/model/a": torch.zeros(place)})

    def attempt(self, rng: random.Random) -> None:
        files = dict(rng.choice((self.whole, self.parts)))
        tree = json.loads(files[checkpoint.TREE])
        if files.keys() == self.parts.keys():
            tree["tree"]["trainer"]["model"]["a"]["parts"] = rng.choice(self.counts)
            files[checkpoint.TREE] = json.dumps(tree).encode()
        name = rng.choice(list(files))
        match rng.randrange(4):
            case 0:
                files[checkpoint.TREE] = a_json(tree, rng)
            case 1 if name != checkpoint.TREE:
                files[name] = scrambled(files[name], rng)
            case 2:
                del files[name]
        try:
            for name, content in files.items():
                self.write(name, content)
            self.spoilt = repr(files).encode()
            checkpoint.load_state(self.folder, sharded=rng.random() < 0.5)
        finally:
            for name in self.parts:
                (self.folder / name).unlink(missing_ok=True)


class Foreign(Entrance):
    """Checkpoints of other programs, and their descriptions."""

    errors = (ValueError,)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        state = {"model": {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2)}, "epoch": 3}
        self.whole: dict[str, bytes] = {"a.safetensors": to_bytes(state["model"])}  # type: ignore[arg-type]
        for name, zipped in (("a.pth", True), ("b.pth", False)):
            buffer = io.BytesIO()
            torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
            self.whole[name] = buffer.getvalue()
        self.meta = {"tasks": ["semseg", "depth"], "channels": {"semseg": 3, "depth": 1}, "classes": {"semseg": ["a"]}}

    def attempt(self, rng: random.Random) -> None:
        if rng.random() < 0.3:
            conversion.described(self.write("META.json", a_json(self.meta, rng)))
            return
        name = rng.choice(list(self.whole))
        file = self.write(name, scrambled(self.whole[name], rng))
        rng.choice((conversion.read, pretrained.tensors_of))(file)


class Exported(Entrance):
    """``export.json`` beside an exported network, which must not lead elsewhere."""

    errors = (ValueError, FileNotFoundError)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "model.onnx").write_bytes(b"no network")
        self.about = {"file": "model.onnx", "inputs": ["images"], "outputs": ["depth"], "size": [48, 64], "tasks": []}

    def attempt(self, rng: random.Random) -> None:
        from polyscene.export import engine

        self.write("export.json", a_json(self.about, rng))
        engine.open_engine(self.folder)


class Requests(Entrance):
    """To the web page: what stands before the application, and what reads its pictures."""

    errors = (upload.Refused,)
    HEADERS = ((b"origin", b"http://127.0.0.1:7860"), (b"host", b"127.0.0.1:7860"), (b"content-length", b"9"))
    PATHS = ("/", "/see", "/values", "/download", "/samples/a.jpg", "/gradio_api/call/values", "/gradio_api/queue/join")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.pictures = []
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
            buffer = io.BytesIO()
            Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)).save(buffer, kind)
            self.pictures.append(buffer.getvalue())
        self.body = {"data": ["aGVsbG8=", "", None], "session_hash": "x", "fn_index": 0}
        self.door = Door(PlainTextResponse("in"), upload.Limits())

    def attempt(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            self.spoilt = scrambled(rng.choice(self.pictures), rng)
            upload.read(self.spoilt)
            intrinsics((32, 24), rng.choice((0.0, -1.0, 60.0, 180.0, 1e308, float("nan"), float("inf"))))
            return
        path = rng.choice(self.PATHS)
        if rng.random() < 0.5:
            path = scrambled(path.encode(), rng).decode("latin1")
        self.spoilt = a_json(self.body, rng)
        headers = [(name, scrambled(value, rng) if rng.random() < 0.5 else value) for name, value in self.HEADERS]
        method = rng.choice(("GET", "POST", "POST", "PUT", "", "\0"))
        asyncio.run(
            self._ask({"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""})
        )

    async def _ask(self, scope: dict[str, Any]) -> None:
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": self.spoilt, "more_body": False}

        async def send(message: Any) -> None:
            said.append(message)

        await self.door(scope, receive, send)
        status = said[0]["status"]
        if status >= 500 or (status == 200 and b"/.." in scope["path"].encode()):
            raise AssertionError(f"answered {status}")


DOORS: dict[str, type[Entrance]] = {
    "configs": Configs,
    "descriptions": Descriptions,
    "cameras": CameraFiles,
    "labels": Labels,
    "shards": ShardFiles,
    "weights": Weights,
    "states": States,
    "foreign": Foreign,
    "exported": Exported,
    "requests": Requests,
}


# -- the watch --------------------------------------------------------------------------------------------------------
class Hang(BaseException):
    pass


class Watch:
    """Sees, through Python's audit events, what is opened, started and asked while it is ``on``."""

    def __init__(self) -> None:
        self.on = False
        self.folder = ""
        self.reads = False
        self.seen: list[str] = []
        places = (
            sys.prefix,
            sys.base_prefix,
            str(ROOT),
            "/usr",
            "/lib",
            "/proc",
            "/sys",
            "/dev/null",
            "/etc/mime.types",
        )
        self.readable = tuple({os.path.realpath(place) for place in places} | set(places))
        sys.addaudithook(self._hear)

    def _hear(self, event: str, given: Sequence[Any]) -> None:
        if not self.on:
            return
        if event == "open" and isinstance(given[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(given[0]))
            writes = (isinstance(given[1], str) and any(sign in given[1] for sign in "wax+")) or (
                isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
            )
            if not path.startswith(self.folder) and (writes or not (self.reads or path.startswith(self.readable))):
                if not (writes and "__pycache__" in path):
                    self.seen.append(f"opened {path}")
        elif event in ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "shutil.rmtree"):
            path = os.path.realpath(os.fsdecode(given[0]))
            if not path.startswith(self.folder) and "__pycache__" not in path:
                self.seen.append(f"{event} {path}")
        elif event in (
            "subprocess.Popen",
            "os.system",
            "os.exec",
            "os.posix_spawn",
            "socket.connect",
            "socket.getaddrinfo",
        ):
            self.seen.append(f"{event} {given[:2]!r}"[:200])

    @contextmanager
    def over(self, folder: Path, reads: bool) -> Iterator[None]:
        self.folder, self.reads, self.seen = os.path.realpath(folder), reads, []
        self.on = True
        try:
            yield
        finally:
            self.on = False


WATCH: list[Watch] = []  # one a process: a hook cannot be taken out again


def _hang(*_: object) -> None:
    if WATCH[0].on:
        raise Hang


def fuzz(name: str, inputs: int, seed: int, keep: Path | None = None, until: float = float("inf")) -> dict[str, Any]:
    """``inputs`` through one door; how many were let in, refused, and, by what happened, neither."""
    if not WATCH:
        WATCH.append(Watch())
        signal.signal(signal.SIGPROF, _hang)  # for good: a late signal would end the process by default
    watch, rng, said, longest, wrong = WATCH[0], random.Random(f"{name} {seed}"), Counter[str](), 0.0, []
    folder = Path(tempfile.mkdtemp(prefix="polyscene-fuzz-"))
    try:
        door = DOORS[name](folder)
        for number in range(inputs):
            if time.monotonic() > until:
                break
            start, verdict = time.process_time(), "let in"
            with watch.over(folder, door.names_files), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                signal.setitimer(signal.ITIMER_PROF, SLOW)
                try:
                    door.attempt(rng)
                except door.errors as error:
                    verdict = "refused" if len(str(error)) < 20_000 else "refused at length"
                except Hang:
                    verdict = "hang"
                except BaseException as error:
                    verdict = f"{type(error).__name__}: {str(error)[:160]!r}"
                    if os.environ.get("FUZZ_TRACE"):
                        import traceback

                        traceback.print_exc()
                finally:
                    signal.setitimer(signal.ITIMER_PROF, 0)
            if watch.seen:
                verdict = watch.seen[0]
            longest = max(longest, time.process_time() - start)
            said[verdict if verdict in ("let in", "refused") else "wrong"] += 1
            if verdict not in ("let in", "refused"):
                wrong.append(f"input {number}: {verdict}")
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{name}_{seed}_{number}").write_bytes(door.spoilt)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "door": name, "inputs": sum(said.values()), "let in": said["let in"], "refused": said["refused"],
        "wrong": said["wrong"], "longest_seconds": round(longest, 2), "found": wrong[:10],
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="altogether")
    parser.add_argument("--doors", nargs="+", choices=[*DOORS], default=[*DOORS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="altogether at most")
    parser.add_argument("--memory", type=float, default=16.0, help="GB of address space")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that broke the rule")
    options = parser.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (round(options.memory * 2**30),) * 2)
    each, began, rows = -(-options.inputs // len(options.doors)), time.monotonic(), []
    for number, name in enumerate(options.doors):
        left = 60 * options.minutes - (time.monotonic() - began)
        until = time.monotonic() + left / (len(options.doors) - number)
        rows.append(fuzz(name, each, options.seed, options.keep, until))
        print(json.dumps(rows[-1]), flush=True)
    total = {key: sum(row[key] for row in rows) for key in ("inputs", "let in", "refused", "wrong")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"benchmark": "fuzz_doors", **total, "seed": options.seed, "peak_mib": peak}))
    return int(total["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
