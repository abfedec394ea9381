"""The web page and the HTTP API, on one port."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

import gradio
import orjson
import plotly
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.types import ASGIApp

from polyscene import __version__, predict
from polyscene.app.desk import Desk
from polyscene.app.door import Door, refused
from polyscene.app.upload import Refused
from polyscene.predict import Predictor

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SESSIONS = 4  # gradio remembers the last arguments of so many clients


def run(weights: Sequence[str], host: str, port: int, device: str) -> None:
    """Serves until interrupted. Raises what ``predict.load`` raises, and ``OSError`` where the port is taken."""
    place = _bind(host, port)
    with place:
        desk = Desk(load(weights, device))
        desk.warm()
        server = uvicorn.Server(_config(application(desk)))
        place.listen()  # whoever comes while the rest starts waits
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{place.getsockname()[1]}"
        print(f"Polyscene at {address} with {', '.join(desk.predictors)}; Ctrl-C ends it", flush=True)
        server.run([place])
        desk.close()


def load(weights: Sequence[str], device: str) -> dict[str, Predictor]:
    """By the shortest ends of their paths that tell them apart."""
    paths = list(dict.fromkeys(weights))
    if not paths:
        raise ValueError("no weights are given; name a run, a folder of weights or a file, or leave the option out")
    return {name: predict.load(path, device) for name, path in zip(names(paths), paths, strict=True)}


def names(paths: Sequence[str]) -> list[str]:
    """The last parts of each path, as many as it takes for no two to be alike."""
    parts = [Path(path).parts for path in paths]
    for count in range(1, max(map(len, parts), default=1)):
        short = ["/".join(part[-count:]) for part in parts]
        if len(set(short)) == len(short):
            return short
    return list(paths)


class Running:
    """The application in a thread of its own, for tests and notebooks: ``with Running(desk) as url: ...``"""

    def __init__(self, desk: Desk, host: str = "127.0.0.1", port: int = 0) -> None:
        self._place = _bind(host, port)
        self.url = f"http://{host}:{self._place.getsockname()[1]}"
        self._desk = desk
        self._server = uvicorn.Server(_config(application(desk)))
        self._thread = threading.Thread(target=self._server.run, args=([self._place],), daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the server did not start; its log says why")
            self._thread.join(0.02)
        return self.url

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._place.close()
        self._desk.close()


def application(desk: Desk) -> ASGIApp:
    """All routes, behind the door."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _answer_refusals(app)
    _serve_page(app, desk)
    _serve_pictures(app, desk)
    gradio.mount_gradio_app(
        app, _endpoint(desk), path="/", allowed_paths=[], show_error=False, ssr_mode=False, mcp_server=False
    )
    return Door(app, desk.limits)


def _answer_refusals(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def say(_: Request, error: Refused) -> Response:
        return refused(error.status, str(error))

    @app.exception_handler(RequestValidationError)
    async def explain(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return refused(422, f"{first['loc'][-1]}: {first['msg']}")


def _serve_pictures(app: FastAPI, desk: Desk) -> None:
    """The body of a request is the file itself."""

    async def done(request: Request, ask: Callable[..., Future[Any]], *how: Any) -> Any:
        return await asyncio.wrap_future(ask(await request.body(), *how))

    @app.post("/see")
    async def see(request: Request, weights: str = "", field_of_view: float | None = None) -> Response:
        return _json(await done(request, desk.see, weights, field_of_view))

    @app.post("/values")
    async def values(request: Request, weights: str = "", field_of_view: float | None = None) -> Response:
        return _json(await done(request, desk.values, weights, field_of_view))

    @app.post("/download")
    async def download(request: Request, weights: str = "", field_of_view: float | None = None) -> Response:
        named = {"Content-Disposition": 'attachment; filename="polyscene.zip"'}
        return Response(await done(request, desk.pack, weights, field_of_view), media_type="application/zip",
                        headers=named)  # fmt: skip


def _endpoint(desk: Desk) -> gradio.Blocks:
    """``/values`` for ``gradio_client``."""

    def values(picture: str, weights: str = "", field_of_view: float | None = None) -> dict:
        """Look at a picture, base64 text of a file: the camera and every facet in figures."""
        try:
            return desk.values(_decoded(picture), weights, field_of_view).result()
        except Refused as error:
            raise gradio.Error(str(error), print_exception=False) from None

    with gradio.Blocks(title="Polyscene", analytics_enabled=False) as blocks:
        gradio.api(values, api_name="values")
    blocks.state_session_capacity = SESSIONS
    return blocks.queue(max_size=desk.limits.waiting, default_concurrency_limit=1, api_open=False)


def _decoded(picture: str) -> bytes:
    text = picture.partition(",")[2] if picture.startswith("data:") else picture
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("the picture is not base64 text of a file") from None


def _serve_page(app: FastAPI, desk: Desk) -> None:
    """Read once from the package; an address is looked up, never opened."""
    page = files("polyscene.app") / "page"
    stored = {item.name: item.read_bytes() for item in page.iterdir() if Path(item.name).suffix in KINDS}
    samples = {item.name: item.read_bytes() for item in _samples().iterdir() if item.name.endswith(".jpg")}
    about = {
        "version": __version__,
        "weights": {name: _licence(predictor) for name, predictor in desk.predictors.items()},
        "limits": {"words": desk.limits.words, "bytes": desk.limits.bytes},
        "samples": [{"file": name, **told} for name, told in credits().items() if name in samples],
    }

    @app.get("/")
    async def index() -> Response:
        return _page("index.html", stored["index.html"])

    @app.get("/about")
    async def tell() -> Response:
        return _json(about)

    @app.get("/samples/{name}")
    async def sample(name: str) -> Response:
        return refused(404, "no such sample") if name not in samples else _kept(samples[name], "image/jpeg")

    @app.get("/plotly.min.js")
    async def script() -> Response:
        return _kept(_plotly(), "text/javascript")

    def serve(name: str) -> None:
        @app.get(f"/{name}")
        async def part() -> Response:
            return _page(name, stored[name])

    for name in stored:
        serve(name)


def credits() -> dict[str, dict[str, str]]:
    """By file, the rows of the samples' table of credits."""
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \| (.+) \| (.+) \|$", (_samples() / "CREDITS.md").read_text(), re.M)
    return {file: {"what": what, "by": by, "licence": licence} for file, what, by, licence in rows}


def _licence(predictor: Predictor) -> str:
    return str(predictor.facts.get("licence", "not stated"))


def _samples() -> Any:
    return files("polyscene") / "samples"


@cache
def _plotly() -> bytes:
    return (files(plotly) / "package_data" / "plotly.min.js").read_bytes()


def _json(answer: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def _page(name: str, content: bytes) -> Response:
    return Response(content, media_type=KINDS[Path(name).suffix], headers={"Cache-Control": "no-cache"})


def _kept(content: bytes, kind: str) -> Response:
    return Response(content, media_type=kind, headers={"Cache-Control": "max-age=3600"})


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=30)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    place = socket.socket(family, socket.SOCK_STREAM)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((host, port))
    except OSError as error:
        place.close()
        raise OSError(f"{host}:{port} cannot be used ({error.strerror}); choose another --port or --host") from None
    return place
