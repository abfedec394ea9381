"""From pictures to ``Scene``s: in Python ``load(...)(picture)``, on the command line ``polyscene predict``."""

from polyscene import parts

_PUBLIC = {
    "BadPicture": "polyscene.pictures:BadPicture",
    "Manifest": "polyscene.predict.manifest:Manifest",
    "Network": "polyscene.predict.networks:Network",
    "Outcome": "polyscene.predict.command:Outcome",
    "Predictor": "polyscene.predict.predictor:Predictor",
    "Scene": "polyscene.scene:Scene",
    "load": "polyscene.predict.predictor:load",
    "network_size": "polyscene.predict.predictor:network_size",
    "predict_paths": "polyscene.predict.command:predict_paths",
    "predict_shard": "polyscene.predict.command:predict_shard",
}

__getattr__ = parts.exports(_PUBLIC)
