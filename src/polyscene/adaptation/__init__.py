"""What one training step does with the batches of all sources: one file a method. ``supervised`` learns from labels
alone; the others also from the sources under ``data.target``, whose labels are never read."""

from polyscene import parts

METHODS = {
    "supervised": "polyscene.adaptation.supervised:Supervised",
    "self_training": "polyscene.adaptation.self_training:SelfTraining",
    "adversarial": "polyscene.adaptation.adversarial:Adversarial",
    "consistent": "polyscene.adaptation.consistent:Consistent",
    "retaining": "polyscene.adaptation.retaining:Retaining",
    "self_supervised_depth": "polyscene.adaptation.self_supervised_depth:SelfSupervisedDepth",
}

__getattr__ = parts.exports(METHODS)
