"""Senders that are too many, too slow, or another site's pages."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from polyscene.app import door
from polyscene.app.door import Door
from polyscene.app.upload import Limits


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    body = (await receive())["body"]
    await PlainTextResponse(body.decode())(scope, receive, send)


def visitor(behind: Door) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(behind), base_url="http://scenes.example:7860")


def test_more_than_may_wait_are_turned_away_before_they_send() -> None:
    async def visit() -> list[int]:
        going, enough = asyncio.Event(), asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            going.set()
            await enough.wait()
            await answering(scope, receive, send)

        async with visitor(Door(slow, Limits(waiting=1))) as client:
            first = asyncio.create_task(client.post("/see", content=b"one"))
            await going.wait()
            second = await client.post("/see", content=b"two")
            page = asyncio.create_task(client.get("/about"))
            enough.set()
            told = [await first, second, await page, await client.post("/see", content=b"three")]
        return [answer.status_code for answer in told]

    assert asyncio.run(visit()) == [200, 503, 200, 200]


def test_who_sends_too_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "PATIENCE", 0.05)

    async def drops() -> AsyncIterator[bytes]:
        while True:
            yield b"drop"
            await asyncio.sleep(0.01)

    async def visit() -> list[httpx.Response]:
        async with visitor(Door(answering, Limits(waiting=1))) as client:
            return [await client.post("/see", content=drops()), await client.post("/see", content=b"at once")]

    slow, quick = asyncio.run(visit())
    assert slow.status_code == 408 and "did not come in" in slow.json()["error"]
    assert quick.status_code == 200 and quick.text == "at once"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # no browser
        ({"sec-fetch-site": "same-origin", "origin": "http://other.example"}, 200),  # behind a server that renames it
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://scenes.example:7860"}, 200),  # plain http to another machine: browsers leave the other out
        ({"origin": "http://other.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
    ],
    ids=str,
)
def test_pages_of_other_sites_are_turned_away(headers: dict[str, str], status: int) -> None:
    async def visit() -> int:
        async with visitor(Door(answering, Limits())) as client:
            return (await client.post("/see", content=b"picture", headers=headers)).status_code

    assert asyncio.run(visit()) == status


@pytest.mark.parametrize(
    ("server", "host", "status"),
    [
        ("127.0.0.1", "127.0.0.1:7860", 200),
        ("127.0.0.1", "localhost:7860", 200),
        ("::1", "[::1]:7860", 200),
        ("127.0.0.1", "other.example:7860", 421),
        ("127.0.0.1", "192.168.0.9", 421),
        ("127.0.0.1", "[", 421),
        ("192.168.0.9", "scenes.example:7860", 200),
    ],
)
def test_a_site_that_took_our_address_is_turned_away(server: str, host: str, status: int) -> None:
    said: list[Message] = []

    async def send(message: Message) -> None:
        said.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", host.encode())], "query_string": b""}
    asyncio.run(Door(answering, Limits())({**scope, "server": (server, 7860)}, receive, send))
    assert said[0]["status"] == status
