"""The opponent of adversarial adaptation: a network, its optimiser, and how well it does."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from polyscene.training import distributed

DEPTH = 4  # convolutions before the last
SMALLEST = 2 ** (DEPTH + 1)  # pixels of a patch, across
MEMORY = 0.98  # of the running figures, an update
SETTLED = 50  # updates before they are judged
SURE, CHANCE = 0.98, 0.52  # share of patches told apart: beyond these a discriminator teaches nothing


class PatchDiscriminator(nn.Sequential):
    """(n, c, h, w) -> logits (n, 1, h/32, w/32) of "unlabelled", a patch each: 4x4 convolutions of stride 2 under
    spectral norm, leaky ReLUs between (that of Wang et al., SemiMTL, 2021, as DenseMTL has it). ``channels`` is the
    width of the first, doubled each time."""

    def __init__(self, in_channels: int, channels: int = 64) -> None:
        widths = [in_channels, *(channels * 2**place for place in range(DEPTH))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2, inplace=True)]
        super().__init__(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 4, 2, 1)))


class Opponent:
    """A discriminator and its own Adam, of rate ``lr`` that falls by ``poly``. ``running`` averages the share of
    patches that it tells right and its loss, per ``updates``."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        lr: float,
        betas: tuple[float, float],
        poly: float,
        device: torch.device | None = None,
    ) -> None:
        self.network = PatchDiscriminator(in_channels, channels).to(device)
        distributed.as_first([*self.network.parameters(), *self.network.buffers()])
        self.lr, self.poly = lr, poly
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr, betas)
        self.running = torch.zeros(2, device=device)
        self.updates = 0

    def fooled(self, maps: Tensor) -> Tensor:
        """The loss of the network whose ``maps``, of unlabelled pictures, should be taken for labelled ones'. The
        discriminator gets no gradient."""
        self.network.requires_grad_(False)
        logits = self._look(maps)
        self.network.requires_grad_(True)
        return F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))

    def learn(self, labelled: Tensor, unlabelled: Tensor) -> Tensor:
        """Accumulates its gradient; the maps get none. Returns its loss."""
        right = []
        losses = []
        for maps, truth in ((labelled, 0.0), (unlabelled, 1.0)):
            logits = self._look(maps.detach())
            loss = F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))
            loss.backward()
            losses.append(loss.detach())
            right.append(((logits.detach() > 0) == bool(truth)).float().mean())
        total = torch.stack(losses).sum()
        self.running.lerp_(distributed.mean(torch.stack([torch.stack(right).mean(), total])), 1 - MEMORY)
        self.updates += 1
        return total

    def update(self, done: float) -> None:
        """``done``: the share of the training that is behind."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * max(0.0, 1 - done) ** self.poly
        distributed.average_gradients(self.network.parameters())
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    @property
    def figures(self) -> Tensor:
        """(2,): its running accuracy and loss."""
        return self.running / (1 - MEMORY ** max(self.updates, 1))

    def collapse(self) -> str:
        """What is wrong with it, if anything."""
        accuracy, loss = self.figures.tolist()
        if self.updates < SETTLED or CHANCE < accuracy < SURE:
            return ""
        if accuracy >= SURE:
            return f"tells {accuracy:.0%} of the patches apart (loss {loss:.2g}), so that fooling it is hopeless"
        guess = 2 * math.log(2)
        return f"tells {accuracy:.0%} of the patches apart (loss {loss:.2g}, {guess:.2g} by guessing): no signal"

    def _look(self, maps: Tensor) -> Tensor:
        """Half of the batches are mirrored; full precision, since its losses are small."""
        if min(maps.shape[-2:]) < SMALLEST:
            height, width = maps.shape[-2:]
            raise ValueError(
                f"maps of {height}x{width} are smaller than the {SMALLEST}x{SMALLEST} of a discriminator's patch; "
                "train on larger pictures"
            )
        if torch.rand(()) < 0.5:
            maps = maps.flip(-1)
        with torch.autocast(maps.device.type, enabled=False):
            return self.network(maps.float())

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "running": self.running,
            "updates": self.updates,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.running.copy_(state["running"])
        self.updates = state["updates"]
