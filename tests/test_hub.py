"""Networks of others: saved with a card, fetched only when asked for."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

import polyscene
from polyscene import card, info
from polyscene.model import MultiTaskModel
from polyscene.tasks import Depth, SemanticSegmentation

PICTURE = torch.rand(1, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model() -> MultiTaskModel:
    torch.manual_seed(0)
    tasks = [SemanticSegmentation(classes=("floor", "wall")), Depth()]
    return polyscene.create_model(tasks, encoder="tf_efficientnet_lite0").eval()


def alike(one: MultiTaskModel, other: MultiTaskModel) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(one.infer(PICTURE).values(), other.infer(PICTURE).values(), strict=True)
    )


def test_saved_with_a_card_and_loaded_again(model: MultiTaskModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, name="attic", licence="MIT", size=(64, 64), data={"mine": {"name": "folder"}})
    assert alike(MultiTaskModel.from_pretrained(tmp_path), model)
    told = (tmp_path / card.FILE).read_text()
    assert told.startswith("---\nlicense: mit\n") and "# attic" in told and "floor, wall" in told and "`mine`" in told
    assert f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters" in told


def test_a_card_says_what_is_not_known(model: MultiTaskModel) -> None:
    told = card.write(model.describe(), {})
    assert "license: other" in told and "Not stated; ask whoever gave you these weights" in told


def test_what_was_judged_is_a_table() -> None:
    test = {"on": "A kitchen", "rows": [{"who": "it", "AbsRel": 0.1526}, {"who": "constant", "mIoU": 2.5}]}
    assert card.judged(test).splitlines()[2:] == [
        "|  | AbsRel | mIoU |",
        "| --- | --- | --- |",
        "| it | 0.153 | – |",
        "| constant | – | 2.5 |",
    ]


def test_the_hub_is_asked_only_by_its_name(model: MultiTaskModel, tmp_path: Path, monkeypatch: Any) -> None:
    model.save_pretrained(tmp_path / "held")
    asked = []

    def snapshot(repo: str, revision: str | None = None, **_: Any) -> str:
        asked.append((repo, revision))
        return str(tmp_path / "held")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert alike(polyscene.load("hub:someone/attic", device="cpu").model, model)
    assert alike(MultiTaskModel.from_pretrained("someone/attic", revision="v1"), model)
    with pytest.raises(FileNotFoundError, match="no weights at someone/attic"):
        polyscene.load("someone/attic")
    assert asked == [("someone/attic", None), ("someone/attic", "v1")]


def test_without_a_connection_the_remedy_is_told(monkeypatch: Any) -> None:
    def offline(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(FileNotFoundError, match=r"hub:someone/attic cannot be had .* check the name"):
        polyscene.load("hub:someone/attic")


def test_pushed_with_its_card(model: MultiTaskModel, monkeypatch: Any) -> None:
    done: dict[str, Any] = {}
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, repo, **kind: done.update(kind) or repo)

    def upload(self: Any, repo_id: str, folder_path: str, **_: Any) -> None:
        done["files"] = sorted(path.name for path in Path(folder_path).iterdir())

    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    assert model.push_to_hub("someone/attic", private=True, licence="MIT") == "someone/attic"
    assert done["private"] and done["files"] == ["README.md", "model.json", "model.safetensors"]


def test_starter_comes_with_the_package() -> None:
    assert info.there("starter") and info.locate("starter") == info.STARTER
