"""What the MATLAB files of PASCAL-Context hold, as maps: parts of people, and boundaries of 459 classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from polyscene.data import matlab
from polyscene.data.base import BadSample
from polyscene.geometry import boundaries

Recipe = Literal["laplacian", "seism"]

PERSON = 15  # its number among the 20 classes of VOC
PARTS = {  # the 24 parts of a person in PASCAL-Part, and which of the six of PARTS_CLASSES they belong to
    **dict.fromkeys(
        ("head", "hair", "nose", "mouth", "leye", "reye", "lear", "rear", "lebrow", "rebrow"), 1
    ),
    **dict.fromkeys(("torso", "neck"), 2),
    **dict.fromkeys(("luarm", "ruarm"), 3),
    **dict.fromkeys(("llarm", "rlarm", "lhand", "rhand"), 4),
    **dict.fromkeys(("luleg", "ruleg"), 5),
    **dict.fromkeys(("llleg", "rlleg", "lfoot", "rfoot"), 6),
}  # fmt: skip
INDOORS = np.array([  # numbers among the 459 classes whose names are also among NYUv2's 894, and 427, tvmonitor
    3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49, 50, 51, 53, 55, 56, 59,
    61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101, 104, 105, 107, 111, 113, 115, 122, 124, 135,
    141, 142, 143, 146, 150, 154, 157, 158, 159, 165, 172, 174, 181, 183, 184, 191, 193, 195, 197, 199, 202, 213, 215,
    216, 219, 220, 223, 225, 228, 230, 232, 233, 238, 239, 242, 243, 246, 250, 251, 252, 255, 260, 261, 263, 269, 272,
    273, 275, 281, 283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295, 304, 307, 309, 310, 314, 315, 319, 323, 329,
    330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368, 370, 371, 374, 379, 380, 383, 384, 397, 401, 403, 405,
    407, 408, 411, 412, 413, 414, 417, 419, 421, 423, 427, 429, 430, 431, 432, 440, 441, 442, 443, 444, 446, 454, 457,
])  # fmt: skip
FLOOR, CEILING = 158, 68
CLASSES = 459


def label_map(file: Path) -> NDArray[np.int64]:
    """(h, w) 1 to 459, 0 for none; of ``pascal-context/trainval/ID.mat``."""
    stored = matlab.variable(file, "LabelMap")
    if stored.ndim != 2 or not (0 <= stored.min() and stored.max() <= CLASSES):
        found = f"LabelMap is {'x'.join(map(str, stored.shape))}, {stored.min()} to {stored.max()}"
        raise BadSample(file, found, f"restore the file: numbers up to {CLASSES}, one a pixel")
    return stored.astype(np.int64)


def parts(file: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w) 0 to 6 of ``human_parts/ID.mat``, where the parts of all people are drawn in the order they are in; a
    person without parts is background. ``BadSample`` if the file is not of that kind or size."""
    drawn = np.zeros(size, np.uint8)
    anno: Any = matlab.variable(file, "anno")
    try:
        for thing in anno["objects"].ravel()[0].ravel():
            if int(thing["class_ind"].item()) != PERSON:
                continue
            for part in thing["parts"].ravel():
                drawn[part["mask"].astype(bool)] = PARTS[str(part["part_name"].item())]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        problem = f"not the parts of an image of {size[0]}x{size[1]} ({type(error).__name__}: {error})"
        raise BadSample(
            file, problem, "restore the file: anno.objects with class_ind, parts.part_name, parts.mask"
        ) from None
    return drawn


def edges(classes: NDArray[np.int64], recipe: Recipe) -> NDArray[np.uint8]:
    """(h, w) class numbers -> 255 at boundaries, else 0: ``laplacian`` as public code trains on, thinned after; or
    ``seism``, the truth that its edges are evaluated on, which the metric thins."""
    if recipe == "seism":
        return np.where(boundaries.of_ids(torch.from_numpy(classes)).numpy(), 255, 0).astype(np.uint8)
    from scipy.ndimage import laplace
    from skimage.morphology import thin

    return np.where(thin(laplace(classes.astype(np.float64), mode="mirror") != 0), 255, 0).astype(np.uint8)
