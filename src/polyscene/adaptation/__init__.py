"""What one training step does with the batches of all sources: one file a method. ``supervised`` learns from labels
alone; the others also from the sources under ``data.target``, whose labels are never read."""

from polyscene import parts

METHODS = {
    "supervised": "polyscene.adaptation.supervised:Supervised",
}

__getattr__ = parts.exports(METHODS)
