from __future__ import annotations

import torch
from torch import Tensor

from polyscene.convert.base import Converter, Source, State, joined, prefixed
from polyscene.decoders.blocks import resize
from polyscene.model import MultiTaskModel, create_model
from polyscene.types import Predictions

ENCODERS = {"ViT-B/16": "vit_base_patch16_384", "ViT-L/16": "vit_large_patch16_384"}
PATCH = 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what the reference's images are normalised with
SOFTMAX = "adds the same to the scores of every key, which the softmax cancels"
UNREAD = "the reference computes it for nothing"


class InvPT(Converter):
    """prismformore/Multi-Task-Transformer, InvPT on ViT-B/16 or ViT-L/16.

    ``config``: ``spatial_dim``, patches along the height and width of each level; ``embed_dim`` and
    ``PRED_OUT_NUM_CONSTANT`` (512 and 64 unless given). ``backbone`` begins with ViT-B/16 or ViT-L/16.
    """

    mark = "multi_task_decoder.invpt."

    def build(self) -> MultiTaskModel:
        config = self.meta["config"]
        preliminary = config.get("embed_dim", 512)
        channels = preliminary + config.get("PRED_OUT_NUM_CONSTANT", 64)
        return create_model(
            list(self.tasks.values()),
            {"name": vit_of(self.meta["backbone"]), "img_size": [PATCH * side for side in config["spatial_dim"][-1]]},
            {"name": "invpt", "preliminary": preliminary, "channels": channels},
        )

    def state(self, source: Source) -> State:
        source.drop("multi_task_decoder.invpt.redu_chan.0.", UNREAD)
        source.drop("multi_task_decoder.invpt.norm_mt.", UNREAD)
        source.drop("multi_task_decoder.invpt.invpt_stages.0.blocks.0.attn.fuse_attn.", UNREAD)
        source.drop("multi_task_decoder.scale_embed.2.", UNREAD)
        for stage in range(3):
            attention = f"multi_task_decoder.invpt.invpt_stages.{stage}.blocks.0.attn."
            source.drop(f"{attention}proj_k.bias", SOFTMAX)
            source.drop(f"{attention}fuse_attn.bias", SOFTMAX)
        state = colours()
        state |= prefixed("encoder.net.", source.under("backbone."))
        state |= prefixed("decoder.", self._entry(source))
        state |= prefixed("decoder.entries.1.skips.0.conv.", source.under("multi_task_decoder.scale_embed.0."))
        state |= prefixed("decoder.entries.0.skips.1.conv.", source.under("multi_task_decoder.scale_embed.1."))
        for stage in range(3):
            state |= prefixed("decoder.", self._stage(source, stage))
        state |= prefixed("decoder.", self._exit(source))
        for theirs, ours in self.ours.items():
            state |= prefixed(f"heads.{ours}.project.", source.under(f"heads.{theirs}.linear_pred."))
        return state

    def outputs(self, predictions: Predictions) -> dict[str, Tensor]:
        """``final_*`` and ``inter_*``."""
        (early,) = predictions.auxiliary
        maps = {}
        for theirs, ours in self.ours.items():
            final = predictions.final[ours].flatten(0, 1)
            maps[f"final_{theirs}"] = final
            maps[f"inter_{theirs}"] = resize(early.maps[ours].flatten(0, 1), final.shape[-2:])
        return maps

    def _entry(self, source: Source) -> State:
        """Preliminary decoders, whose tasks we keep side by side in one tensor."""
        state: State = {}
        for place in range(2):
            name = "multi_task_decoder.preliminary_decoder.{}.{}.{}."
            convs = [source.under(name.format(theirs, place, "conv")) for theirs in self.ours]
            norms = [source.under(name.format(theirs, place, "bn1")) for theirs in self.ours]
            state |= prefixed(f"preliminary.{place}.0.", joined(convs))
            state |= prefixed(f"preliminary.{place}.1.", joined(norms))
        for theirs, ours in self.ours.items():
            state |= prefixed(f"initial.{ours}.", source.under(f"multi_task_decoder.intermediate_head.{theirs}."))
            state |= prefixed(f"mix.{ours}.", source.under(f"multi_task_decoder.invpt.mix_proj.{theirs}.0."))
        return state

    def _stage(self, source: Source, stage: int) -> State:
        theirs, ours = f"multi_task_decoder.invpt.invpt_stages.{stage}.", f"stages.{stage}."
        block = f"{theirs}blocks.0."
        queries = [f"{block}attn.conv_proj_q.{place}." for place in range(len(self.tasks))]
        state = prefixed(f"{ours}halve.", joined([source.under(f"{name}conv.") for name in queries]))
        state |= prefixed(f"{ours}halve_norm.", joined([source.under(f"{name}bn.") for name in queries]))
        named = {"norm1": "norm1", "norm2": "norm2", "mlp.fc1": "widen", "mlp.fc2": "narrow"}
        named |= {"attn.proj_q": "query", "attn.proj_k": "key", "attn.proj_v": "value", "attn.proj": "out"}
        for name, own in named.items():
            state |= prefixed(f"{ours}{own}.", source.under(f"{block}{name}."))
        if stage:
            state[f"{ours}hear.weight"] = source.take(f"{block}attn.fuse_attn.weight")[:, :, 0, 0]
            parts = {1: "conv1", 2: "norm1", 4: "conv2", 5: "norm2"}
            for place, task in enumerate(self.ours.values()):
                for part, own in parts.items():
                    found = source.under(f"{theirs}patch_embed.{place}.proj.{part}.")
                    state |= prefixed(f"entries.{stage - 1}.enlarge.{task}.{own}.", found)
        return state

    def _exit(self, source: Source) -> State:
        """The biases of the projections say the same as the first norm's, that of the convolution the same as the mean
        of the norm that follows."""
        name = "multi_task_decoder.invpt."
        state: State = {}
        for stage in range(3):
            state |= prefixed(f"norms.{stage}.", source.under(f"{name}norm_mts.{stage}."))
        biases = []
        for place, (theirs, ours) in enumerate(self.ours.items()):
            for stage in (1, 2):
                weight = source.take(f"{name}redu_chan.{stage}.{place}.weight")
                state[f"gather.{ours}.widen.{stage - 1}.weight"] = weight
            first, second = (source.take(f"{name}redu_chan.{stage}.{place}.bias") for stage in (1, 2))
            biases.append(first + second)
            conv, norm = source.under(f"{name}mt_proj.{theirs}.0."), source.under(f"{name}mt_proj.{theirs}.1.")
            state[f"gather.{ours}.conv.weight"] = conv["weight"]
            state |= prefixed(f"gather.{ours}.norm.", {**norm, "running_mean": norm["running_mean"] - conv["bias"]})
        state["norms.0.bias"] = state["norms.0.bias"] + torch.cat(biases)
        return state


def vit_of(backbone: str) -> str:
    """timm's name of what a description begins with. ``ValueError`` if it is none that we know."""
    for known, name in ENCODERS.items():
        if backbone.startswith(known):
            return name
    raise ValueError(f"backbone {backbone!r} is none of {', '.join(ENCODERS)}")


def colours() -> State:
    """The encoder's normalisation."""
    return {f"encoder.{name}": torch.tensor(values)[:, None, None] for name, values in (("mean", MEAN), ("std", STD))}
