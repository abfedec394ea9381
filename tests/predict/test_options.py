"""Tasks, sizes, kinds of file, patterns, focal lengths, batches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyscene.predict import Predictor, network_size, predict_paths
from polyscene.predict.predictor import Prepared
from polyscene.tasks.png import as_png


def test_only_some_tasks(predictor: Predictor, photo: np.ndarray) -> None:
    assert list(predictor.configure(tasks=["edges", "depth"])(photo).values) == ["depth", "edges"]
    with pytest.raises(ValueError, match="unknown task 'dept'; did you mean 'depth'"):
        predictor.configure(tasks=["dept"])


def test_the_size_that_is_seen(predictor: Predictor, photo: np.ndarray) -> None:
    assert network_size((480, 640), (512,)) == (384, 512) and network_size((480, 640), (96, 128)) == (96, 128)
    assert network_size((1, 1_000_000), (96, 128)) == (32, 384)  # no more pixels than others
    seen: list[tuple[int, ...]] = []
    look = predictor.network.model.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[-2:])))
    try:
        predictor.configure(size=[192])(photo)
        predictor.configure(size=[96, 256])(photo)  # as many pixels, at the picture's own aspect ratio
    finally:
        look.remove()
    assert seen == [(128, 192), (128, 192)]
    for wrong in ([16], [1, 2, 3]):
        with pytest.raises(ValueError, match="give H W, or the longer side"):
            predictor.configure(size=wrong)


def test_an_exported_network_of_one_size_refuses_another(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor.network, "any_size", False)
    with pytest.raises(ValueError, match="sees 96x64 only; export it again"):
        predictor.configure(size=[128])


def test_kinds_of_file(predictor: Predictor, photo: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    kinds = ["semseg", "depth", "normals", "edges"]
    written = predict_paths([tmp_path / "a.png"], tmp_path / "out", predictor, write=kinds).written[tmp_path / "a.png"]
    assert [path.name for path in written] == [f"a.{kind}.png" for kind in kinds]
    scene = predictor(photo)
    read = {kind: np.asarray(Image.open(path)) for kind, path in zip(kinds, written, strict=True)}
    assert (read["semseg"] == scene.semseg).all() and read["semseg"].dtype == np.uint8
    assert read["depth"].dtype == np.uint16
    np.testing.assert_allclose(read["depth"] / 1000, scene.depth, atol=6e-4)
    np.testing.assert_allclose(read["normals"] / 127.5 - 1, scene.normals, atol=5e-3)
    np.testing.assert_allclose(read["edges"] / 255, scene.edges, atol=3e-3)
    with pytest.raises(ValueError, match="unknown kind of file 'panel'; did you mean 'panels'"):
        predict_paths([tmp_path / "a.png"], tmp_path / "out", predictor, write=["panel"])


def test_depth_beyond_sixteen_bits_and_unknown_depth(predictor: Predictor) -> None:
    depth = np.array([[1.2345, 100.0, np.nan, np.inf, -1.0]], np.float32)
    assert as_png(predictor.network.tasks["depth"], depth).tolist() == [[1234, 65535, 0, 0, 0]]


def test_patterns_keep_folders_apart(predictor: Predictor, photo: np.ndarray, tmp_path: Path) -> None:
    for place in ("one/left", "one/right", "two/left", "two/._left"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.fromarray(photo).save(tmp_path / f"{place}.jpg")
    predict_paths([f"{tmp_path}/*/left.*"], tmp_path / "out", predictor, write=["depth"])
    made = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
    assert made == {"one/left.depth.png", "two/left.depth.png"}
    every = predict_paths([f"{tmp_path}/**/*.jpg", tmp_path], tmp_path / "all", predictor, write=["depth"])
    assert len(every.written) == 3 + 2  # and what was written before; hidden files are not looked at
    with pytest.raises(ValueError, match="no picture in"):
        predict_paths([f"{tmp_path}/*.nothing"], tmp_path / "out", predictor)


def test_the_focal_length_is_known_or_assumed_and_said_once(
    predictor: Predictor, photo: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        Image.fromarray(photo).save(tmp_path / f"{name}.png")
    predict_paths([tmp_path], tmp_path / "out", predictor, write=["npz"])
    assert capsys.readouterr().out.count("focal length assumed for 2 without EXIF") == 1
    predict_paths([tmp_path / "a.png"], tmp_path / "known", predictor, write=["npz"], focal=80.0)
    assert "assumed" not in capsys.readouterr().out
    with np.load(tmp_path / "known" / "a.npz") as stored:
        assert stored["intrinsics"].tolist() == [[80, 0, 47.5], [0, 80, 31.5], [0, 0, 1]]


@pytest.mark.parametrize("wrong", [{"focal": 0.0}, {"focal": -80.0}, {"frames": 0}], ids=str)
def test_counts_and_lengths_are_positive(predictor: Predictor, tmp_path: Path, wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} {value:g}: "):
        predict_paths([tmp_path], tmp_path / "out", predictor, **wrong)  # type: ignore[arg-type]


def test_a_batch_is_of_one_size_and_little_is_held_back(predictor: Predictor, photo: np.ndarray) -> None:
    batches: list[int] = []
    look = predictor.network.model.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    tall = np.ascontiguousarray(photo.swapaxes(0, 1))
    drawn: list[Prepared] = []

    def pictures():  # type: ignore[no-untyped-def]
        from polyscene.pictures import Picture

        for number in range(7):
            drawn.append(predictor.prepare(Picture(tall if number % 3 == 1 else photo, str(number))))
            yield drawn[-1]

    predictor.configure(batch=3)
    try:
        seen, held = [], 0
        for prepared, soft in predictor.look(pictures()):
            assert soft["depth"].shape[-2:] == prepared.small.shape[-2:]
            seen.append(prepared.picture.name)
            held = max(held, len(drawn) - len(seen))
    finally:
        look.remove()
    assert sorted(seen) == list("0123456") and batches == [3, 2, 2] and held < 6


def test_threads_of_torch_are_as_before(
    predictor: Predictor, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    before, during = torch.get_num_threads(), []
    look = predictor.network.model.register_forward_pre_hook(lambda *_: during.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        for wants in (True, False):
            monkeypatch.setattr(predictor.network, "wants_threads", wants)
            predict_paths([tmp_path / "a.png"], tmp_path / "out", predictor, write=["depth"])
        assert during == [2, 1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
        look.remove()


def test_order_is_kept_whatever_the_size(predictor: Predictor, photo: np.ndarray) -> None:
    tall = np.ascontiguousarray(photo.swapaxes(0, 1))
    scenes = predictor([photo, tall, photo[::-1].copy(), tall])
    assert [scene.image.shape[:2] for scene in scenes] == [(64, 96), (96, 64), (64, 96), (96, 64)]
    assert (scenes[2].image == photo[::-1]).all()
