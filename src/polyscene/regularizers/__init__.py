"""Regularizers: training-only branches over shared features and cameras, gone at inference."""

from polyscene import parts

REGULARIZERS: dict[str, str] = {}

__getattr__ = parts.exports(REGULARIZERS)
