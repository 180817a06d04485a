"""The middleware around a real Starlette application, served by uvicorn and asked over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

import httpx
from serving import served
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from support import Sidecar

from sluice import AsyncSluice
from sluice.asgi import SluiceMiddleware, by_header


def application(path: str, fail: Any = "closed", **options: Any) -> Starlette:
    async def answer(request: Request) -> Response:
        return PlainTextResponse("done", status_code=int(request.query_params.get("status", 200)))

    async def fails(request: Request) -> Response:
        raise ValueError

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    sluice = AsyncSluice(path, fail=fail, connect_timeout=20, timeout=20)
    return Starlette(
        routes=[Route("/", answer), Route("/fails", fails), WebSocketRoute("/talk", talk)],
        middleware=[Middleware(SluiceMiddleware, sluice=sluice, **options)],
    )


@pytest.fixture
def url(shared_sidecar: Sidecar) -> Iterator[str]:
    with served(application(shared_sidecar.path, tool="run")) as url:
        yield url


def test_answers_have_headers_and_the_eleventh_is_429(url: str, shared_sidecar: Sidecar, grant: str) -> None:
    headers = {"Authorization": f"Bearer {grant}"}
    answers = [httpx.get(url, headers=headers) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert [int(answer.headers["RateLimit-Remaining"]) for answer in answers] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"10"}
    assert answers[0].text == "done" and "Retry-After" not in answers[0].headers
    assert int(answers[10].headers["Retry-After"]) > 0
    assert answers[10].json()["error"].startswith("run is limited to 10 calls")
    assert answers[10].json()["rule"] == "/tools/run/limits/runs"
    hashed = f"bearer:{hashlib.sha256(grant.encode()).hexdigest()[:32]}"
    assert shared_sidecar.used(hashed, "run") == [10]


def test_nobody_is_403(url: str) -> None:
    answer = httpx.get(url)
    assert answer.status_code == 403 and answer.json()["rule"] == "(no grant)"
    assert httpx.get(url, headers={"Authorization": "Basic x"}).status_code == 403


def test_what_is_checked_is_up_to_a_function(shared_sidecar: Sidecar, grant: str) -> None:
    tools = {"GET": "unknown", "POST": None}
    app = application(shared_sidecar.path, tool=lambda scope: tools.get(scope["method"]), grant=by_header("X-Grant"))
    with served(app) as url:
        assert httpx.get(url, headers={"X-Grant": grant}).status_code == 403
        assert httpx.post(url).status_code == 405


@pytest.mark.parametrize("header", ["x" * 300, "\xff"], ids=["long", "latin-1"])
def test_headers_from_outside_break_nothing(header: str, shared_sidecar: Sidecar) -> None:
    with served(application(shared_sidecar.path, tool="free", grant=by_header("X-Grant"))) as url:
        answer = httpx.get(url, headers={b"X-Grant": header.encode("latin-1")})
        assert answer.status_code == (403 if len(header) > 256 else 200)


def test_reserved_requests_that_fail_cost_nothing(shared_sidecar: Sidecar, grant: str) -> None:
    with served(application(shared_sidecar.path, tool="slot", anonymous=grant, reserve=True, cost=5)) as url:
        assert httpx.get(url).status_code == 200
        assert httpx.get(url, params={"status": 503}).status_code == 503
        assert httpx.get(f"{url}/fails").status_code == 500
        assert httpx.get(url, params={"status": 404}).status_code == 404
    assert shared_sidecar.used(grant, "slot") == [0, 10]


@pytest.mark.parametrize(("fail", "status"), [("closed", 503), ("open", 200)])
def test_without_a_sidecar(fail: str, status: int) -> None:
    with served(application("/tmp/there-is-no.sock", fail, anonymous="g")) as url:
        answer = httpx.get(url)
        assert answer.status_code == status and answer.headers.get("Retry-After") == ("1" if status == 503 else None)


def test_websockets_are_checked_when_they_open(shared_sidecar: Sidecar, grant: str) -> None:
    from starlette.testclient import TestClient
    from starlette.websockets import WebSocketDisconnect

    client = TestClient(application(shared_sidecar.path, tool="minute", anonymous=grant))
    with client.websocket_connect("/talk") as socket:
        assert socket.receive_text() == "hello"
    with pytest.raises(WebSocketDisconnect) as caught, client.websocket_connect("/talk"):
        pass
    assert caught.value.code == 1008
