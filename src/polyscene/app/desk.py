"""Where uploads are answered, one after the other: the network has the machine to itself."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from polyscene import parts
from polyscene.app import answer, bundle, upload
from polyscene.app.upload import Limits, Refused
from polyscene.pictures import BadPicture
from polyscene.predict import Predictor
from polyscene.scene import Scene

T = TypeVar("T")
NARROWEST, WIDEST = 5.0, 150.0  # degrees of a field of view


class Desk:
    """``predictors`` by the name a visitor chooses; the first is taken where none is chosen. Nothing of an upload is
    kept once it is answered. One picture at a time is decoded and looked at, so that memory does not grow with
    visitors; more than ``limits.waiting`` are refused."""

    def __init__(self, predictors: Mapping[str, Predictor], limits: Limits | None = None) -> None:
        self.predictors = dict(predictors)
        self.limits = limits or Limits()
        self._worker = ThreadPoolExecutor(1, "polyscene-desk")
        self._waiting = 0
        self._count = threading.Lock()

    def see(self, data: bytes, weights: str = "", field_of_view: float | None = None) -> Future[dict[str, Any]]:
        """All that the page shows (``answer.everything``)."""
        return self._queue(lambda: self._answer(answer.everything, data, weights, field_of_view))

    def values(self, data: bytes, weights: str = "", field_of_view: float | None = None) -> Future[dict[str, Any]]:
        """Figures alone (``answer.values``)."""
        return self._queue(lambda: self._answer(answer.values, data, weights, field_of_view))

    def pack(self, data: bytes, weights: str = "", field_of_view: float | None = None) -> Future[bytes]:
        """The archive (``bundle.pack``)."""

        def work() -> bytes:
            scene, _ = self._look(data, weights, field_of_view)
            return bundle.pack(scene, answer.camera(scene)["words"])

        return self._queue(work)

    def warm(self) -> None:
        """Looks at an empty picture with each network, so that the first visitor does not wait for what is loaded
        late."""
        for predictor in self.predictors.values():
            answer.everything(predictor(Image.new("RGB", (320, 240), "grey")))

    def close(self) -> None:
        self._worker.shutdown(cancel_futures=True)

    def _queue(self, work: Callable[[], T]) -> Future[T]:
        with self._count:
            if self._waiting >= self.limits.waiting:
                raise Refused(f"{self._waiting} pictures are waiting already; try again in a minute", 503)
            self._waiting += 1
        future = self._worker.submit(work)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Future[Any]) -> None:
        with self._count:
            self._waiting -= 1

    def _answer(
        self, tell: Callable[[Scene], dict[str, Any]], data: bytes, weights: str, field_of_view: float | None
    ) -> dict[str, Any]:
        begun = time.perf_counter()
        scene, sent = self._look(data, weights, field_of_view)
        told = tell(scene)
        told["picture"]["sent"] = {"width": sent[0], "height": sent[1]}
        told["weights"] = weights or next(iter(self.predictors))
        told["seconds"] = round(time.perf_counter() - begun, 3)
        return told

    def _look(self, data: bytes, weights: str, field_of_view: float | None) -> tuple[Scene, tuple[int, int]]:
        name = weights or next(iter(self.predictors))
        if name not in self.predictors:
            raise Refused(parts.unknown(name[:80], self.predictors, "weights"))
        taken = upload.read(data, self.limits)
        matrix = None if field_of_view is None else intrinsics(taken.image.size, field_of_view)
        try:
            return self.predictors[name](taken.image, matrix), taken.sent
        except BadPicture as error:
            raise Refused(str(error)) from None


def intrinsics(size: tuple[int, int], field_of_view: float) -> np.ndarray:
    """(3, 3) pixels of a camera that sees ``field_of_view`` degrees across pictures of ``size`` (width, height)."""
    if not NARROWEST <= field_of_view <= WIDEST:
        raise Refused(f"a field of view of {field_of_view:g}° across; give {NARROWEST:g} to {WIDEST:g} degrees")
    width, height = size
    focal = width / 2 / math.tan(math.radians(field_of_view) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
