from pathlib import Path

import torch

from polyscene.data.loader import Loader
from polyscene.data.rooms.dataset import Rooms
from polyscene.model import create_model
from polyscene.training import samples
from polyscene.transforms import Centre


def test_a_batch_larger_than_the_panel_is_cut_with_its_cameras(tmp_path: Path) -> None:
    rooms = Rooms(1, 1, (32, 48), root=tmp_path, path=samples.HOW_MANY + 2)
    rooms.prepare()
    model = create_model(list(rooms.tasks.values()), encoder="resnet10t", canonical_focal=1.0)
    loader = Loader(rooms, rooms.tasks, len(rooms), Centre((32, 48)), seed=0, shuffle=False)
    samples.draw(model, loader, torch.device("cpu"), tmp_path / "panel.png")
    assert (tmp_path / "panel.png").stat().st_size > 1000
