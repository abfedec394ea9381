"""Decoders: a pyramid of features in, one feature map a task out. One file a method."""

from polyscene import parts

DECODERS = {
    "multi_head": "polyscene.decoders.multi_head:MultiHead",
    "single_task": "polyscene.decoders.single_task:SingleTask",
}

__getattr__ = parts.exports(DECODERS)
