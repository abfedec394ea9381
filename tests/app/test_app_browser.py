"""The page in a real browser: a photo goes in, pictures and points come out, nothing is asked of another host."""

import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the page is tested with playwright: pip install playwright"
)

CHROMIUM = os.environ.get("POLYSCENE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; install it, or set POLYSCENE_CHROMIUM")
ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",  # WebGL without a graphics card
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
SIZE = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
Photo = Callable[..., bytes]


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def visit(browser: "playwright.Browser", url: str) -> Iterator["playwright.Page"]:
    """The page, open once for all tests; at the end, what it asked for and complained of."""
    page = browser.new_page(viewport={"width": 1240, "height": 900}, permissions=["camera"])
    page.set_default_timeout(60_000)
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    yield page
    page.close()
    assert len(asked) > 5 and all(address.startswith((url, "data:", "blob:")) for address in asked)
    assert not [line for line in wrong if "415" not in line]  # the refusal that a test provokes


def turn(page: "playwright.Page") -> int:
    """How many photos it has sent."""
    return int(page.get_attribute("html", "data-asked") or 0)


def wait(page: "playwright.Page", before: int) -> None:
    """For the answer to the next one."""
    page.wait_for_selector(f"html[data-drawn='{before + 1}']")


def give(page: "playwright.Page", content: bytes, name: str = "my photo.png", kind: str = "image/png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})


def pixels(page: "playwright.Page", what: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.locator(what).screenshot())).convert("RGB")).astype(int)


@pytest.fixture
def page(visit: "playwright.Page", photo: Photo) -> "playwright.Page":
    """With a photo looked at."""
    if not turn(visit):
        give(visit, photo())
        wait(visit, 0)
    return visit


def test_an_upload_shows_every_facet(page: "playwright.Page") -> None:
    assert page.locator("#facets button").all_inner_texts() == ["What it is", "How far", "Which way", "Where it ends"]
    looks = []
    for button in page.locator("#facets button").all():
        button.click()
        after = page.locator("#after")
        assert after.evaluate(SIZE) == [96, 72]
        looks.append(after.get_attribute("src"))
    assert len(set(looks)) == 4
    page.click("#facets button:has-text('How far')")
    assert all(text.endswith(" m") for text in page.locator("#legend .ticks span").all_inner_texts())
    assert "° across is assumed" in page.inner_text("#camera")
    assert "96 × 72 pixels" in page.inner_text("#told")


def test_the_divide_uncovers_the_facet(page: "playwright.Page") -> None:
    page.fill("#divide", "100")
    photo = pixels(page, "#compare")
    page.fill("#divide", "0")
    facet = pixels(page, "#compare")
    assert np.abs(photo - facet).mean() > 10
    page.fill("#divide", "50")
    both, middle = pixels(page, "#compare"), photo.shape[1] // 2
    assert np.abs(both - photo)[:, : middle - 40].mean() < 1 > np.abs(both - facet)[:, middle + 40 :].mean()


def test_pointing_at_the_picture_reads_it(page: "playwright.Page") -> None:
    page.hover("#divide", position={"x": 60, "y": 60})
    told = page.inner_text("#reading").split(" · ")
    assert told[0] in ("floor", "wall", "chair") and told[1].endswith(" m") and told[2].endswith("° from us")
    assert told[3].endswith(" %")


def test_the_points_are_drawn_and_change_colour(page: "playwright.Page") -> None:
    looks = []
    for button in page.locator("#colours button").all()[:3]:
        button.click()
        page.mouse.move(5, 5)
        page.wait_for_timeout(500)
        drawn = pixels(page, "#cloud")
        paper = drawn[2, 2]
        assert (np.abs(drawn - paper).sum(-1) > 30).mean() > 0.03, "the canvas is blank"
        looks.append(drawn)
    assert len(np.unique(looks[0].reshape(-1, 3), axis=0)) > 100
    assert all(np.abs(first - second).mean() > 0.5 for first, second in pairwise(looks))


def test_pointing_at_the_points_reads_them(page: "playwright.Page") -> None:
    box = page.locator("#cloud").bounding_box()
    assert box is not None
    drawn = pixels(page, "#cloud")
    rows, columns = np.nonzero(np.abs(drawn - drawn[2, 2]).sum(-1) > 30)
    for row, column in zip(rows[:: len(rows) // 12], columns[:: len(rows) // 12], strict=True):
        page.mouse.move(box["x"] + float(column), box["y"] + float(row))
        page.wait_for_timeout(300)
        told = page.locator("#cloud .hoverlayer text, #cloud g.hovertext text").all_text_contents()
        if told:
            break
    assert told and any(text.endswith(" m") and text.split(" · ")[0] in ("floor", "wall", "chair") for text in told)


def test_everything_can_be_downloaded(page: "playwright.Page", tmp_path: Path) -> None:
    with page.expect_download() as started:
        page.click("#download")
    assert started.value.suggested_filename == "my photo.polyscene.zip"
    started.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None and {"photo.npz", "photo.glb", "photo.panel.png"} <= set(archive.namelist())


def test_a_text_file_is_refused_in_words_and_what_was_seen_stays(page: "playwright.Page") -> None:
    drawn = page.get_attribute("html", "data-drawn")
    give(page, b"hello", "notes.jpg", "image/jpeg")
    page.wait_for_selector("#state.wrong")
    assert page.inner_text("#state").startswith("This is not a picture that can be read")
    assert page.locator("#after").is_visible() and page.get_attribute("html", "data-drawn") == drawn
    with page.expect_download() as started:  # of what is shown
        page.click("#download")
    assert started.value.suggested_filename == "my photo.polyscene.zip"


def test_a_file_that_is_too_large_is_not_sent(page: "playwright.Page") -> None:
    before = turn(page)
    give(page, b"0" * 500_001, "large.jpg", "image/jpeg")
    page.wait_for_selector("#state.wrong:has-text('too large')")
    assert turn(page) == before and not page.locator("#result.waiting").count()


def test_photos_are_dropped_pasted_and_taken(page: "playwright.Page") -> None:
    offer = """kind => new Promise(done => {
        const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
        canvas.getContext("2d").fillRect(0, 0, 30, 30);
        canvas.toBlob(blob => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([blob], "given.png", { type: "image/png" }));
            const dropped = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
            const pasted = new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
            document.body.dispatchEvent(kind === "drop" ? dropped : pasted);
            done();
        });
    })"""
    for kind in ("drop", "paste"):
        before = turn(page)
        page.evaluate(offer, kind)
        wait(page, before)
        assert "64 × 48 pixels" in page.inner_text("#told")
    before = turn(page)
    page.click("#take")
    page.locator("#video").evaluate("video => video.videoWidth || new Promise(done => video.onloadedmetadata = done)")
    page.click("#shoot")
    wait(page, before)
    assert not page.locator("#shot").is_visible()


def test_other_weights_look_again(page: "playwright.Page") -> None:
    before = turn(page)
    page.select_option("#weights", "flat")
    wait(page, before)
    assert page.locator("#facets button").all_inner_texts() == ["Where it ends"]
    assert not page.locator("#space").is_visible()
    page.select_option("#weights", "whole")
    wait(page, before + 1)
    assert page.locator("#space").is_visible()


def test_a_phone_has_room_for_it(page: "playwright.Page") -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for name in ("#compare", "#cloud", "#download"):
        box = page.locator(name).bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["width"] > 280
