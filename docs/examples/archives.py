"""A data set: a folder of .npz files, each with `image` (h, w, 3) uint8, `height` (h, w) metres, `focal` in pixels."""

from pathlib import Path

import numpy as np
import torch
from height import Height

from polyscene.data.base import BadSample, Dataset
from polyscene.types import Camera, Sample, Target


class Archives(Dataset):
    """Files of ``root``, in the order of their names; unknown heights are NaN."""

    def __init__(self, root: str, name: str = "archives") -> None:
        self.name, self.tasks = name, {"height": Height()}
        self.files = sorted(Path(root).glob("*.npz"))

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> Sample:
        with np.load(self.files[index]) as file:
            if missing := {"image", "height", "focal"} - set(file):
                raise BadSample(self.files[index], f"lacks {', '.join(sorted(missing))}", "write it again")
            image, height = torch.from_numpy(file["image"]), torch.from_numpy(file["height"])[None, None].float()
            focal = float(file["focal"])
        rows, columns = image.shape[:2]
        intrinsics = torch.tensor([[focal, 0, (columns - 1) / 2], [0, focal, (rows - 1) / 2], [0, 0, 1]])
        return Sample(  # the leading axis is that of the views, of which there is one
            images=image.movedim(-1, 0)[None] / 255,
            targets={"height": Target(height, height.isfinite())} if "height" in self.tasks else {},
            camera=Camera(intrinsics[None], torch.eye(4)[None], torch.tensor([True])),
            present=torch.tensor([True]),
            source=self.name,
            meta=(str(self.files[index]),),
        )
