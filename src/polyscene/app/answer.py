"""A scene as JSON: what the page draws and what the HTTP API answers."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from polyscene.panels import Facet
from polyscene.pointcloud import Cloud
from polyscene.scene import Scene
from polyscene.tasks import Task

GRID = 96  # pixels of the longer side of the coarse values
PERCENTILES = (2, 50, 98)


def values(scene: Scene) -> dict[str, Any]:
    """The camera and every facet in figures: what classes take which share of the picture, or the range of a value;
    and the values themselves on a coarse grid, row by row."""
    height, width = scene.image.shape[:2]
    step = max(1, math.ceil(max(height, width) / GRID))
    seen = {name: _facet(scene.tasks[name], value, step) for name, value in scene.values.items()}
    return {"picture": {"width": width, "height": height}, "camera": camera(scene), "step": step, "facets": seen}


def everything(scene: Scene) -> dict[str, Any]:
    """``values``, each facet as a picture with its legend, and the point cloud."""
    answer = values(scene)
    facets = scene.facets()
    photo, *drawn = facets
    answer["photo"] = _picture(photo.picture)
    for facet in drawn:
        answer["facets"][facet.title] |= {"picture": _picture(facet.picture), "legend": _legend(facet)}
    answer["cloud"] = _cloud(scene.cloud(facets=facets)) if "depth" in scene.values else None
    return answer


def camera(scene: Scene) -> dict[str, Any]:
    """Field of view in degrees, the matrix in pixels, and in words where they come from."""
    height, width = scene.image.shape[:2]
    matrix = scene.intrinsics.astype(np.float64)
    across, down = (
        math.degrees(2 * math.atan(side / 2 / float(focal)))
        for side, focal in ((width, matrix[0, 0]), (height, matrix[1, 1]))
    )
    words = {
        "known": f"Camera as you gave it: it sees {across:.0f}° across.",
        "EXIF": f"Camera from the photo's EXIF: it sees {across:.0f}° across.",
        "assumed": f"The photo does not tell its focal length: a camera that sees {across:.0f}° across is assumed, so "
        "metres may be off by a common factor.",
    }
    return {
        "origin": scene.camera,
        "words": words[scene.camera],
        "degrees": {"across": round(across, 1), "down": round(down, 1)},
        "intrinsics": np.round(matrix, 3).tolist(),
    }


def _cloud(cloud: Cloud) -> dict[str, Any]:
    """Base64 of numbers, lowest byte first: ``xyz`` (n, 3) float32 metres in camera axes, ``colours`` (n, 3) uint8 by
    facet, ``ids`` (n,) uint16 by task with classes."""
    return {
        "xyz": _base64(cloud.xyz.astype("<f4").tobytes()),
        "colours": {name: _base64(colour.astype(np.uint8).tobytes()) for name, colour in cloud.colours.items()},
        "ids": {name: _base64(ids.astype("<u2").tobytes()) for name, ids in cloud.ids.items()},
    }


def _facet(task: Task, value: np.ndarray, step: int) -> dict[str, Any]:
    told: dict[str, Any] = {"unit": task.unit}
    if task.classes:
        shares = np.bincount(value.reshape(-1), minlength=len(task.classes)) / value.size
        order = [index for index in np.argsort(-shares, kind="stable") if shares[index]]
        told |= {"classes": task.classes, "shares": {task.classes[i]: round(float(shares[i]), 4) for i in order}}
    elif value.ndim == 2:
        told["percentiles"] = {
            str(share): round(float(number), 3)
            for share, number in zip(PERCENTILES, np.percentile(value, PERCENTILES), strict=True)
        }
    coarse = value[step // 2 :: step, step // 2 :: step]
    told["values"] = (coarse if task.classes else np.round(coarse.astype(np.float64), 3)).tolist()
    return told


def _legend(facet: Facet) -> dict[str, Any]:
    legend = facet.legend
    return {
        "swatches": [{"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*rgb)} for name, rgb in legend.swatches],
        "ramp": None if legend.ramp is None else _picture(legend.ramp.numpy(), "png"),
        "ticks": [{"place": place, "name": name} for place, name in legend.ticks],
    }


def _picture(pixels: np.ndarray, kind: str = "jpeg") -> str:
    """A data URL. Colours are not thinned out: those of classes have sharp borders."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({"quality": 90, "subsampling": 0} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{_base64(buffer.getvalue())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
