"""Checkpoints of public reference code, as models of ours. One file a model family."""

from polyscene import parts

CONVERTERS = {
    "atrc": "polyscene.convert.atrc:Atrc",
    "dense_mtl": "polyscene.convert.dense_mtl:DenseMTL",
    "invpt": "polyscene.convert.invpt:InvPT",
    "mti_net": "polyscene.convert.mti_net:MtiNet",
    "taskprompter": "polyscene.convert.taskprompter:TaskPrompter",
}

__getattr__ = parts.exports(CONVERTERS)
