"""A scene in 3D: points, a coloured mesh, and an interactive figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from polyscene.geometry import camera

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from trimesh import Trimesh


@dataclass(frozen=True)
class Points:
    """``xyz``: (n, 3) metres in camera axes (x right, y down, z forward). ``colour``: (n, 3) uint8."""

    xyz: np.ndarray
    colour: np.ndarray


@dataclass(frozen=True)
class Cloud:
    """``xyz``: (n, 3) metres in camera axes. ``colours``: (n, 3) uint8 by facet. ``ids``: (n,) class ids by the tasks
    that have ``classes``."""

    xyz: np.ndarray
    colours: Mapping[str, np.ndarray]
    ids: Mapping[str, np.ndarray]
    classes: Mapping[str, tuple[str, ...]]

    def said(self) -> list[str]:
        """What each point is and how far."""
        named = [np.array(self.classes[task])[ids] for task, ids in self.ids.items()]
        metres = [f"{depth:.2f} m" for depth in self.xyz[:, 2]]
        return [" · ".join(words) for words in zip(*named, metres, strict=True)]


def unproject(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """(h, w) metres -> (h, w, 3) points in camera axes."""
    points = camera.unproject(torch.from_numpy(depth).double()[None], torch.from_numpy(intrinsics).double())
    return points.movedim(0, -1).float().numpy()


def continuous(depth: np.ndarray, jump: float = 0.12, reach: float = 0.008) -> np.ndarray:
    """(h, w) bool: true where depth varies by less than the share ``jump`` within ``reach`` times the longer side, so
    that the veils a network draws between near and far surfaces are left out."""
    from scipy.ndimage import maximum_filter, minimum_filter

    window = 2 * max(1, round(reach * max(depth.shape))) + 1
    usable = np.isfinite(depth) & (depth > 0)
    near = minimum_filter(np.where(usable, depth, np.inf), window)
    far = maximum_filter(np.where(usable, depth, 0.0), window)
    return usable & (far <= near * (1 + jump))


def even(keep: np.ndarray, limit: int) -> np.ndarray:
    """Flat indices of at most ``limit`` pixels of a regular grid over ``keep`` (h, w), as fine as the kept ones allow:
    random ones would leave holes."""
    step = max(1.0, float(np.sqrt(keep.sum() / limit)))
    while True:
        lines = [np.isin(np.arange(side), np.arange(0, side, step).astype(int)) for side in keep.shape]
        chosen = np.flatnonzero(keep & lines[0][:, None] & lines[1])
        if len(chosen) <= limit:
            return chosen
        step *= 1.02


def mesh(depth: np.ndarray, intrinsics: np.ndarray, colour: np.ndarray, limit: int = 150_000) -> Trimesh:
    """A coloured surface through at most about ``limit`` pixels, torn where depth jumps; glTF axes (y up, z back)."""
    from trimesh import Trimesh

    step = max(1, int(np.ceil(np.sqrt(depth.size / limit))))
    coarser = np.diag([1 / step, 1 / step, 1.0])  # every step-th pixel: the first keeps its centre
    points, keep = unproject(depth[::step, ::step], coarser @ intrinsics), continuous(depth)[::step, ::step]
    index = np.arange(keep.size).reshape(keep.shape)
    corners = np.stack([index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]], -1).reshape(-1, 4)
    corners = corners[keep.reshape(-1)[corners].all(1)]
    faces = np.concatenate([corners[:, [0, 1, 2]], corners[:, [2, 1, 3]]])
    surface = Trimesh(
        vertices=points.reshape(-1, 3) * (1, -1, -1),
        faces=faces,
        vertex_colors=colour[::step, ::step].reshape(-1, 3),
        process=False,
    )
    surface.remove_unreferenced_vertices()
    return surface


def figure(
    xyz: np.ndarray,
    colours: Mapping[str, np.ndarray],
    size: float = 3.0,
    height: int = 520,
    said: Sequence[str] | None = None,
) -> Figure:
    """Points (n, 3) in camera axes; ``colours``: (n, 3) uint8 by name, between which buttons choose. ``said``: what
    each point says when pointed at."""
    from plotly import graph_objects as go

    spelt = {name: [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colour.tolist()] for name, colour in colours.items()}
    cloud = go.Scatter3d(
        x=xyz[:, 0].astype(np.float32),
        y=xyz[:, 2].astype(np.float32),  # the figure's axes: right, away from us, up
        z=-xyz[:, 1].astype(np.float32),
        mode="markers",
        hoverinfo="skip" if said is None else "text",
        hovertext=said,
        marker={"size": size, "color": next(iter(spelt.values())), "opacity": 1.0},
    )
    buttons = [
        {"label": name, "method": "restyle", "args": [{"marker.color": [colour]}]} for name, colour in spelt.items()
    ]
    hidden = {"visible": False, "showspikes": False}
    return go.Figure(
        cloud,
        layout={
            "height": height,
            "margin": {"l": 0, "r": 0, "t": 52, "b": 0},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": "#80868b", "size": 13},
            "scene": {
                "xaxis": hidden,
                "yaxis": hidden,
                "zaxis": hidden,
                "aspectmode": "data",
                "dragmode": "orbit",
                "camera": {  # a little behind and above the one that took the picture
                    "eye": {"x": 0.3, "y": -1.55, "z": 0.42},
                    "center": {"x": 0, "y": 0, "z": 0.02},
                    "up": {"x": 0, "y": 0, "z": 1},
                },
            },
            "updatemenus": [
                {
                    "type": "buttons",
                    "direction": "right",
                    "buttons": buttons,
                    "x": 0.0,
                    "y": 1.0,
                    "xanchor": "left",
                    "yanchor": "bottom",
                    "pad": {"l": 12, "b": 8},
                    "bgcolor": "rgba(128,134,139,0.12)",
                    "bordercolor": "rgba(128,134,139,0.35)",
                    "showactive": True,
                }
            ]
            if len(buttons) > 1
            else [],
        },
    )
