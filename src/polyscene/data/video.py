"""From a user's own video, or folder of pictures, to a described folder with cameras: poses by structure from motion.

pycolmap finds the poses (the extra ``sfm``); depth, where there is any, fixes their scale. Everything is kept below
``OUT/.sfm``, so that a run that was interrupted carries on and a finished one is not done again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from polyscene.data.description import FILE

Array = NDArray[np.float64]
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MOST = 200  # frames that are taken by default
TYPICAL = 2.5  # metres: the median depth that a scene of unknown scale is given


@dataclass(frozen=True)
class Solution:
    """What structure from motion found. ``poses`` (4, 4) are camera to world by frame id, in units of its own; ``seen``
    (n, 3) holds the pixels (x, y) and the depth of the points that a frame sees. ``distortion`` is the first radial
    coefficient; pixel centres are whole numbers. ``error`` is the mean reprojection error in pixels."""

    size: tuple[int, int]
    focal: float
    centre: tuple[float, float]
    distortion: float
    poses: dict[str, Array]
    seen: dict[str, Array]
    error: float
    points: int


@dataclass(frozen=True)
class Scale:
    """``metres`` a unit of the solution; ``spread``: half the interquartile range of the single frames' scales, as a
    share; ``frames`` that had depth. Without any the scale is a convention and not ``metric``."""

    metres: float
    spread: float
    frames: int
    metric: bool


@dataclass(frozen=True)
class Request:
    """What was asked for: the same request again finds its own work; another one must go elsewhere."""

    source: str
    every: int
    depth: str | None
    depth_scale: float
    focal: float | None
    distortion: bool
    matching: str


@dataclass(frozen=True)
class Report:
    frames: int
    registered: int
    unregistered: list[str]
    reprojection_error: float
    points: int
    focal: float
    distortion: float
    scale: Scale
    request: Request = field(repr=False)

    def lines(self) -> list[str]:
        one, scale = f"registered {self.registered} of {self.frames} frames", self.scale
        told = [f"{one}; reprojection error {self.reprojection_error:.2f} px, {self.points} points"]
        told.append(f"focal length {self.focal:.1f} px, radial distortion {self.distortion:+.4f} (taken out)")
        if scale.metric:
            from_depth = f"scale from the depth of {scale.frames} frames: {scale.metres:.4g} m a unit"
            told.append(f"{from_depth}, which single frames put {scale.spread:.1%} off")
        else:
            told.append(f"no depth: the scale is unknown; the median depth was set to {TYPICAL} m")
        if self.unregistered:
            told.append("not registered, left out: " + ", ".join(self.unregistered))
        return told


def prepare(
    source: Path,
    out: Path,
    depth: Path | None = None,
    depth_scale: float = 0.001,
    every: int | None = None,
    focal: float | None = None,
    distortion: bool = True,
    matching: Literal["sequential", "exhaustive"] = "sequential",
    threads: int = -1,
) -> Report:
    """Writes ``out``/polyscene.yaml, cameras.json, rgb/ and depth/ of the frames whose pose was found.

    ``source``: a video file, or a folder of pictures taken with one camera; of either every ``every``-th frame, by
    default so that at most 200 are taken. ``depth``: a folder of pictures of the frames' names, whose value times
    ``depth_scale`` is metres (0 unknown). ``focal``: the focal length in pixels, if known; else it is found, and with
    ``distortion`` a radial coefficient too, which is taken out of the pictures. ``ValueError`` says what is missing:
    pycolmap, frames, matches, or an ``out`` that holds other work.
    """
    pycolmap = _pycolmap()
    names = _pictures(source) if source.is_dir() else []
    count = len(names) if source.is_dir() else _length(source)
    every = every or max(1, -(-count // MOST))
    wanted = Request(
        str(source.absolute()), every, None if depth is None else str(depth.absolute()), depth_scale, focal, distortion,
        matching,
    )  # fmt: skip
    work = out / ".sfm"
    finished = _claim(work, wanted)
    if finished is not None:
        return finished
    images = source if source.is_dir() else extract(source, work, every)
    chosen = names[::every] if source.is_dir() else _pictures(images)
    if len(chosen) < 3:
        raise ValueError(f"{source}: {len(chosen)} frames are too few to find poses from; give 3 or more")
    if len({Path(name).stem for name in chosen}) < len(chosen):
        raise ValueError(f"{source}: two pictures have one name and differ in their ending; rename one")
    solved = _solve(pycolmap, images, chosen, work, wanted, threads)
    scale = fix_scale(solved, _depths(depth), depth_scale)
    _write(out, images, chosen, solved, scale, wanted)
    lost = [Path(name).stem for name in chosen if Path(name).stem not in solved.poses]
    report = Report(
        len(chosen),
        len(solved.poses),
        lost,
        solved.error,
        solved.points,
        solved.focal,
        solved.distortion,
        scale,
        wanted,
    )
    _save(work / "report.json", asdict(report))
    return report


# -- frames ------------------------------------------------------------------------------------------------------------
def _pictures(folder: Path) -> list[str]:
    found = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not found:
        raise ValueError(f"{folder}: holds no picture ({', '.join(PICTURES)})")
    return found


def _picture(file: Path) -> NDArray[Any]:
    picture = cv2.imread(str(file))
    if picture is None:
        raise ValueError(f"{file}: cannot be read; restore it, or leave it out")
    return picture


def opened(video: Path) -> cv2.VideoCapture:
    """For reading. ``ValueError`` if it is no video, or of a kind that cannot be decoded."""
    capture = cv2.VideoCapture(str(video))
    if not video.is_file() or not capture.isOpened():
        raise ValueError(f"{video}: neither a folder of pictures nor a video that can be read; correct the path")
    return capture


def _length(video: Path) -> int:
    return max(1, int(opened(video).get(cv2.CAP_PROP_FRAME_COUNT)))


def extract(video: Path, work: Path, every: int) -> Path:
    """The folder below ``work`` with every ``every``-th frame as a JPEG, but for those that cannot be
    decoded; it is there with all of them or not at all. ``ValueError`` if it would be empty."""
    folder, part = work / "frames", work / "frames.part"
    if folder.is_dir():
        return folder
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    capture, number, kept = opened(video), 0, 0
    while capture.grab():
        if number % every == 0:
            decoded, frame = capture.retrieve()
            kept += decoded and cv2.imwrite(str(part / f"{number:06d}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, 95])
        number += 1
    if not kept:
        raise ValueError(f"{video}: not one frame can be decoded; convert it (to MP4 with H.264), or copy it again")
    os.replace(part, folder)
    return folder


def _depths(folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    if not folder.is_dir():
        raise ValueError(f"--depth {folder}: no such folder")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES}


# -- structure from motion ---------------------------------------------------------------------------------------------
def _pycolmap() -> Any:
    try:
        import pycolmap
    except ImportError:
        raise ValueError("finding poses needs pycolmap: pip install 'polyscene[sfm]'") from None
    return pycolmap


def _solve(pycolmap: Any, images: Path, names: Sequence[str], work: Path, wanted: Request, threads: int) -> Solution:
    """Features and matches already in the database, and a model already found, are not made again."""
    found = work / "model"
    if not found.is_dir():
        pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR.value
        pycolmap.set_random_seed(0)
        database = work / "database.db"
        height, width = _picture(images / names[0]).shape[:2]
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = "SIMPLE_RADIAL" if wanted.distortion else "SIMPLE_PINHOLE"
        if wanted.focal:
            rest = ",0" if wanted.distortion else ""
            reader.camera_params = f"{wanted.focal},{width / 2},{height / 2}{rest}"
        extraction, pairing = pycolmap.FeatureExtractionOptions(), pycolmap.FeatureMatchingOptions()
        extraction.num_threads = pairing.num_threads = threads
        pycolmap.extract_features(
            database, images, image_names=list(names), camera_mode=pycolmap.CameraMode.SINGLE, reader_options=reader,
            extraction_options=extraction, device=pycolmap.Device.cpu,
        )  # fmt: skip
        match = {"sequential": pycolmap.match_sequential, "exhaustive": pycolmap.match_exhaustive}[wanted.matching]
        match(database, matching_options=pairing, device=pycolmap.Device.cpu)
        options = pycolmap.IncrementalPipelineOptions()
        options.num_threads, options.random_seed, options.extract_colors = threads, 0, False
        options.ba_refine_focal_length = wanted.focal is None
        options.min_model_size = min(options.min_model_size, len(names))
        models = work / "models"
        shutil.rmtree(models, ignore_errors=True)
        models.mkdir()
        built = pycolmap.incremental_mapping(database, images, models, options)
        if not built:
            remedy = (
                "take more frames (a smaller --every), or scenes with more texture and a camera that moves sideways"
            )
            raise ValueError(f"{images}: no two of the {len(names)} frames could be put in relation; {remedy}")
        largest = max(built, key=lambda number: built[number].num_reg_images())
        os.replace(models / str(largest), found)
    return _read(pycolmap.Reconstruction(found))


def _read(model: Any) -> Solution:
    """In our convention: COLMAP puts the centre of the first pixel at one half."""
    (camera,) = model.cameras.values()
    poses, seen = {}, {}
    for number in sorted(model.reg_image_ids()):
        image = model.images[number]
        camera_from_world = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        observed = image.get_observation_points2D()
        pixels = np.array([point.xy for point in observed]).reshape(-1, 2) - 0.5
        places = np.array([model.points3D[point.point3D_id].xyz for point in observed]).reshape(-1, 3)
        depths = places @ camera_from_world[2, :3] + camera_from_world[2, 3]
        key = Path(image.name).stem
        poses[key], seen[key] = np.linalg.inv(camera_from_world), np.column_stack([pixels, depths])
    return Solution(
        size=(camera.height, camera.width),
        focal=float(camera.mean_focal_length()),
        centre=(camera.principal_point_x - 0.5, camera.principal_point_y - 0.5),
        distortion=float(camera.params[3]) if len(camera.params) > 3 else 0.0,
        poses=dict(sorted(poses.items())),
        seen=seen,
        error=float(model.compute_mean_reprojection_error()),
        points=int(model.num_points3D()),
    )


# -- scale -------------------------------------------------------------------------------------------------------------
def fix_scale(solved: Solution, depths: Mapping[str, Path], depth_scale: float) -> Scale:
    """The median over all points of measured depth over that of the solution."""
    found = {key: _ratios(solved, key, file, depth_scale) for key, file in depths.items() if key in solved.poses}
    ratios = {key: ratio for key, ratio in found.items() if ratio.size}
    if not ratios:
        typical = float(np.median(np.concatenate([seen[:, 2] for seen in solved.seen.values()])))
        return Scale(TYPICAL / typical, 0.0, 0, False)
    metres = float(np.median(np.concatenate(list(ratios.values()))))
    low, high = np.percentile([np.median(ratio) for ratio in ratios.values()], (25, 75))
    return Scale(metres, float(high - low) / 2 / metres, len(ratios), True)


def _ratios(solved: Solution, key: str, file: Path, depth_scale: float) -> Array:
    depth = _depth(file, solved.size)
    height, width = depth.shape
    x, y, z = solved.seen[key].T
    columns, rows = x.round().astype(int).clip(0, width - 1), y.round().astype(int).clip(0, height - 1)
    measured = depth[rows, columns].astype(float) * depth_scale
    known = (measured > 0) & np.isfinite(measured) & (z > 0)
    return measured[known] / z[known]


def _depth(file: Path, size: tuple[int, int]) -> NDArray[Any]:
    depth = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if depth is None or depth.ndim != 2:
        raise ValueError(f"{file}: not readable as depth; give PNGs of one channel, 16 bit")
    if depth.shape != size:
        raise ValueError(f"{file}: is {depth.shape[1]}x{depth.shape[0]}, its picture {size[1]}x{size[0]}; resize it")
    return depth


# -- what is written ---------------------------------------------------------------------------------------------------
def _write(out: Path, images: Path, names: Sequence[str], solved: Solution, scale: Scale, wanted: Request) -> None:
    """Frames without distortion, their depth, cameras.json and polyscene.yaml, in this order."""
    depths = _depths(Path(wanted.depth)) if wanted.depth else {}
    height, width = solved.size
    matrix = np.array([[solved.focal, 0, solved.centre[0]], [0, solved.focal, solved.centre[1]], [0, 0, 1]])
    bend = np.array([solved.distortion, 0, 0, 0])
    maps = cv2.initUndistortRectifyMap(matrix, bend, np.eye(3), matrix, (width, height), cv2.CV_32FC1)
    for folder in ("rgb", "depth") if depths else ("rgb",):
        shutil.rmtree(out / folder, ignore_errors=True)
        (out / folder).mkdir(parents=True)
    for name in names:
        key = Path(name).stem
        if key not in solved.poses:
            continue
        if solved.distortion:
            picture = cv2.remap(_picture(images / name), *maps, cv2.INTER_LINEAR)
            cv2.imwrite(str(out / "rgb" / f"{key}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
        else:
            shutil.copyfile(images / name, out / "rgb" / name)
        if key in depths:
            straight = cv2.remap(_depth(depths[key], solved.size), *maps, cv2.INTER_NEAREST)
            cv2.imwrite(str(out / "depth" / f"{key}.png"), straight)
    cameras = {
        "image_size": {"width": width, "height": height},
        "intrinsics": {"fx": solved.focal, "fy": solved.focal, "cx": solved.centre[0], "cy": solved.centre[1]},
        "metric": scale.metric,
        "frames": [
            {"id": key, "T_world_cam": _scaled(pose, scale.metres).tolist()} for key, pose in solved.poses.items()
        ],
    }
    _save(out / "cameras.json", cameras)
    (out / FILE).write_text(_description(wanted, scale, bool(depths)))


def _scaled(pose: Array, scale: float) -> Array:
    return np.vstack([np.column_stack([pose[:3, :3], pose[:3, 3] * scale]), pose[3]])


def _description(wanted: Request, scale: Scale, depth: bool) -> str:
    name = Path(wanted.source).stem
    lines = [
        f"name: {json.dumps(name)}",
        f"source: {json.dumps(f'{wanted.source}, every {wanted.every}th frame; poses by structure from motion')}",
        "images: rgb/{id}.*",
    ]
    if depth:
        encoding = f"scale: {wanted.depth_scale:g}, invalid: 0, optional: true"
        lines += ["tasks:", f'  depth: {{path: "depth/{{id}}.png", {encoding}}}']
    lines.append("cameras: cameras.json" + ("" if scale.metric else "  # of unknown scale"))
    lines += ["splits:  # never random frames: neighbours look alike", "  train: {first: 0.8}", "  val: {last: 0.2}"]
    return "\n".join(lines) + "\n"


def _claim(work: Path, wanted: Request) -> Report | None:
    """The report of the same request, if it is finished; ``ValueError`` if another one was made here."""
    kept = work / "request.json"
    if kept.exists():
        before = json.loads(kept.read_text())
        if before != asdict(wanted):
            changed = ", ".join(key for key, value in asdict(wanted).items() if before.get(key) != value)
            raise ValueError(
                f"{work.parent} holds the same made with another {changed}; give another --out, or delete it"
            )
        if (work / "report.json").exists():
            facts = json.loads((work / "report.json").read_text())
            return Report(**{**facts, "scale": Scale(**facts["scale"]), "request": wanted})
    elif (work.parent / FILE).exists():
        raise ValueError(f"{work.parent / FILE} exists and is not this command's; give another --out")
    work.mkdir(parents=True, exist_ok=True)
    _save(kept, asdict(wanted))
    return None


def _save(file: Path, content: Any) -> None:
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(content, indent=1))
    os.replace(part, file)
