"""The web page with a result, light and dark, as a browser shows it:

python docs/pictures/screenshots.py WEIGHTS OUT.png [PHOTO]       needs playwright and chromium
"""

from __future__ import annotations

import io
import shutil
import sys

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from polyscene.app.desk import Desk
from polyscene.app.server import Running, load

SIZE = {"width": 1180, "height": 880}
SOFTWARE = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def shot(browser: Browser, url: str, scheme: str, photo: str | None, turns: int) -> Image.Image:
    page = browser.new_page(viewport=SIZE, color_scheme=scheme, device_scale_factor=1)
    page.set_default_timeout(240_000)
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    if photo:
        page.set_input_files("#file", photo)
    else:
        page.click("#samples button[title*=coffee]")
    page.wait_for_selector("html[data-drawn]")
    if turns:  # another facet
        page.click(f"#facets button:nth-child({turns + 1})")
        page.click(f"#colours button:nth-child({turns + 2})")
    page.hover("#divide", position={"x": 330, "y": 190})
    page.wait_for_timeout(4000)  # the points are drawn by the processor
    taken = Image.open(io.BytesIO(page.screenshot()))
    page.close()
    return taken.convert("RGB")


def main() -> None:
    weights, out, *photo = sys.argv[1:]
    with Running(Desk(load([weights], "auto"))) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=SOFTWARE)
        shots = [shot(browser, url, scheme, next(iter(photo), None), n) for n, scheme in enumerate(("light", "dark"))]
        browser.close()
    page = Image.new("RGB", (SIZE["width"], 2 * SIZE["height"]))
    for row, taken in enumerate(shots):
        page.paste(taken, (0, row * SIZE["height"]))
    page.save(out, optimize=True)


if __name__ == "__main__":
    main()
