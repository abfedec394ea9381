"""Films and webcams: frames in, a film of panels out."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong with a film is ours to say, in one line

import cv2
import numpy as np

SUFFIXES = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"))
RATE = 25.0  # frames a second, where a film does not say
WEBCAM = "webcam:"
REMEDY = "convert it (to MP4 with H.264), or copy it again"


class BadVideo(ValueError):
    """A film that cannot be read, or not to its end: the message names it and the remedy."""


@runtime_checkable
class Capture(Protocol):
    """What of ``cv2.VideoCapture`` is used."""

    def isOpened(self) -> bool: ...
    def get(self, propId: int, /) -> float: ...
    def read(self) -> Any: ...
    def release(self) -> None: ...


@dataclass
class Film:
    """Frames (h, w, 3) uint8 RGB, one after another. ``announced``: how many there should be; 0 where unknown."""

    source: str
    capture: Capture
    decoded: int = field(default=0, init=False)
    problem: BadVideo | None = field(default=None, init=False)

    @classmethod
    def open(cls, source: str | Path) -> Film:
        """A file, or ``webcam:N``. Raises ``BadVideo``."""
        name = str(source)
        number = name.removeprefix(WEBCAM)
        if name.startswith(WEBCAM) and not number.isdecimal():
            raise BadVideo(f"{name}: webcams have numbers; the first is {WEBCAM}0")
        remedy = "is it plugged in, and not in use elsewhere?" if name.startswith(WEBCAM) else REMEDY
        capture = webcam(int(number)) if name.startswith(WEBCAM) else cv2.VideoCapture(name)
        if not capture.isOpened():
            raise BadVideo(f"{name}: cannot be opened as a video; {remedy}")
        return cls(name, capture)

    @property
    def rate(self) -> float:
        told = self.capture.get(cv2.CAP_PROP_FPS)
        return told if math.isfinite(told) and 1 <= told <= 240 else RATE

    @property
    def announced(self) -> int:
        told = self.capture.get(cv2.CAP_PROP_FRAME_COUNT)
        return int(told) if math.isfinite(told) and 0 < told < 1e9 and not self.source.startswith(WEBCAM) else 0

    def frames(self, most: int | None = None) -> Iterator[np.ndarray]:
        """At most ``most``. It ends at what cannot be decoded; ``problem`` then says so."""
        expected = self.announced if most is None else min(most, self.announced)
        try:
            while most is None or self.decoded < most:
                decoded, frame = self.capture.read()
                if not decoded:
                    break
                self.decoded += 1
                yield np.ascontiguousarray(frame[..., ::-1] if frame.ndim == 3 else frame[..., None].repeat(3, -1))
        finally:
            self.capture.release()
        if not self.decoded:
            self.problem = BadVideo(f"{self.source}: not one frame can be decoded; {REMEDY}")
        elif self.decoded < 0.98 * expected - 1:  # containers miscount by a frame or two
            told = f"breaks off after {self.decoded} of {expected} frames, which are kept"
            self.problem = BadVideo(f"{self.source}: {told}; {REMEDY}")


def webcam(number: int) -> Capture:
    return cv2.VideoCapture(number)


class Panels:
    """Pages (h, w, 3) uint8 to an MP4 file, at the size of the first; others are cut, or lie on white. The file is
    there when it is closed."""

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self.part = path.with_name(f".{path.stem}.part.mp4")  # the suffix tells the writer the kind of file
        self.writer: cv2.VideoWriter | None = None
        self.size, self.pages = (0, 0), 0

    def write(self, page: np.ndarray) -> None:
        if self.writer is None:
            self.size = page.shape[0] + page.shape[0] % 2, page.shape[1] + page.shape[1] % 2  # codecs want even sides
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self.writer = cv2.VideoWriter(str(self.part), code, self.rate, self.size[::-1])
            if not self.writer.isOpened():
                raise OSError(f"{self.path}: cannot be written")
        height, width = self.size
        fitting = np.full((height, width, 3), 255, np.uint8)
        part = page[:height, :width, ::-1]
        fitting[: part.shape[0], : part.shape[1]] = part
        self.writer.write(fitting)
        self.pages += 1

    def close(self) -> Path | None:
        """The file, if there is one. ``OSError`` if it does not hold every page: the codec does not tell of disks that
        are full. There is none then, but what was there before."""
        if self.writer is None:
            return None
        self.writer.release()
        made = cv2.VideoCapture(str(self.part))
        count = int(made.get(cv2.CAP_PROP_FRAME_COUNT)) if made.isOpened() else 0
        made.release()
        if count != self.pages:
            self.part.unlink(missing_ok=True)
            told = f"{count} of {self.pages} frames could be written; see that the disk has room"
            raise OSError(errno.ENOSPC, told, str(self.path))
        os.replace(self.part, self.path)
        return self.path

    def drop(self) -> None:
        """Leaves what was there before."""
        if self.writer is not None:
            self.writer.release()
            self.part.unlink(missing_ok=True)
