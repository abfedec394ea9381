from __future__ import annotations

import math

from torch import Tensor

from polyscene.convert.base import Converter, Source, State, joined, prefixed
from polyscene.convert.invpt import colours, vit_of
from polyscene.model import MultiTaskModel, create_model
from polyscene.types import Predictions

LEVELS = 4
UNREAD = "nobody reads the last prompts"


class TaskPrompter(Converter):
    """prismformore/Multi-Task-Transformer, TaskPrompter on ViT-B/16 or ViT-L/16.

    ``config``: ``embed_dim``, ``final_embed_dim``, ``chan_nheads``, ``use_ctr`` and ``prompt_len``, which is 1.
    ``input``: ``h`` and ``w`` of the pictures that it was built for. ``backbone`` begins with ViT-B/16 or ViT-L/16.
    """

    mark = "backbone.task_prompts"

    def build(self) -> MultiTaskModel:
        config, size = self.meta["config"], self.meta["input"]
        if config.get("prompt_len", 1) != 1:
            raise ValueError(
                f"prompt_len {config['prompt_len']}: only networks with one prompt a task can be converted"
            )
        return create_model(
            list(self.tasks.values()),
            {"name": vit_of(self.meta["backbone"]), "img_size": [size["h"], size["w"]]},
            {
                "name": "taskprompter",
                "width": config["embed_dim"],
                "channels": config["final_embed_dim"],
                "windows": math.isqrt(config["chan_nheads"]),  # a side
                "reweight": config["use_ctr"],
            },
        )

    def state(self, source: Source) -> State:
        state = colours() | {
            "encoder.prompts": source.take("backbone.task_prompts"),
            "encoder.position": source.take("backbone.pos_embed")[:, 1:],  # the first is of a class token, never added
        }
        state |= prefixed("encoder.patch_embed.", source.under("backbone.patch_embed."))
        state |= prefixed("encoder.norm.", source.under("backbone.norm."))
        state |= prefixed("encoder.layers.", _layers(source))
        for level in range(LEVELS):
            state |= prefixed(f"encoder.levels.{level}.", self._level(source, level))
        for theirs, ours in self.ours.items():
            convolution, norm = _conv_norm(source, f"heads.{theirs}.mt_proj.0.", f"heads.{theirs}.mt_proj.1.")
            state |= prefixed(f"decoder.merge.{ours}.conv.", convolution)
            state |= prefixed(f"decoder.merge.{ours}.norm.", norm)
            state |= prefixed(f"heads.{ours}.project.", source.under(f"heads.{theirs}.linear_pred."))
        return state

    def outputs(self, predictions: Predictions) -> dict[str, Tensor]:
        """``final_*``."""
        return {f"final_{theirs}": predictions.final[ours].flatten(0, 1) for theirs, ours in self.ours.items()}

    def _level(self, source: Source, level: int) -> State:
        """Tasks, and of each what it takes from places and from channels, stand side by side in one tensor."""
        decoded, first, convs, norms, final = [], [], [], [], []
        for task in self.tasks:
            fuse = f"backbone.fea_fuse.{level}.{task}."
            decoded += [source.under(f"backbone.fea_decode_{kind}.{level}.{task}.0.") for kind in ("spa", "chan")]
            first.append(source.under(f"{fuse}0."))
            convolution, norm = _conv_norm(source, f"{fuse}1.", f"{fuse}2.")
            convs.append(convolution)
            norms.append(norm)
            final.append(source.under(f"{fuse}4."))
        state: State = {}
        for place, states in {0: decoded, 1: first, 2: convs, 3: norms, 5: final}.items():
            state |= prefixed(f"fuse.{place}.", joined(states))
        if self.meta["config"]["use_ctr"]:
            for place in (0, 2):
                shares = [source.under(f"backbone.ctr_attn_conv.{level}.{task}.{place}.") for task in self.tasks]
                both = joined(shares)
                state |= prefixed(f"reweight.{place}.", {"weight": both["weight"][..., 0], "bias": both["bias"]})
        return state


def _layers(source: Source) -> State:
    """The ViT's blocks, in each of which are the reference's two layers between prompts and maps."""
    found = source.under("backbone.blocks.")
    last = max(int(key.partition(".")[0]) for key in found)
    state: State = {}
    for key, tensor in found.items():
        place, _, rest = key.partition(".")
        if place == str(last) and rest.startswith("attn.token_trans1."):
            source.dropped[f"backbone.blocks.{key}"] = UNREAD
        elif rest.startswith("attn.token_trans"):
            layer = "from_map" if rest.startswith("attn.token_trans1.") else "to_map"
            state[f"{place}.{layer}.{rest.rpartition('.')[2]}"] = tensor
        else:
            state[f"{place}.block.{rest}"] = tensor
    return state


def _conv_norm(source: Source, conv: str, norm: str) -> tuple[State, State]:
    """A convolution without its bias, and the norm after it, whose mean makes up for that."""
    convolution, after = source.under(conv), source.under(norm)
    bias = convolution.pop("bias")
    return convolution, {**after, "running_mean": after["running_mean"] - bias}
