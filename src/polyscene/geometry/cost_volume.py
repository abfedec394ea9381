"""Plane-sweep cost volumes: how well each pixel matches another view, were it at each of some depths.

A pixel (x, y) of the reference at inverse depth d falls into the source at the homogeneous point H (x, y, 1) + d e with
H = K_source R inv(K_reference) and e = K_source t, so all planes share one homography. Pixel (0, 0) has its centre at
(0, 0). Sampling is bilinear and sees zeros outside the source; points on or behind its camera's plane are outside.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Literal, get_args, overload

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from . import _cost_volume_torch
from .precision import without_autocast

Implementation = Literal["auto", "torch", "numba", "triton"]
IMPLEMENTATIONS = get_args(Implementation)
RIGID = 1e-3  # how far a rotation may be from orthonormal: what float32 and six printed digits leave, with room


@overload
def plane_sweep(
    reference: Tensor,
    source: Tensor,
    reference_intrinsics: Tensor,
    source_intrinsics: Tensor,
    source_from_reference: Tensor,
    inverse_depths: Tensor,
    *,
    implementation: Implementation = ...,
    return_inside: Literal[False] = ...,
    check: bool = ...,
) -> Tensor: ...
@overload
def plane_sweep(
    reference: Tensor,
    source: Tensor,
    reference_intrinsics: Tensor,
    source_intrinsics: Tensor,
    source_from_reference: Tensor,
    inverse_depths: Tensor,
    *,
    implementation: Implementation = ...,
    return_inside: Literal[True],
    check: bool = ...,
) -> tuple[Tensor, Tensor]: ...
def plane_sweep(
    reference: Float[Tensor, "b c h w"],
    source: Float[Tensor, "b c h w"],
    reference_intrinsics: Float[Tensor, "b 3 3"],
    source_intrinsics: Float[Tensor, "b 3 3"],
    source_from_reference: Float[Tensor, "b 4 4"],
    inverse_depths: Float[Tensor, " planes"] | Float[Tensor, "b planes"],
    *,
    implementation: Implementation = "auto",
    return_inside: bool = False,
    check: bool = True,
) -> Float[Tensor, "b planes h w"] | tuple[Float[Tensor, "b planes h w"], Bool[Tensor, "b planes h w"]]:
    """Dot product, divided by sqrt(c), of each reference feature with the source's at each plane.

    Half precision is computed in float32 and returned as it came; float64 stays float64. Gradients flow to the two
    feature maps alone: cameras and depths are taken as constants. No warped copy of the source is ever stored.

    Args:
        reference, source: features of two views, of one size.
        reference_intrinsics, source_intrinsics: 3x3 matrices in pixels of the feature maps, float32 or float64.
        source_from_reference: rigid motion that carries points from the reference's camera axes to the source's; its
            translation is in the unit whose inverse ``inverse_depths`` has.
        inverse_depths: of the planes, 1/metres, for all samples or for each; 0 is the plane at infinity.
        implementation: ``torch`` (any device, exportable), ``numba`` (processors), ``triton`` (CUDA), or the fastest
            for the device.
        return_inside: also say where samples lie in the source's picture (nearest to one of its pixels).
        check: read the cameras' values and refuse bad ones (``check_cameras``). On an accelerator this waits for them.

    Raises:
        ValueError: shapes that do not fit, an implementation that cannot run here, or what ``check_cameras`` refuses.
    """
    cameras = (reference_intrinsics, source_intrinsics, source_from_reference)
    _check_shapes(reference, source, *cameras, inverse_depths)
    tracing = _tracing() or reference.is_meta
    if check and not tracing:
        check_cameras(*cameras, inverse_depths)
    batch, _, height, width = reference.shape
    kept = reference.dtype if reference.dtype == source.dtype else torch.promote_types(reference.dtype, source.dtype)
    exact = torch.float64 if kept == torch.float64 else torch.float32
    matrix = projection(*cameras).to(reference.device, exact)
    planes = inverse_depths.detach().to(reference.device, exact).expand(batch, -1)
    with without_autocast(reference):
        volume = _choose(implementation, reference)(reference.to(exact), source.to(exact), matrix, planes).to(kept)
    return (volume, _cost_volume_torch.inside(matrix, planes, height, width)) if return_inside else volume


def _choose(implementation: str, features: Tensor) -> _cost_volume_torch.Sweep:
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"plane_sweep has no implementation {implementation!r}: use one of {', '.join(IMPLEMENTATIONS)}"
        )
    if _tracing():
        return _cost_volume_torch.exportable
    on_processor = features.device.type == "cpu"
    if features.is_meta or implementation == "torch":
        return _cost_volume_torch.sweep
    if implementation == "numba" and not on_processor:
        raise ValueError(f"plane_sweep's numba implementation runs on processors, not on {features.device}")
    if implementation == "triton" or (implementation == "auto" and features.is_cuda and find_spec("triton")):
        return _triton(features)
    if on_processor:
        from ._cost_volume_numba import sweep

        return sweep
    return _cost_volume_torch.sweep


def _triton(features: Tensor) -> _cost_volume_torch.Sweep:
    if not find_spec("triton"):
        raise ValueError("plane_sweep's triton implementation needs the package triton, which is not installed")
    from ._cost_volume_triton import runs_on, sweep

    if not runs_on(features):
        raise ValueError(f"plane_sweep's triton implementation runs on CUDA, not on {features.device}")
    return sweep


def _tracing() -> bool:
    """Whether the call is being recorded as a graph that has to live without Python."""
    exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return bool(exporting() or torch.jit.is_tracing())


def projection(
    reference_intrinsics: Float[Tensor, "b 3 3"],
    source_intrinsics: Float[Tensor, "b 3 3"],
    source_from_reference: Float[Tensor, "b 4 4"],
) -> Float[Tensor, "b 3 4"]:
    """(H | e): takes (x, y, 1, inverse depth) of the reference to homogeneous pixel coordinates of the source.

    Its third row gives the point's depth in the source divided by its depth in the reference.
    """
    exact = torch.float32 if reference_intrinsics.device.type == "mps" else torch.float64
    k_reference, k_source, motion = (
        matrix.detach().to(exact) for matrix in (reference_intrinsics, source_intrinsics, source_from_reference)
    )
    a, b, c = k_reference.unbind(-2)
    adjugate = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -1)
    inverse = adjugate / (a * adjugate[..., 0]).sum(-1)[..., None, None]
    return k_source @ torch.cat([motion[..., :3, :3] @ inverse, motion[..., :3, 3:]], -1)


def inverse_depth_planes(count: int, nearest_m: float, farthest_m: float) -> Float[Tensor, " count"]:
    """``count`` inverse depths, evenly spaced from 1 / farthest to 1 / nearest. The farthest may be infinite.

    Raises:
        ValueError: fewer than two planes, or a range that is empty or not positive.
    """
    if count < 2:
        raise ValueError(f"planes must be at least 2, not {count}: one plane has no range")
    if not (0 < nearest_m < farthest_m) or not math.isfinite(nearest_m):
        raise ValueError(f"planes need 0 < nearest < farthest in metres, not {nearest_m} and {farthest_m}")
    return torch.linspace(1 / farthest_m, 1 / nearest_m, count, dtype=torch.float64).float()


def check_cameras(
    reference_intrinsics: Float[Tensor, "b 3 3"],
    source_intrinsics: Float[Tensor, "b 3 3"],
    source_from_reference: Float[Tensor, "b 4 4"],
    inverse_depths: Float[Tensor, " planes"] | Float[Tensor, "b planes"] | None = None,
) -> None:
    """Refuses cameras and planes that mean nothing, naming the item of the batch. A few microseconds an item.

    Raises:
        ValueError: intrinsics that are not finite, not of the form (fx s cx; 0 fy cy; 0 0 1), or with fx or fy not
            positive; a motion that is not rigid; inverse depths that are negative, not finite or all the same.
    """
    for name, matrix in (("reference_intrinsics", reference_intrinsics), ("source_intrinsics", source_intrinsics)):
        for item, rows in enumerate(matrix.detach().tolist()):
            _check_intrinsics(f"{name} of batch item {item}", rows)
    for item, rows in enumerate(source_from_reference.detach().tolist()):
        _check_rigid(f"source_from_reference of batch item {item}", rows)
    if inverse_depths is not None:
        shared = inverse_depths.dim() == 1
        for item, values in enumerate(inverse_depths.detach().reshape(-1, inverse_depths.shape[-1]).tolist()):
            _check_planes("inverse_depths" if shared else f"inverse_depths of batch item {item}", values)


def _check_intrinsics(name: str, rows: list[list[float]]) -> None:
    (fx, _, _), (zero, fy, _), last = rows
    if not all(map(math.isfinite, (*rows[0], *rows[1], *last))):
        raise ValueError(f"{name} are not finite: {rows}")
    if not (fx > 0 and fy > 0):
        raise ValueError(f"{name} have focal lengths {fx:g} and {fy:g}: both must be positive pixels")
    if zero != 0 or last != [0, 0, 1]:
        raise ValueError(f"{name} must have the form (fx s cx; 0 fy cy; 0 0 1), not {rows}")


def _check_rigid(name: str, rows: list[list[float]]) -> None:
    if not all(math.isfinite(value) for row in rows for value in row):
        raise ValueError(f"{name} is not finite: {rows}")
    if any(abs(value - known) > 1e-6 for value, known in zip(rows[3], (0, 0, 0, 1), strict=True)):
        raise ValueError(f"{name} is no rigid motion: its last row is {rows[3]}, not 0 0 0 1; is it transposed?")
    r = [row[:3] for row in rows[:3]]
    for i in range(3):
        for j in range(i, 3):
            product = sum(a * b for a, b in zip(r[i], r[j], strict=True))
            if abs(product - (i == j)) > RIGID:
                raise ValueError(
                    f"{name} is no rigid motion: rows {i} and {j} of its rotation have the product {product:.6g}, not "
                    f"{int(i == j)}; take scale out of the rotation"
                )
    volume = sum(r[0][i] * (r[1][i - 2] * r[2][i - 1] - r[1][i - 1] * r[2][i - 2]) for i in range(3))
    if volume < 0:
        raise ValueError(f"{name} mirrors: the determinant of its rotation is {volume:.3g}, not 1")


def _check_planes(name: str, values: list[float]) -> None:
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{name} are not finite")
    if min(values) < 0:
        raise ValueError(f"{name} reach {min(values):g}: planes lie in front of the camera, from 0 (infinity) up")
    if len(values) > 1 and max(values) == min(values):
        raise ValueError(f"{name} are all {values[0]:g}: {len(values)} planes need a range")


def _check_shapes(
    reference: Tensor, source: Tensor, k_reference: Tensor, k_source: Tensor, motion: Tensor, planes: Tensor
) -> None:
    if reference.dim() != 4 or reference.shape != source.shape or 0 in reference.shape:
        raise ValueError(
            "reference and source must be two maps of one size (b, c, h, w), not "
            f"{tuple(reference.shape)} and {tuple(source.shape)}"
        )
    batch = reference.shape[0]
    for name, value, shape in (
        ("reference_intrinsics", k_reference, (batch, 3, 3)),
        ("source_intrinsics", k_source, (batch, 3, 3)),
        ("source_from_reference", motion, (batch, 4, 4)),
    ):
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} must be {shape} for a batch of {batch}, not {tuple(value.shape)}")
        if value.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name} must be float32 or float64, not {value.dtype}: less moves pixels")
    if planes.dim() not in (1, 2) or planes.shape[-1] == 0 or (planes.dim() == 2 and planes.shape[0] != batch):
        raise ValueError(f"inverse_depths must be (planes,) or ({batch}, planes), not {tuple(planes.shape)}")
    for name, value in (("reference", reference), ("source", source), ("inverse_depths", planes)):
        if not value.dtype.is_floating_point:
            raise ValueError(f"{name} must be floating point, not {value.dtype}")
