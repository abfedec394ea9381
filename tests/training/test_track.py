import sys
import types
from pathlib import Path

import pytest

from polyscene.training.track import Silent, open_tracker


@pytest.mark.parametrize(
    ("kind", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb"), ("trackio", "trackio")]
)
def test_a_missing_tracker_says_how_to_install_it(kind: str, module: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install {kind}.*polyscene\[track\]"):
        open_tracker(kind, "run", tmp_path, {}, 0)


def test_none_is_asked_for_by_default(tmp_path: Path) -> None:
    assert isinstance(open_tracker(None, "run", tmp_path, {}, 0), Silent)


def test_a_service_carries_on_the_run_of_the_name(tmp_path: Path, monkeypatch) -> None:
    calls = []
    double = types.ModuleType("wandb")
    double.init = lambda **options: calls.append(options)
    double.log = lambda figures, step: calls.append((step, figures))
    double.finish = lambda: calls.append("finished")
    monkeypatch.setitem(sys.modules, "wandb", double)
    tracker = open_tracker("wandb", "run", tmp_path, {"seed": 1}, 5)
    tracker.log(6, {"loss": 1.0})
    tracker.close()
    assert calls[0]["id"] == "run" and calls[0]["resume"] == "allow" and calls[0]["config"] == {"seed": 1}
    assert calls[1:] == [(6, {"loss": 1.0}), "finished"]
