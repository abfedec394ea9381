"""Decoders: a pyramid of features in, one feature map a task out. One file a method."""

from polyscene import parts

DECODERS = {
    "atrc": "polyscene.decoders.atrc:Atrc",
    "invpt": "polyscene.decoders.invpt:InvPT",
    "dense_mtl": "polyscene.decoders.dense_mtl:DenseMTL",
    "mti_net": "polyscene.decoders.mti_net:MtiNet",
    "multi_head": "polyscene.decoders.multi_head:MultiHead",
    "pad_net": "polyscene.decoders.pad_net:PadNet",
    "pap": "polyscene.decoders.pap:Pap",
    "psd": "polyscene.decoders.psd:Psd",
    "taskprompter": "polyscene.decoders.taskprompter:TaskPrompter",
    "vit_light": "polyscene.decoders.vit_light:ViTLight",
    "single_task": "polyscene.decoders.single_task:SingleTask",
    "deeplab": "polyscene.decoders.deeplab:DeepLab",
    "cross_stitch": "polyscene.decoders.cross_stitch:CrossStitch",
    "nddr": "polyscene.decoders.nddr:Nddr",
    "mtan": "polyscene.decoders.mtan:Mtan",
}

_BLOCKS = {  # usable alone
    "affinity_propagation": "polyscene.decoders.pap:AffinityPropagation",
    "distillation": "polyscene.decoders.pad_net:Distillation",
    "global_context": "polyscene.decoders.atrc_contexts:GlobalContext",
    "label_context": "polyscene.decoders.atrc_contexts:LabelContext",
    "local_context": "polyscene.decoders.atrc_contexts:LocalContext",
    "pattern_diffusion": "polyscene.decoders.psd:PatternDiffusion",
    "xTAM": "polyscene.decoders.xtam:xTAM",
}

__getattr__ = parts.exports({**DECODERS, **_BLOCKS})
