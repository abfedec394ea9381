"""Laying one set of points on another: pure functions, numpy, float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def align(points: Array, onto: Array, scaled: bool = True) -> tuple[float, Array, Array]:
    """(scale, rotation (3, 3), translation (3,)) that bring ``points`` (n, 3) nearest to ``onto`` (n, 3) in the sense
    of least squares: x -> scale · rotation @ x + translation; without ``scaled`` the scale is 1.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991. Needs
    three points that are not on one line.
    """
    middle, goal = points.mean(0), onto.mean(0)
    centred, target = points - middle, onto - goal
    rotation, agreement = _rotation(target.T @ centred)
    scale = agreement / float((centred**2).sum()) if scaled else 1.0
    return scale, rotation, goal - scale * rotation @ middle


def turn_onto(rotations: Array, onto: Array) -> Array:
    """The rotation (3, 3) that, put before ``rotations`` (n, 3, 3), brings them nearest to ``onto`` (n, 3, 3) in the
    sense of least squares."""
    return _rotation(np.einsum("nij,nkj->ik", onto, rotations))[0]


def _rotation(moment: Array) -> tuple[Array, float]:
    """The rotation nearest to a matrix (3, 3), and the trace of the one's transpose times the other."""
    left, values, right = np.linalg.svd(moment)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    return left @ np.diag(signs) @ right, float((values * signs).sum())
