"""Necks: features in, features out; they may look at the images, the other views and the cameras."""

from polyscene import parts

NECKS: dict[str, str] = {}

__getattr__ = parts.exports(NECKS)
