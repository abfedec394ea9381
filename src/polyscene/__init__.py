"""Polyscene: one network sees every facet of a scene, made consistent in 3D."""

from polyscene import parts

__version__ = "0.1.0"

_PUBLIC = {
    "load": "polyscene.predict:load",
    "Predictor": "polyscene.predict:Predictor",
    "Scene": "polyscene.predict:Scene",
    "create_model": "polyscene.model:create_model",
    "MultiTaskModel": "polyscene.model:MultiTaskModel",
}

__getattr__ = parts.exports(_PUBLIC)
