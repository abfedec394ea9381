"""Everything that a step of training changes, and how: model, optimiser, average, scaler."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from polyscene.balancing import base as balancing
from polyscene.config import Training
from polyscene.model import MultiTaskModel
from polyscene.training import distributed, optim
from polyscene.training.blocks import blocks, recompute
from polyscene.training.checkpoint import BadCheckpoint
from polyscene.training.ema import Ema
from polyscene.training.schedule import factor
from polyscene.training.step import Step
from polyscene.types import Batch

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
NORMS = (nn.modules.batchnorm._BatchNorm,)


class Trainer:
    """``update`` is a pure function of the state, the step's number and its batches: torch is seeded from both
    ``seed`` and the number, so that what was drawn before does not matter."""

    def __init__(
        self, model: MultiTaskModel, method: Step, settings: Training, device: torch.device, seed: int
    ) -> None:
        self.method, self.settings, self.device, self.seed = method, settings, device, seed
        self.model = model
        model.to(device)
        if settings.channels_last:
            to_channels_last(self.model)
        if settings.sync_norm:
            distributed.join_norms(model)
        method.attach(model)
        self.frozen = _encoder_norms(self.model) if settings.freeze_norm else []
        for norm in self.frozen:
            norm.requires_grad_(False)
        self.balancing = balancing.make(settings.balancing, list(model.tasks))
        beside = {
            f"{prefix}.{name}": parameter
            for prefix, owner in (("step", method), ("balancing", self.balancing))
            for name, parameter in owner.parameters().items()
        }
        for parameter in beside.values():
            parameter.data = parameter.data.to(device)
        optim.freeze(dict(model.named_parameters()) | beside, settings.optimiser)
        self.frozen += [norm for norm in _norms_at_rest(self.model) if norm not in self.frozen]
        self.ema = Ema(self.model, settings.ema) if settings.ema else None
        if settings.recompute:
            recompute(model)
        if settings.compile:
            model.compile()
        if settings.sharded:
            self._shard()
        self.named = dict(model.named_parameters()) | beside
        own = {name: distributed.own(parameter) for name, parameter in self.named.items()}
        self.whose = {own[name]: each for name, each in self.named.items() if each.requires_grad}
        self.trained = list(self.whose.values())
        self.optimiser = optim.build(own, settings.optimiser)
        auto = "off" if model.encoder.depthwise else "bf16"
        self.autocast = auto if settings.autocast == "auto" else settings.autocast
        if settings.autocast == "fp16" and device.type != "cuda":
            raise ValueError(f"training.autocast: fp16 needs a cuda device, this run is on {device.type}; use bf16")
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.autocast == "fp16")

    def _shard(self) -> None:
        """``ValueError`` for what needs whole weights."""
        if self.balancing.by_task:
            raise ValueError(
                f"training.sharded: balancing {self.settings.balancing.name} differentiates task by task, which needs "
                "whole weights; leave out sharded, or take fixed, uncertainty or dwa"
            )
        if self.settings.autocast == "fp16":
            raise ValueError("training.sharded: fp16 needs whole gradients to scale them; use autocast: bf16")
        for model in (self.model, self.ema.model if self.ema else None):
            if model is not None:
                beside = model.regularizer.parameters() if model.regularizer else ()
                distributed.shard(model, blocks(model), beside)

    @property
    def best_model(self) -> MultiTaskModel:
        """The one to judge and to use: the average where there is one."""
        return self.ema.model if self.ema else self.model

    def update(self, step: int, steps: int, micro: list[dict[str, Batch]]) -> tuple[dict[str, Tensor], Tensor]:
        """One update from ``micro`` batches accumulated. Returns the losses by name, averaged over them, and the norm
        of the gradient before clipping (0 where it is not clipped), of all ranks; nothing waits for the device."""
        self._to_training_mode()
        self.model.progress = step / steps
        optim.set_rate(self.optimiser, self.rate(step, steps))
        losses: dict[str, Tensor] = {}
        for number, batches in enumerate(micro):
            torch.manual_seed((self.seed * 1_000_003 + step * len(micro) + number + (distributed.rank() << 40)) % 2**63)
            with self._autocast():
                report = self.method(self.model, {name: self.place(batch) for name, batch in batches.items()})
            self.balancing.backward(report, lambda loss: self.scaler.scale(loss / len(micro)), self.trained)
            for name, loss in {"loss": report.total, **report.by_task, **report.parts}.items():
                part = loss.detach() / len(micro)
                losses[name] = losses[name] + part if name in losses else part
        distributed.hand_over(self.whose)
        means = torch.stack(list(losses.values()))
        distributed.average_gradients(self.trained, [means, *distributed.statistics(self.model)])
        norm = self._clip()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(self.model)
        self.method.updated(self.model, (step + 1) / steps)
        return dict(zip(losses, means, strict=True)), norm

    def rate(self, step: int, steps: int) -> float:
        return self.settings.optimiser.lr * factor(self.settings.schedule, step, steps)

    def place(self, batch: Batch) -> Batch:
        """On the device, images in the memory format of the network."""
        batch = batch.to(self.device, non_blocking=True)
        if not self.settings.channels_last:
            return batch
        images = batch.images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return replace(batch, images=images.unflatten(0, batch.images.shape[:2]))

    def finite(self) -> bool:
        """Whether all that is trained still is."""
        norms = torch.stack(list(torch._foreach_norm([parameter.detach() for parameter in self.whose])))
        return not distributed.greatest((~norms.isfinite()).any().to(torch.uint8))

    def state(self) -> dict[str, Any]:
        """All of it, for ``checkpoint.save_state``. Tensors are the live ones."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self._slots(self.optimiser.state_dict(), distributed.as_shard),
            "ema": {"model": self.ema.model.state_dict(), "updates": self.ema.updates} if self.ema else None,
            "scaler": self.scaler.state_dict(),
            "step": self.method.state_dict(),
            "balancing": self.balancing.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """``BadCheckpoint`` if it is the state of another model."""
        try:
            _load(self.model, state["model"])
            self.optimiser.load_state_dict(self._slots(state["optimiser"], _as_strided))
            if self.ema:
                _load(self.ema.model, state["ema"]["model"])
                self.ema.updates = state["ema"]["updates"]
            self.scaler.load_state_dict(state["scaler"])
            self.method.load_state_dict(state["step"])
            self.balancing.load_state_dict(state["balancing"])
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise BadCheckpoint(f"the checkpoint does not fit this model: {error}") from error

    def _slots(self, state: dict[str, Any], change: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Any]:
        """A state of the optimiser, what it remembers of each parameter changed by ``change(slot, parameter)``."""
        order = [self.whose[mine] for group in self.optimiser.param_groups for mine in group["params"]]
        slots = {
            place: {
                name: change(slot, order[place]) if isinstance(slot, Tensor) else slot for name, slot in kept.items()
            }
            for place, kept in state["state"].items()
        }
        return {**state, "state": slots}

    def _to_training_mode(self) -> None:
        self.model.train()
        for norm in self.frozen:
            norm.eval()

    def _autocast(self) -> AbstractContextManager[None]:
        kind = TYPES.get(self.autocast)
        return torch.autocast(self.device.type, dtype=kind, enabled=kind is not None)

    def _clip(self) -> Tensor:
        if self.settings.optimiser.clip is None:
            return torch.zeros((), device=self.device)
        self.scaler.unscale_(self.optimiser)
        found = [(mine, mine.grad, mine is each) for mine, each in self.whose.items() if mine.grad is not None]
        norm = distributed.norm(*([grad for _, grad, whole in found if whole is kind] for kind in (True, False)))
        nn.utils.clip_grads_with_norm_([mine for mine, *_ in found], self.settings.optimiser.clip, norm, foreach=True)
        return torch.zeros_like(norm) if self.scaler.is_enabled() else norm  # fp16's overflows are the scaler's affair


def _load(model: nn.Module, state: dict[str, Tensor]) -> None:
    model.load_state_dict(distributed.as_shards(state, model.state_dict()))


def _as_strided(slot: Tensor, parameter: Tensor) -> Tensor:
    """What a rank owns of it, strided as the parameter, or foreach is slow."""
    mine, like = (distributed.owned(each) for each in (distributed.as_shard(slot, parameter), parameter))
    return torch.empty_like(like, dtype=mine.dtype).copy_(mine) if mine.shape == like.shape else mine


def to_channels_last(model: nn.Module) -> None:
    """Only the weights of 2D convolutions: 3D ones cannot be."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _norms_at_rest(model: nn.Module) -> list[nn.Module]:
    """Batch norms that have parameters, none of which is trained: statistics that went on moving would change what the
    frozen part of the network says."""
    norms = (part for part in model.modules() if isinstance(part, NORMS) and part.affine)
    return [norm for norm in norms if not any(parameter.requires_grad for parameter in norm.parameters())]


def _encoder_norms(model: nn.Module) -> list[nn.Module]:
    """Batch norms that came with the encoder; those of decoder and heads, and what a method puts between the stages of
    the encoder, are new and must learn their statistics."""
    own = [part for name, part in model.named_modules() if name.startswith("encoder.") and ".net." in name]
    return [part for part in own if isinstance(part, NORMS)]
