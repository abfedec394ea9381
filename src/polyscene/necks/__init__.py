"""Necks: features in, features out; they may look at the images, the other views and the cameras."""

from polyscene import parts

NECKS: dict[str, str] = {
    "cross_view": "polyscene.necks.cross_view:CrossView",
    "plain_branch": "polyscene.necks.plain_branch:PlainBranch",
}

__getattr__ = parts.exports(NECKS)
