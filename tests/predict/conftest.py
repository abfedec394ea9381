import numpy as np
import pytest
import torch

from polyscene.model import create_model
from polyscene.predict import Predictor
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation

PHOTO = np.kron(np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """(64, 96, 3): as large as the network sees it, so that nothing is resized."""
    return PHOTO


@pytest.fixture(scope="session")
def network() -> Predictor:
    torch.manual_seed(0)
    tasks = [SemanticSegmentation(classes=("floor", "wall", "chair")), Depth(), Normals(), Edges()]
    return Predictor(create_model(tasks, encoder="tf_efficientnet_lite0"), size=(64, 96), device="cpu")


@pytest.fixture
def predictor(network: Predictor) -> Predictor:
    return network.configure()
