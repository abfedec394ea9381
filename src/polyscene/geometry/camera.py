"""Pinhole cameras: pure functions. Pixels have integer centres, axes are OpenCV's, lengths are metres."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def pixel_grid(height: int, width: int, like: Tensor) -> Float[Tensor, "3 h w"]:
    """Homogeneous pixel coordinates (x, y, 1) with the device and dtype of ``like``."""
    y, x = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=like.dtype),
        torch.arange(width, device=like.device, dtype=like.dtype),
        indexing="ij",
    )
    return torch.stack([x, y, torch.ones_like(x)])


def unproject(depth: Float[Tensor, "*b 1 h w"], intrinsics: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 h w"]:
    """Depth in metres -> points in camera axes."""
    pixels = pixel_grid(depth.shape[-2], depth.shape[-1], depth)
    rays = torch.einsum("...ij,jhw->...ihw", torch.linalg.inv(intrinsics), pixels)
    return rays * depth


def transform(points: Float[Tensor, "*b 3 h w"], matrix: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 3 h w"]:
    """Points carried by a rigid motion."""
    return torch.einsum("...ij,...jhw->...ihw", matrix[..., :3, :3], points) + matrix[..., :3, 3, None, None]


def project(
    points: Float[Tensor, "*b 3 h w"], intrinsics: Float[Tensor, "*b 3 3"]
) -> tuple[Float[Tensor, "*b 2 h w"], Float[Tensor, "*b 1 h w"]]:
    """Points in camera axes -> pixel coordinates and depth. Points behind the camera keep their negative depth."""
    homogeneous = torch.einsum("...ij,...jhw->...ihw", intrinsics, points)
    depth = homogeneous[..., 2:, :, :]
    safe = torch.where(depth.abs() < 1e-9, 1e-9, depth)
    return homogeneous[..., :2, :, :] / safe, depth


def resize_intrinsics(intrinsics: Tensor, scale_x: float, scale_y: float) -> Tensor:
    """After the image was resized: a centre c goes to s (c + 1/2) - 1/2."""
    matrix = intrinsics.new_tensor([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1]])
    return matrix @ intrinsics


def crop_intrinsics(intrinsics: Tensor, left: int, top: int) -> Tensor:
    """After ``left`` columns and ``top`` rows were cut away."""
    matrix = intrinsics.new_tensor([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
    return matrix @ intrinsics


def hflip_intrinsics(intrinsics: Tensor, width: int) -> Tensor:
    """After the image was mirrored: the principal point moves, the focal length stays positive."""
    flipped = intrinsics.clone()
    flipped[..., 0, 2] = width - 1 - intrinsics[..., 0, 2]
    flipped[..., 0, 1] = -intrinsics[..., 0, 1]
    return flipped


def hflip_pose(world_from_camera: Tensor) -> Tensor:
    """The pose in the mirrored world: both the camera's and the world's x axes change sign."""
    mirror = torch.diag(world_from_camera.new_tensor([-1.0, 1.0, 1.0, 1.0]))
    return mirror @ world_from_camera @ mirror


def warp_intrinsics(
    intrinsics: Float[Tensor, "*b 3 3"], matrix: Float[Tensor, "3 3"]
) -> tuple[Float[Tensor, "*b 3 3"], Float[Tensor, "*b 3 3"]]:
    """After every pixel was taken to ``matrix`` times it, an affine map that mirrors nothing: the intrinsics, and the
    turn about the optical axis that takes points in the old camera's axes to the new one's."""
    moved = matrix.to(torch.float64) @ intrinsics.to(torch.float64)
    sine, cosine = (moved[..., 1, :2] / moved[..., 1, :2].norm(dim=-1, keepdim=True)).unbind(-1)
    nought, one = torch.zeros_like(sine), torch.ones_like(sine)
    rows = (cosine, -sine, nought), (sine, cosine, nought), (nought, nought, one)
    turn = torch.stack([torch.stack(row, -1) for row in rows], -2)
    upper = moved @ turn.mT
    upper[..., 1, 0] = 0
    return upper.to(intrinsics.dtype), turn.to(intrinsics.dtype)


def assumed_intrinsics(height: int, width: int, focal: float = 0.95) -> Float[Tensor, "3 3"]:
    """A guess for a picture of unknown camera: focal length ``focal`` times the longer side, centred."""
    length = focal * max(height, width)
    return torch.tensor([[length, 0.0, (width - 1) / 2], [0.0, length, (height - 1) / 2], [0.0, 0.0, 1.0]])


def check(
    intrinsics: Float[Tensor, "b v 3 3"], world_from_camera: Float[Tensor, "b v 4 4"], known: Bool[Tensor, "b v"]
) -> None:
    """Refuses known cameras that no camera can be: ``ValueError`` names the sample, the view and the remedy. Says
    nothing where there are no values to look at: on ``meta``, and while a graph is recorded."""
    if intrinsics.is_meta or torch.compiler.is_compiling():
        return
    exact = torch.float32 if intrinsics.device.type == "mps" else torch.float64  # which autocast leaves alone
    intrinsics, pose = intrinsics.to(exact), world_from_camera.to(exact)
    rotation, eye = pose[..., :3, :3], torch.eye(4, dtype=exact, device=pose.device)
    focal = intrinsics.diagonal(dim1=-2, dim2=-1)[..., :2]
    orthonormal = (rotation @ rotation.mT - eye[:3, :3]).abs().amax((-2, -1)) < 1e-3
    finite = intrinsics.isfinite().all(-1).all(-1), pose.isfinite().all(-1).all(-1)
    form = (intrinsics[..., 1, 0].abs() < 1e-6) & ((intrinsics[..., 2, :] - eye[3, 1:]).abs() < 1e-6).all(-1)
    last = ((pose[..., 3, :] - eye[3]).abs() < 1e-6).all(-1)
    sound = {
        "intrinsics are not finite": finite[0],
        "focal lengths are not positive": (focal > 0).all(-1),
        "intrinsics are not of the form (fx s cx; 0 fy cy; 0 0 1)": form,
        "pose is not finite": finite[1],
        "pose is no rigid motion": orthonormal & last & (torch.linalg.det(rotation) > 0),
    }
    bad = torch.stack([known & ~each for each in sound.values()])
    if bad.any():
        problem, sample, view = bad.nonzero()[0].tolist()
        raise ValueError(
            f"sample {sample} of the batch, view {view}: its {list(sound)[problem]}; repair the camera file "
            "(metres, camera to world, pixels of the image), or declare the camera unknown"
        )
