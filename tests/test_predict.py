"""Every kind of input; what a Scene holds, saves and says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import polyscene
from polyscene import pictures
from polyscene.model import create_model
from polyscene.pictures import BadPicture
from polyscene.predict import Predictor, network_size, predict_paths
from polyscene.scene import Scene
from polyscene.tasks import Depth, Edges, Normals, SemanticSegmentation

CLASSES = ("floor", "wall", "chair")
RNG = np.random.default_rng(0)
PHOTO = np.kron(RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))  # 48 x 72


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    tasks = [SemanticSegmentation(classes=CLASSES), Depth(), Normals(), Edges()]
    return Predictor(create_model(tasks, encoder="tf_efficientnet_lite0"), size=(64, 96), device="cpu")


@pytest.fixture(scope="module")
def scene(predictor: Predictor) -> Scene:
    return predictor(PHOTO)


def test_a_scene_has_every_facet_at_the_pictures_own_size(scene: Scene) -> None:
    assert scene.image.shape == (48, 72, 3) and (scene.image == PHOTO).all()
    assert scene.semseg.shape == scene.depth.shape == scene.edges.shape == (48, 72)
    assert scene.normals.shape == (48, 72, 3)
    assert set(np.unique(scene.semseg)) <= {0, 1, 2} and np.issubdtype(scene.semseg.dtype, np.integer)
    assert (scene.depth > 0).all() and (scene.edges >= 0).all() and (scene.edges <= 1).all()
    np.testing.assert_allclose(np.linalg.norm(scene.normals, axis=-1), 1, atol=1e-5)
    assert scene.classes == {"semseg": CLASSES}
    assert scene.units == {"semseg": "class id", "depth": "m", "normals": "unit vector", "edges": "probability"}


def test_a_task_the_network_lacks_is_named_with_those_it_has(scene: Scene) -> None:
    with pytest.raises(AttributeError, match=r"no 'saliency'; its network sees: semseg, depth, normals, edges"):
        _ = scene.saliency
    assert {"depth", "edges"} <= set(dir(scene))


def test_all_kinds_of_input_give_the_same_scene(predictor: Predictor, scene: Scene, tmp_path: Path) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    tensor = torch.from_numpy(PHOTO).movedim(-1, 0)
    alike = [str(tmp_path / "photo.png"), tmp_path / "photo.png", Image.fromarray(PHOTO), PHOTO / 255, tensor]
    alike += [tensor.float() / 255, PHOTO.astype(np.uint16) * 257, np.dstack([PHOTO, np.full((48, 72), 255, np.uint8)])]
    seen = predictor(alike)
    assert isinstance(seen, list) and len(seen) == len(alike)
    for other in seen:
        assert (other.image == PHOTO).all()
        np.testing.assert_allclose(other.depth, scene.depth, rtol=1e-5)  # in batches sums go another way
    assert seen[0].name == "photo"


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    upright = Image.fromarray(PHOTO)
    turn = {  # what the camera did to the upright picture
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for step in turn.get(orientation, []):
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    assert (pictures.read(tmp_path / "turned.png").pixels == PHOTO).all()


def test_focal_length_comes_from_exif(predictor: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 43  # mm on 24 x 36 film: the focal length is about the diagonal
    Image.fromarray(PHOTO).save(tmp_path / "lens.jpg", exif=exif)
    lens = predictor(tmp_path / "lens.jpg")
    assert lens.camera == "EXIF"
    assert lens.intrinsics[0, 0] == pytest.approx(np.hypot(48, 72), rel=0.01)
    assert lens.intrinsics[:2, 2].tolist() == [35.5, 23.5]


def test_given_intrinsics_are_known_and_must_fit(predictor: Predictor) -> None:
    matrix = np.array([[60.0, 0, 30], [0, 61, 20], [0, 0, 1]])
    given = predictor(PHOTO, matrix)
    assert given.camera == "known" and np.allclose(given.intrinsics, matrix)
    with pytest.raises(ValueError, match="do not fit a picture of 72x48"):
        predictor(PHOTO, matrix * 10)


def test_alpha_lies_over_white_and_grey_is_repeated() -> None:
    clear = np.zeros((4, 5, 4), np.uint8)
    clear[:, 2:, 3] = 255
    pixels = pictures.read(Image.fromarray(clear)).pixels
    assert (pixels[:, :2] == 255).all() and (pixels[:, 2:] == 0).all()
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    for source in (grey, grey[..., None], torch.from_numpy(grey)[None], Image.fromarray(grey)):
        assert (pictures.read(source).pixels == grey[..., None]).all()


def test_palette_cmyk_and_sixteen_bit_files(tmp_path: Path) -> None:
    wide = (np.arange(20, dtype=np.uint16) * 3000).reshape(4, 5)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    expected = np.round(wide / 257).astype(int)
    assert np.abs(pictures.read(tmp_path / "wide.png").pixels.astype(int) - expected[..., None]).max() <= 1
    flat = Image.new("RGB", (6, 4), (10, 200, 30))
    flat.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    flat.convert("CMYK").save(tmp_path / "cmyk.tif")
    for name in ("palette.png", "cmyk.tif"):
        assert np.abs(pictures.read(tmp_path / name).pixels.astype(int) - (10, 200, 30)).max() <= 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.full((4, 5, 3), 300.0), "outside \\[0, 1\\]"),
        (np.full((4, 5, 3), np.nan), "outside"),
        (np.zeros((4, 5, 2), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
        (np.zeros((2, 4, 5, 3), np.uint8), "list\\(stack\\)"),
        (torch.zeros(2, 3, 4, 5), "list\\(stack\\)"),
        (np.zeros((4, 5, 3), np.int64), "of int64"),
        (Path("nowhere.jpg"), "nowhere.jpg: no such file"),
        (Path("."), "is a folder"),
    ],
)
def test_what_is_no_picture_is_refused(source: object, message: str) -> None:
    with pytest.raises(BadPicture, match=message):
        pictures.read(source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("picture", "trained", "expected"),
    [
        ((480, 640), (192, 256), (192, 256)),
        ((640, 480), (192, 256), (256, 192)),
        ((512, 512), (192, 256), (224, 224)),
        ((100, 4000), (192, 256), (32, 1408)),
    ],
)
def test_the_network_sees_the_whole_picture_at_its_own_scale(
    picture: tuple[int, int], trained: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert network_size(picture, trained) == expected


def test_points_lie_where_the_camera_sees_them(scene: Scene) -> None:
    flat = Scene(
        scene.image,
        {**scene.values, "depth": np.full((48, 72), 2.0, np.float32)},
        scene.tasks,
        scene.intrinsics,
    )
    points = flat.points()
    assert points.xyz.shape == points.colour.shape == (48 * 72, 3)
    np.testing.assert_allclose(points.xyz[:, 2], 2, rtol=1e-6)
    seen = points.xyz @ scene.intrinsics.T
    np.testing.assert_allclose(seen[:2, :2] / seen[:2, 2:], [[0, 0], [1, 0]], atol=1e-3)
    assert (points.colour[:72] == PHOTO[0]).all()
    assert flat.points(limit=100).xyz.shape == (100, 3)


@pytest.mark.parametrize("limit", [1, 50, 999, 4000])
def test_a_figure_takes_its_points_evenly(limit: int) -> None:
    from polyscene import pointcloud

    keep = np.ones((48, 72), bool)
    keep[:, :20] = False
    chosen = pointcloud.even(keep, limit)
    assert keep.reshape(-1)[chosen].all() and len(chosen) <= limit
    if limit >= 999:
        assert len(chosen) > 0.8 * min(limit, keep.sum())
        rows = np.unique(chosen // 72)
        assert np.ptp(np.diff(rows)) <= 1  # no gap wider than its neighbours by more than a pixel


def test_points_leave_out_jumps_of_depth(scene: Scene) -> None:
    depth = np.full((48, 72), 1.0, np.float32)
    depth[:, 36:] = 3.0
    stepped = Scene(scene.image, {**scene.values, "depth": depth}, scene.tasks, scene.intrinsics)
    kept = len(stepped.points().xyz)
    assert 48 * 60 < kept < 48 * 72
    columns = np.unique(np.round((stepped.points().xyz @ scene.intrinsics.T)[:, 0] / stepped.points().xyz[:, 2]))
    assert 35 not in columns and 36 not in columns and 20 in columns


def test_saved_and_loaded_a_scene_is_the_same(scene: Scene, tmp_path: Path) -> None:
    import trimesh

    panel, arrays, surface = scene.save(tmp_path / "deep" / "my.photo")
    assert [path.name for path in (panel, arrays, surface)] == ["my.photo.panel.png", "my.photo.npz", "my.photo.glb"]
    again = Scene.load(arrays)
    assert dict(again.tasks) == dict(scene.tasks) and again.camera == scene.camera
    for name, value in scene.values.items():
        np.testing.assert_array_equal(again.values[name], value)
    np.testing.assert_array_equal(again.intrinsics, scene.intrinsics)
    with Image.open(panel) as drawn:
        assert drawn.width > 240
    shape = trimesh.load(surface, force="mesh")
    assert len(shape.vertices) > 0 and shape.vertices[:, 2].max() < 0  # glTF: in front of the camera is -z


def test_a_sliver_of_a_picture_makes_a_panel_of_bounded_size_and_no_surface(scene: Scene, tmp_path: Path) -> None:
    thin = {name: value[:, :1].repeat(9, axis=0) for name, value in scene.values.items()}
    sliver = Scene(scene.image[:, :1].repeat(9, axis=0), thin, scene.tasks, scene.intrinsics)
    assert max(sliver.draw().size) < 2500
    assert [path.name for path in sliver.save(tmp_path / "sliver")] == ["sliver.panel.png", "sliver.npz"]


def test_the_mesh_faces_the_camera(scene: Scene) -> None:
    from polyscene import pointcloud

    flat = pointcloud.mesh(np.full((8, 9), 2.0, np.float32), scene.intrinsics, np.zeros((8, 9, 3), np.uint8))
    assert (flat.face_normals @ (0, 0, 1) > 0.99).all() and len(flat.faces) == 2 * 7 * 8


def test_a_folder_is_searched_a_broken_file_named_and_the_rest_goes_on(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    Image.fromarray(PHOTO).save(photos / "one.png")
    Image.fromarray(PHOTO).save(photos / "one.jpg")
    Image.fromarray(PHOTO).save(photos / "deep" / "two.PNG")
    cut = (photos / "one.jpg").read_bytes()
    (photos / "broken[1].jpg").write_bytes(cut[: len(cut) // 2])
    (photos / "notes.txt").write_text("no picture")
    outcome = predict_paths([photos], photos / "out", predictor)
    assert outcome.exit_code == 1 and [path.name for path in outcome.failed] == ["broken[1].jpg"]
    assert "broken[1].jpg: cannot be read as a picture" in capsys.readouterr().out
    written = {str(path.relative_to(photos / "out")) for files in outcome.written.values() for path in files}
    assert {"one_png.npz", "one_jpg.npz", "deep/two.npz", "deep/two.panel.png", "deep/two.glb"} <= written
    again = predict_paths([photos / "one.png", photos], photos / "out", predictor)
    assert len(again.written) == 3  # what was written is not read, what is named twice is read once


def test_inputs_that_are_missing_or_hold_no_picture_are_refused(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        predict_paths([tmp_path / "nowhere"], tmp_path / "out", predictor)
    with pytest.raises(ValueError, match="no picture in"):
        predict_paths([tmp_path], tmp_path / "out", predictor)


def test_a_notebook_shows_the_panel(scene: Scene) -> None:
    assert scene._repr_html_().startswith('<img alt="Scene(&#x27;picture&#x27;, 72x48: semseg, depth')


def test_the_public_names_are_these() -> None:
    assert polyscene.Scene is Scene and polyscene.Predictor is Predictor


def test_the_sky_has_no_surface() -> None:
    depth, seen = np.full((40, 60), 30.0, np.float32), np.zeros((40, 60), np.int16)
    depth[20:], seen[20:] = 5.0, 1
    tasks = {"semseg": SemanticSegmentation(classes=("sky", "road")), "depth": Depth()}
    matrix = np.array([[60.0, 0, 29.5], [0, 60.0, 19.5], [0, 0, 1]], np.float32)
    scene = Scene(np.zeros((40, 60, 3), np.uint8), {"semseg": seen, "depth": depth}, tasks, matrix)
    assert scene.points().xyz[:, 2] == pytest.approx(5.0) and scene.cloud().xyz[:, 2] == pytest.approx(5.0)
    assert (scene.depth[:20] == 30).all(), "what was seen stays as it is"
