"""The configuration: one YAML file, checked whole before torch is imported.

``load`` reads a file and overrides; ``check`` then judges what only torch and timm can. ``schema`` holds the models,
whose fields are the constructor keywords of what they build.
"""

from polyscene.config.check import check
from polyscene.config.load import dump, load
from polyscene.config.problems import ConfigError, Problem
from polyscene.config.schema import (
    Augment,
    Config,
    Data,
    Group,
    Model,
    Optimiser,
    Part,
    Schedule,
    Source,
    Training,
)

__all__ = [
    "Augment",
    "Config",
    "ConfigError",
    "Data",
    "Group",
    "Model",
    "Optimiser",
    "Part",
    "Problem",
    "Schedule",
    "Source",
    "Training",
    "check",
    "dump",
    "load",
]
