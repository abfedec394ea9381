"""Decoders: a pyramid of features in, one feature map a task out. One file a method."""

from polyscene import parts

DECODERS = {
    "atrc": "polyscene.decoders.atrc:Atrc",
    "invpt": "polyscene.decoders.invpt:InvPT",
    "dense_mtl": "polyscene.decoders.dense_mtl:DenseMTL",
    "mti_net": "polyscene.decoders.mti_net:MtiNet",
    "multi_head": "polyscene.decoders.multi_head:MultiHead",
    "taskprompter": "polyscene.decoders.taskprompter:TaskPrompter",
    "vit_light": "polyscene.decoders.vit_light:ViTLight",
    "single_task": "polyscene.decoders.single_task:SingleTask",
}

_BLOCKS = {"xTAM": "polyscene.decoders.xtam:xTAM"}  # usable alone

__getattr__ = parts.exports({**DECODERS, **_BLOCKS})
