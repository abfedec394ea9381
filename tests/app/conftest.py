"""One server for all tests of the page, with two tiny networks."""

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("gradio", reason="the web page needs gradio: pip install 'polyscene[app]'")

from polyscene.app.desk import Desk
from polyscene.app.server import Running
from polyscene.app.upload import Limits
from polyscene.model import create_model
from polyscene.predict import Predictor
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation

CLASSES = ("floor", "wall", "chair")


@pytest.fixture(scope="session")
def predictors() -> dict[str, Predictor]:
    torch.manual_seed(0)
    tasks = [SemanticSegmentation(classes=CLASSES), Depth(), Normals(), Edges()]
    whole = Predictor(create_model(tasks, encoder="tf_efficientnet_lite0"), size=(64, 96), device="cpu")
    flat = Predictor(create_model([Edges()], encoder="tf_efficientnet_lite0"), size=(64, 96), device="cpu")
    return {"whole": whole, "flat": flat}


@pytest.fixture(scope="session")
def desk(predictors: dict[str, Predictor]) -> Desk:
    return Desk(predictors, Limits(megabytes=0.5, megapixels=4.0, side=128))


@pytest.fixture(scope="session")
def url(desk: Desk) -> Iterator[str]:
    with Running(desk) as address:
        yield address


@pytest.fixture(scope="session")
def photo() -> Callable[..., bytes]:
    """The bytes of a picture of blocks of colour, another one for each ``seed``."""

    def make(seed: int = 0, size: tuple[int, int] = (96, 72), kind: str = "png") -> bytes:
        blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC).save(buffer, kind)
        return buffer.getvalue()

    return make
