"""Checkpoints of public reference code, as models of ours. One file a model family."""

from polyscene import parts

CONVERTERS = {
    "atrc": "polyscene.convert.atrc:Atrc",
    "cross_stitch": "polyscene.convert.cross_stitch:CrossStitch",
    "mtan": "polyscene.convert.mtan:Mtan",
    "nddr": "polyscene.convert.nddr:Nddr",
    "dense_mtl": "polyscene.convert.dense_mtl:DenseMTL",
    "invpt": "polyscene.convert.invpt:InvPT",
    "mti_net": "polyscene.convert.mti_net:MtiNet",
    "multi_head": "polyscene.convert.multi_head:MultiHead",
    "pad_net": "polyscene.convert.pad_net:PadNet",
    "pap": "polyscene.convert.pap:Pap",
    "taskprompter": "polyscene.convert.taskprompter:TaskPrompter",
}

__getattr__ = parts.exports(CONVERTERS)
