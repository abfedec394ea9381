"""Regularizers: training-only branches over shared features and cameras, gone at inference."""

from polyscene import parts

REGULARIZERS = {
    "triplane": "polyscene.regularizers.triplane:TriplaneRegularizer",
    "plain_head": "polyscene.regularizers.plain_head:PlainHead",
}

__getattr__ = parts.exports(REGULARIZERS)
