"""Which samples of a data set show which classes, so that rare ones can be drawn oftener."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from polyscene.data.base import BadSample, Dataset

LEAST = 0.0005  # of a sample's pixels, for a class to count as shown


class RareClasses:
    """Draws a class, the likelier the rarer (its share of all pixels to the power of -1/2), then one of the samples
    that show it (after Hoyer et al., DAFormer, CVPR 2022). By the first task that has classes, all labels of which are
    read once; ``ValueError`` if there is none."""

    def __init__(self, dataset: Dataset) -> None:
        name = next((name for name, task in dataset.tasks.items() if task.classes), None)
        if name is None:
            raise ValueError(f"{dataset.name}: labels no classes, so none of them is rare; leave out `rare`")
        self.classes = dataset.tasks[name].classes
        alone = dataset.only({name})
        counts = torch.stack([self._count(alone, name, index) for index in range(len(dataset))])
        shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
        self.showing = [torch.nonzero(shares[:, number] > LEAST).flatten() for number in range(len(self.classes))]
        overall = counts.sum(0) / counts.sum().clamp_min(1)
        shown = torch.tensor([len(samples) > 0 for samples in self.showing])
        self.chances = torch.where(shown, overall.clamp_min(1e-6) ** -0.5, 0.0)
        if not shown.any():
            raise ValueError(f"{dataset.name}: no pixel has a class; leave out `rare`")

    def draw(self, generator: Generator) -> int:
        """The place of a sample."""
        number = int(torch.multinomial(self.chances, 1, generator=generator))
        samples = self.showing[number]
        return int(samples[torch.randint(len(samples), (), generator=generator)])

    def _count(self, dataset: Dataset, name: str, index: int) -> Tensor:
        """Pixels a class; none of a sample that cannot be read, which the loader tells."""
        try:
            target = dataset.read(index).targets[name]
        except BadSample:
            return torch.zeros(len(self.classes))
        return torch.bincount(target.value[target.valid].long(), minlength=len(self.classes)).float()
