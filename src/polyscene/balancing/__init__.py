"""How the losses of several tasks become one gradient: by weights that are fixed or learned (``weighing``), or by what
the tasks' gradients agree on (``aggregating``)."""

from polyscene import parts

BALANCERS = {
    "fixed": "polyscene.balancing.weighing:Fixed",
    "uncertainty": "polyscene.balancing.weighing:Uncertainty",
    "dwa": "polyscene.balancing.weighing:DynamicWeightAverage",
    "pcgrad": "polyscene.balancing.aggregating:PCGrad",
    "cagrad": "polyscene.balancing.aggregating:CAGrad",
    "mgda": "polyscene.balancing.aggregating:MGDA",
    "nash_mtl": "polyscene.balancing.aggregating:NashMTL",
    "aligned_mtl": "polyscene.balancing.aggregating:AlignedMTL",
    "upgrad": "polyscene.balancing.aggregating:UPGrad",
}

__getattr__ = parts.exports(BALANCERS)
