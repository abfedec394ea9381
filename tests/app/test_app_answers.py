"""What comes back over HTTP: figures, pictures, archives; each visitor's own; nothing by a path."""

import base64
import io
import json
import re
import tempfile
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio_client
import httpx
import numpy as np
import pytest
from PIL import Image

from polyscene import cli, pictures
from polyscene.app import server
from polyscene.app.desk import Desk
from polyscene.app.upload import Limits, Refused
from polyscene.predict import Predictor
from polyscene.scene import Scene

Photo = Callable[..., bytes]


def post(address: str, content: bytes, **query: Any) -> httpx.Response:
    return httpx.post(address, content=content, params=query, timeout=60)


def picture(told: str) -> np.ndarray:
    assert told.startswith("data:image/")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(told.partition(",")[2]))))


@pytest.fixture(scope="module")
def seen(url: str, photo: Photo) -> dict[str, Any]:
    answer = post(f"{url}/see", photo())
    assert answer.status_code == 200
    return answer.json()


@pytest.fixture(scope="module")
def client(url: str) -> gradio_client.Client:
    return gradio_client.Client(url, verbose=False)


def test_an_answer_holds_what_the_predictor_says(
    seen: dict[str, Any], predictors: dict[str, Predictor], photo: Photo
) -> None:
    scene = predictors["whole"](Image.open(io.BytesIO(photo())))
    assert seen["picture"] == {"width": 96, "height": 72, "sent": {"width": 96, "height": 72}}
    assert seen["weights"] == "whole" and seen["step"] == 1
    assert list(seen["facets"]) == ["semseg", "depth", "normals", "edges"]
    assert (np.array(seen["facets"]["semseg"]["values"]) == scene.semseg).all()
    for name in ("depth", "normals", "edges"):
        np.testing.assert_allclose(np.array(seen["facets"][name]["values"]), scene.values[name], atol=6e-4)
    assert [told["unit"] for told in seen["facets"].values()] == ["class id", "m", "unit vector", "probability"]
    shares = seen["facets"]["semseg"]["shares"]
    assert (
        sum(shares.values()) == pytest.approx(1, abs=0.001) and list(shares.values()) == sorted(shares.values())[::-1]
    )
    assert seen["facets"]["depth"]["percentiles"]["50"] == pytest.approx(float(np.median(scene.depth)), abs=0.001)
    difference = picture(seen["photo"]).astype(int) - scene.image
    assert np.abs(difference).mean() < 6


def test_pictures_and_legends_are_the_tasks_own(seen: dict[str, Any]) -> None:
    for told in seen["facets"].values():
        assert picture(told["picture"]).shape == (72, 96, 3)
    assert picture(seen["facets"]["depth"]["legend"]["ramp"]).shape[1] == 128
    ticks = [tick["name"] for tick in seen["facets"]["depth"]["legend"]["ticks"]]
    assert all(name.endswith(" m") for name in ticks) and len(ticks) == 3
    named = {swatch["name"] for swatch in seen["facets"]["semseg"]["legend"]["swatches"]}
    assert named == set(seen["facets"]["semseg"]["shares"])


def test_the_points_are_where_the_depth_says(seen: dict[str, Any]) -> None:
    xyz = np.frombuffer(base64.b64decode(seen["cloud"]["xyz"]), "<f4").reshape(-1, 3)
    ids = np.frombuffer(base64.b64decode(seen["cloud"]["ids"]["semseg"]), "<u2")
    colours = {name: base64.b64decode(text) for name, text in seen["cloud"]["colours"].items()}
    assert list(colours) == ["photo", "semseg", "depth", "normals", "edges"]
    assert len(xyz) == len(ids) == len(colours["photo"]) // 3 > 1000
    matrix, depth = np.array(seen["camera"]["intrinsics"]), np.array(seen["facets"]["depth"]["values"])
    column, row, one = np.round(matrix @ (xyz / xyz[:, 2:]).T).astype(int)
    assert (one == 1).all()
    np.testing.assert_allclose(xyz[:, 2], depth[row, column], atol=0.002)
    assert (ids == np.array(seen["facets"]["semseg"]["values"])[row, column]).all()


def test_the_camera_is_said_in_words_and_can_be_given(url: str, photo: Photo, seen: dict[str, Any]) -> None:
    assert seen["camera"]["origin"] == "assumed" and "is assumed" in seen["camera"]["words"]
    known = post(f"{url}/values", photo(), field_of_view=90).json()["camera"]
    assert known["origin"] == "known" and known["degrees"]["across"] == pytest.approx(90, abs=0.1)
    assert known["intrinsics"][0][0] == pytest.approx(48) and "it sees 90° across" in known["words"]
    refusal = post(f"{url}/values", photo(), field_of_view=200)
    assert refusal.status_code == 422 and "give 5 to 150 degrees" in refusal.json()["error"]


def test_other_weights_see_other_things(url: str, photo: Photo) -> None:
    answer = post(f"{url}/see", photo(), weights="flat").json()
    assert list(answer["facets"]) == ["edges"] and answer["cloud"] is None
    refusal = post(f"{url}/see", photo(), weights="../../etc")
    assert refusal.status_code == 422 and "there are: flat, whole" in refusal.json()["error"]


def test_the_archive_holds_everything(url: str, photo: Photo, tmp_path: Path, predictors: dict[str, Predictor]) -> None:
    answer = post(f"{url}/download", photo())
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    found = {path.name for path in tmp_path.iterdir()}
    assert found >= {"photo.panel.png", "photo.npz", "photo.glb", "photo.depth.png", "photo.semseg.png", "README.txt"}
    scene = predictors["whole"](Image.open(io.BytesIO(photo())))
    np.testing.assert_array_equal(Scene.load(tmp_path / "photo.npz").depth, scene.depth)
    millimetres = np.asarray(Image.open(tmp_path / "photo.depth.png"))
    np.testing.assert_allclose(millimetres / 1000, scene.depth, atol=0.001)
    assert "is assumed" in (tmp_path / "README.txt").read_text()


def test_twenty_at_once_each_get_their_own(
    url: str, photo: Photo, predictors: dict[str, Predictor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    together = threading.Barrier(20)

    def visit(seed: int) -> tuple[int, dict[str, Any]]:
        together.wait()
        if seed % 5 == 4:
            answer = post(f"{url}/download", photo(seed))
            with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                return seed, {"image": np.load(io.BytesIO(archive.read("photo.npz")))["image"]}
        return seed, post(f"{url}/values", photo(seed, (64 + seed, 72))).json()

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(visit, range(20)))
    for seed, answer in answers:
        if "image" in answer:
            assert (answer["image"] == np.asarray(Image.open(io.BytesIO(photo(seed))))).all()
            continue
        assert answer["picture"]["width"] == 64 + seed
        own = predictors["whole"](Image.open(io.BytesIO(photo(seed, (64 + seed, 72)))))
        assert answer["facets"]["depth"]["percentiles"]["50"] == pytest.approx(float(np.median(own.depth)), abs=0.001)
    assert not list(tmp_path.glob("polyscene-*"))


def test_too_many_waiting_are_told_to_come_back(predictors: dict[str, Predictor], photo: Photo) -> None:
    desk = Desk(predictors, Limits(waiting=2))
    held, going = threading.Event(), threading.Event()
    desk.predictors["slow"] = lambda *_: (going.set(), held.wait(), predictors["flat"](*_))[-1]  # type: ignore[assignment]
    waiting = [desk.values(photo(), "slow"), desk.values(photo())]
    assert going.wait(10)
    with pytest.raises(Refused, match="2 pictures are waiting") as refusal:
        desk.values(photo())
    assert refusal.value.status == 503
    held.set()
    assert all(future.result()["facets"] for future in waiting)
    assert desk.values(photo()).result()["facets"]
    desk.close()


@pytest.mark.parametrize("name", ["see", "values", "download"])
def test_what_is_wrong_is_said_in_one_line(url: str, name: str) -> None:
    for content, status, words in (
        (b"", 422, "no picture was sent"),
        (b"text", 415, "not a picture"),
        (b"0" * 500_001, 413, "at most 0.5 MB"),
    ):
        answer = post(f"{url}/{name}", content)
        assert answer.status_code == status and list(answer.json()) == ["error"]
        assert words in answer.json()["error"] and "\n" not in answer.json()["error"]


# -- gradio's client ---------------------------------------------------------------------------------------------------


def test_gradios_client_gets_the_same_figures(client: gradio_client.Client, url: str, photo: Photo) -> None:
    text = base64.b64encode(photo(7)).decode()
    answer = client.predict(text, api_name="/values")
    plain = post(f"{url}/values", photo(7)).json()
    assert answer | {"seconds": 0} == plain | {"seconds": 0}
    other = client.predict(f"data:image/png;base64,{text}", "flat", 40.0, api_name="/values")
    assert list(other["facets"]) == ["edges"] and other["camera"]["origin"] == "known"


def test_gradios_client_hears_what_is_wrong(client: gradio_client.Client, photo: Photo) -> None:
    for sent, words in (("/etc/passwd", "not base64"), (base64.b64encode(b"a text").decode(), "not a picture")):
        with pytest.raises(gradio_client.exceptions.AppError, match=words):
            client.predict(sent, api_name="/values")


def test_clients_of_gradio_do_not_mix(url: str, photo: Photo) -> None:
    def visit(seed: int) -> tuple[int, int]:
        own = gradio_client.Client(url, verbose=False)
        text = base64.b64encode(photo(seed, (64 + seed, 72))).decode()
        return 64 + seed, own.predict(text, api_name="/values")["picture"]["width"]

    with ThreadPoolExecutor(4) as pool:
        assert all(sent == told for sent, told in pool.map(visit, range(8)))


FILES = [
    {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
    {"path": "/etc/passwd"},
    {"path": "http://127.0.0.1:1/secret", "url": "http://127.0.0.1:1/secret", "meta": {"_type": "gradio.FileData"}},
    [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}],
]


@pytest.mark.parametrize("named", FILES)
@pytest.mark.parametrize("address", ["gradio_api/queue/join", "gradio_api/call/values"])
def test_a_file_that_a_request_names_is_never_looked_for(url: str, address: str, named: Any) -> None:
    body = {"data": [named, "", None], "fn_index": 0, "session_hash": "abc"}
    answer = httpx.post(f"{url}/{address}", json=body)
    assert answer.status_code == 422 and "text and numbers" in answer.json()["error"]
    hidden = json.dumps(body).replace("path", "\\u0070ath")
    assert httpx.post(f"{url}/{address}", content=hidden).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/file=/etc/passwd",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=..%2f..%2fetc%2fpasswd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/stream/a/b/c/playlist-file",
        "/gradio_api/custom_component/a/client/b/c",
        "/gradio_api/vibe-code",
        "/gradio_api/runs",
        "/static/img/logo.svg",
        "/assets/index.js",
        "/samples/..%2fCREDITS.md",
        "/samples/../CREDITS.md",
        "/samples/CREDITS.md",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/page.py",
        "/docs",
        "/openapi.json",
    ],
)
def test_addresses_that_are_not_ours_are_shut(url: str, path: str) -> None:
    assert httpx.get(url + path).status_code == 404


def test_gradios_uploads_are_shut(url: str) -> None:
    for path in ("gradio_api/upload", "gradio_api/process_recording", "gradio_api/run/values", "login"):
        answer = httpx.post(f"{url}/{path}", files={"files": ("a.txt", b"hello")})
        assert answer.status_code == 404
    assert httpx.put(f"{url}/see", content=b"x").status_code == 405


def test_other_sites_cannot_send_pictures(url: str, photo: Photo) -> None:
    answer = httpx.post(f"{url}/values", content=photo(), headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    headers = httpx.get(url).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers and headers["x-content-type-options"] == "nosniff"


# -- the page and the command ------------------------------------------------------------------------------------------


def test_the_page_names_no_other_host(url: str) -> None:
    for name in ("", "page.css", "page.js", "favicon.svg"):
        text = httpx.get(f"{url}/{name}").text
        addresses = [found for found in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text) if "www.w3.org" not in found]
        assert not addresses


def test_the_page_offers_the_samples_with_credits(url: str) -> None:
    about = httpx.get(f"{url}/about").json()
    assert list(about["weights"]) == ["whole", "flat"] and "at most 0.5 MB" in about["limits"]["words"]
    assert {sample["file"] for sample in about["samples"]} >= {"coffee.jpg", "chelsea.jpg"}
    for sample in about["samples"]:
        assert all(sample[key] for key in ("what", "by", "licence"))
        content = httpx.get(f"{url}/samples/{sample['file']}").content
        assert pictures.read(Image.open(io.BytesIO(content))).pixels.size


def test_weights_are_called_by_the_ends_of_their_paths() -> None:
    assert server.names(["starter"]) == ["starter"]
    assert server.names(["runs/mine", "/data/other/"]) == ["mine", "other"]
    with pytest.raises(ValueError, match="no weights are given"):
        server.load([], "cpu")
    assert server.names(["a/run/best", "b/run/best", "c"]) == ["a/run/best", "b/run/best", "c"]


def test_a_port_that_is_taken_is_named(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    port = url.rpartition(":")[2]
    assert cli.main(["app", "--port", port]) == 2
    assert f"127.0.0.1:{port} cannot be used" in capsys.readouterr().err
