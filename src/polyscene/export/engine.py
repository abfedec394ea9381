"""Exported networks run by onnxruntime or OpenVINO. Importing this imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from polyscene import cores
from polyscene.document import from_json
from polyscene.export import signals

Arrays = Mapping[str, np.ndarray]
ABOUT = "export.json"
EXTRA = "pip install 'polyscene[export]'"


class NotInstalled(ImportError, ValueError):
    """A package of the extra ``export`` is missing; the message says how to get it."""


class Engine(ABC):
    """``engine({"images": (b, 3, h, w), "focal": (b,)})``, float32, gives soft values by task (``Portable`` says which
    they are; as there, ``focal`` may be left out). ``about`` is what ``export.json`` says. ``ValueError`` for pictures
    of a size that the network does not take."""

    name: str

    def __init__(self, about: Mapping[str, Any], threads: int) -> None:
        self.about, self.threads = dict(about), threads

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) the network was exported at."""
        height, width = self.about["size"]
        return height, width

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        images = inputs["images"]
        batch, _, height, width = images.shape
        if (height % 32 or width % 32) if self.about["any_size"] else (height, width) != self.size:
            takes = "sides in multiples of 32" if self.about["any_size"] else "{}x{} alone".format(*self.size)
            raise ValueError(f"pictures of {height}x{width}: this exported network takes {takes}")
        given = {"images": images}
        if "focal" in self.about["inputs"]:
            given["focal"] = inputs["focal"] if "focal" in inputs else self._usual_focal(batch, width)
        return self._run(given)

    def _usual_focal(self, batch: int, width: int) -> np.ndarray:
        return np.full(batch, self.about["canonical_focal"] * width, np.float32)

    @abstractmethod
    def _run(self, inputs: Arrays) -> dict[str, np.ndarray]: ...


class Onnx(Engine):
    name = "onnxruntime"

    def __init__(self, file: Path, about: Mapping[str, Any], threads: int) -> None:
        super().__init__(about, threads)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong comes as an exception
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def _run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        names = self.about["outputs"]
        return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))


class OpenVino(Engine):
    name = "OpenVINO"

    def __init__(self, file: Path, about: Mapping[str, Any], threads: int) -> None:
        super().__init__(about, threads)
        import openvino

        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
        settings["INFERENCE_PRECISION_HINT"] = "f32"  # files of 16 bits are small, not inexact
        with signals.kept():
            self.model = openvino.Core().compile_model(str(file), "CPU", settings)

    def _run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        found = self.model(dict(inputs), share_outputs=False)
        return {name: np.asarray(found[name]) for name in self.about["outputs"]}


ENGINES: dict[str, type[Onnx] | type[OpenVino]] = {".onnx": Onnx, ".xml": OpenVino}


def open_engine(path: Path | str, threads: int | None = None) -> Engine:
    """What ``polyscene export`` wrote: its folder, or the ``.onnx`` or ``.xml`` there. ``threads``: all by default.

    ``FileNotFoundError``, ``ValueError`` for what is no exported network, ``NotInstalled`` where the runtime is
    not."""
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; `polyscene export` writes them")
    if not path.is_dir() and path.suffix not in ENGINES:
        raise ValueError(f"{path}: exported networks end in {' or '.join(ENGINES)}")
    try:
        about = from_json((folder / ABOUT).read_bytes())
        file = folder / Path(about["file"]).name if path.is_dir() else path  # never out of the folder
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder / ABOUT} is missing; it belongs beside what `polyscene export` wrote"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / ABOUT} does not say what was exported ({error}); export again") from None
    return run_by(file, about, threads)


def run_by(file: Path, about: Mapping[str, Any], threads: int | None = None) -> Engine:
    """By the suffix: ``.onnx`` by onnxruntime, ``.xml`` by OpenVINO."""
    try:
        return ENGINES[file.suffix](file, about, threads or cores.available())
    except ModuleNotFoundError as error:
        raise NotInstalled(f"{error.name} is not installed: {EXTRA}") from None
    except Exception as error:  # the runtimes raise their own kinds
        raise ValueError(f"{file} cannot be run: {str(error).strip().splitlines()[0]}; export again") from error
