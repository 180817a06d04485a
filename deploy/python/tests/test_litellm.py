"""The logger in a real LiteLLM, which calls an OpenAI-like service of the test's own."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Otherwise it fetches its price list when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
litellm = pytest.importorskip("litellm")

from serving import served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from support import Sidecar, wait_until

from sluice import AsyncSluice, Denied
from sluice.litellm import SluiceLogger, default_grant, estimate_tokens

TOKENS = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
QUESTION = [{"role": "user", "content": "what?"}]

#: The service has a question to which it gives no answer.
waiting = threading.Event()


def _chunks(head: dict[str, Any], breaks: bool) -> list[dict[str, Any]]:
    delta = [{"index": 0, "delta": {"role": "assistant", "content": "word "}, "finish_reason": None}]
    end = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    return [{**head, "choices": delta}] * 5 + (
        [] if breaks else [{**head, "choices": end}, {**head, "choices": [], "usage": TOKENS}]
    )


async def _complete(request: Request) -> Response:
    body = await request.json()
    question = body["messages"][0]["content"]
    if question == "fail":
        return JSONResponse({"error": {"message": "failed"}}, 500)
    if question == "wait":
        waiting.set()
        await asyncio.sleep(60)
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "model"}
    if body.get("stream"):

        async def stream() -> AsyncIterator[bytes]:
            for chunk in _chunks({**head, "object": "chat.completion.chunk"}, question == "break"):
                yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
            yield b"data: [DONE]\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")
    choice = {"index": 0, "message": {"role": "assistant", "content": "words"}, "finish_reason": "stop"}
    return JSONResponse({**head, "choices": [choice], "usage": TOKENS})


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with served(Starlette(routes=[Route("/chat/completions", _complete, methods=["POST"])])) as url:
        yield url


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """LiteLLM logs on the event loop in which it was first called."""
    loop = asyncio.new_event_loop()
    yield loop
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@pytest.fixture(scope="module")
def logger() -> Iterator[SluiceLogger]:
    logger = SluiceLogger(AsyncSluice("/tmp/there-is-no.sock"))
    litellm.callbacks = [logger]
    yield logger
    litellm.callbacks = []


@pytest.fixture
def run(
    shared_sidecar: Sidecar, service: str, grant: str, loop: asyncio.AbstractEventLoop, logger: SluiceLogger
) -> Callable[..., None]:
    """Runs a test's body with the logger installed; the tool is `slot`, and 100 tokens are reserved."""

    def run(body: Callable[[Callable[..., Any], SluiceLogger], Awaitable[None]], path: str = "", **options: Any) -> None:
        async def main() -> None:
            async with AsyncSluice(path or shared_sidecar.path, connect_timeout=20, timeout=20) as sluice:
                given = {"tool": lambda request: "slot", "estimate": lambda request: 100, **options}
                # LiteLLM keeps the first logger of a class, as long as it runs.
                logger.__init__(sluice, **given)  # type: ignore[misc]

                def ask(question: str = "what?", **more: Any) -> Any:
                    messages = [{"role": "user", "content": question}]
                    given = {"api_base": service, "api_key": "k", "user": grant, "max_retries": 0, **more}
                    return litellm.acompletion(model="openai/model", messages=messages, **given)

                await body(ask, logger)

        loop.run_until_complete(asyncio.wait_for(main(), 30))

    return run


async def settled(logger: SluiceLogger) -> None:
    """LiteLLM calls its loggers in the background."""
    while logger._open or logger._sluice._background:
        await asyncio.sleep(0.005)


def test_the_usage_is_committed(run: Callable[..., None], shared_sidecar: Sidecar, grant: str) -> None:
    async def body(ask: Callable[..., Any], logger: SluiceLogger) -> None:
        assert (await ask()).usage.total_tokens == 12
        await settled(logger)

    run(body)
    wait_until("the release", lambda: shared_sidecar.used(grant, "slot") == [0, 12])


def test_so_is_that_of_a_stream_read_to_its_end(run: Callable[..., None], shared_sidecar: Sidecar, grant: str) -> None:
    async def body(ask: Callable[..., Any], logger: SluiceLogger) -> None:
        stream = await ask(stream=True, stream_options={"include_usage": True})
        assert shared_sidecar.used(grant, "slot") == [1, 100]
        assert len([chunk async for chunk in stream]) > 3
        await settled(logger)

    run(body)
    wait_until("the release", lambda: shared_sidecar.used(grant, "slot") == [0, 12])


def test_a_call_that_fails_costs_nothing(run: Callable[..., None], shared_sidecar: Sidecar, grant: str) -> None:
    async def body(ask: Callable[..., Any], logger: SluiceLogger) -> None:
        for stream in (False, True):
            with pytest.raises(litellm.InternalServerError):
                await ask("fail", stream=stream)
            assert not logger._open and shared_sidecar.used(grant, "slot") == [0, 0]

    run(body)


def test_a_cancelled_call_frees_its_slot(
    run: Callable[..., None], shared_sidecar: Sidecar, grant: str
) -> None:
    async def body(ask: Callable[..., Any], logger: SluiceLogger) -> None:
        task = asyncio.ensure_future(ask("wait"))
        while shared_sidecar.used(grant, "slot") != [1, 100]:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settled(logger)

    run(body)
    # The estimate stays charged as a rule; it was seen to be given back, too.
    slots, charged = shared_sidecar.used(grant, "slot")
    assert slots == 0 and charged in (0, 100)


def test_a_denied_call_is_not_made(run: Callable[..., None], shared_sidecar: Sidecar, grant: str) -> None:
    async def body(ask: Callable[..., Any], logger: SluiceLogger) -> None:
        with pytest.raises(Denied, match="slot is limited to 1,?000 calls"):
            await ask()
        with pytest.raises(Denied, match="needs a caller"):
            await ask(user=None)

    run(body, estimate=lambda request: 1001)
    assert shared_sidecar.used(grant, "slot") == [0, 0]


def test_a_denial_is_not_the_deployments_failure(run: Callable[..., None], service: str, grant: str) -> None:
    """The router neither tries again nor takes the deployment out of service for others."""

    async def body(ask: Callable[..., Any], logger: SluiceLogger) -> None:
        asked = 0
        reserve = logger._reserve

        async def counted(request: Any) -> None:
            nonlocal asked
            asked += 1
            await reserve(request)

        logger._reserve = counted  # type: ignore[method-assign]
        parameters = {"model": "openai/model", "api_base": service, "api_key": "k"}
        models = [{"model_name": "m", "litellm_params": dict(parameters)} for _ in range(2)]
        router = litellm.Router(model_list=models, num_retries=0, allowed_fails=0, cooldown_time=60)
        with pytest.raises(Denied):
            await router.acompletion("m", QUESTION, user=grant, max_tokens=2000)
        assert asked == 1
        for _ in range(4):
            assert (await router.acompletion("m", QUESTION, user=grant, max_tokens=10)).usage.total_tokens == 12
        await settled(logger)

    run(body, estimate=estimate_tokens, tool=lambda request: "tokens")


def test_without_a_sidecar_calls_are_denied(run: Callable[..., None]) -> None:
    async def body(ask: Callable[..., Any], logger: SluiceLogger) -> None:
        with pytest.raises(Denied, match="does not answer"):
            await ask()

    run(body, path="/tmp/there-is-no.sock")


def test_the_proxy_answers_a_denial_with_its_status(run: Callable[..., None], grant: str) -> None:
    fastapi = pytest.importorskip("fastapi")

    async def body(ask: Callable[..., Any], logger: SluiceLogger) -> None:
        data = {"model": "m", "litellm_call_id": "1", "metadata": {"user_api_key_hash": "h", "user_api_key_alias": grant}}
        await logger.async_pre_call_hook(None, None, data, "acompletion")
        await logger.async_pre_call_deployment_hook(data, None)
        assert list(logger._open) == ["1"], "one reservation for a request"
        await logger.async_post_call_failure_hook(data, ValueError(), None)
        assert not logger._open
        logger._estimate = lambda request: 1001
        with pytest.raises(fastapi.HTTPException) as caught:
            await logger.async_pre_call_hook(None, None, data, "acompletion")
        assert caught.value.status_code == 429 and caught.value.detail["error"]["code"] == "limit"

    run(body)


def test_a_running_proxy_commits_what_was_used_and_answers_denials(
    service: str, sidecar: Sidecar, tmp_path: Path
) -> None:
    if importlib.util.find_spec("orjson") is None or importlib.util.find_spec("apscheduler") is None:
        pytest.skip("there is no litellm[proxy]")
    words = [sys.executable, str(Path(__file__).with_name("litellm_proxy.py")), sidecar.path, service]
    with open(tmp_path / "errors", "wb") as errors:
        proxy = subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert proxy.stdout is not None and proxy.stdin is not None
        lines = (line for line in proxy.stdout if line.startswith(b"answer "))
        answers = [json.loads(line[7:]) for line in itertools.islice(lines, 4)]
        assert [answer["status"] for answer in answers] == [200, 500, 200, 429], (tmp_path / "errors").read_text()[-3000:]
        assert answers[3]["headers"]["ratelimit-limit"] == "1000"
        wait_until("the commits", lambda: sidecar.used("key:litellm_proxy_master_key", "tokens") == [24])
        proxy.stdin.close()
        assert proxy.wait(30) == 0
    finally:
        proxy.kill()
        proxy.wait(30)


def test_who_asks_and_how_much() -> None:
    assert default_grant({"metadata": {"user_api_key_hash": "h"}, "user": "u"}) == "key:h"
    assert default_grant({"litellm_metadata": {"user_api_key_hash": "h", "user_api_key_alias": "a"}}) == "a"
    assert default_grant({"metadata": {}, "user": "u"}) == "u" and default_grant({}) is None
    assert estimate_tokens({"messages": [], "prompt": "x" * 400, "max_tokens": 5}) == 105
    assert 1000 < estimate_tokens({"messages": QUESTION}) < 1020
    assert estimate_tokens({"input": "x" * 400}) == 100 and estimate_tokens({}) == 1
