from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor


def by_image(images: Tensor, function: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """``function`` of each of (v, 3, h, w) as the array (h, w, 3) that OpenCV works on."""
    done = [cv2.split(function(cv2.merge(list(image)))) for image in images.numpy()]
    return torch.from_numpy(np.stack([layer for layers in done for layer in layers])).unflatten(0, (-1, 3))
