"""A logger for LiteLLM that reserves an estimate before each call and commits the tokens that it used:
`litellm.callbacks.append(SluiceLogger(AsyncSluice(path)))`, or `callbacks:` of the proxy's settings."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from litellm.integrations.custom_logger import CustomLogger

from ._async import AsyncReservation, AsyncSluice
from ._bounds import MAX_OPEN_RESERVATIONS
from ._decision import Decision, no_grant
from ._errors import Denied

__all__ = ["SluiceLogger", "default_grant", "estimate_tokens", "model_tool"]

Request = Mapping[str, Any]

#: Tokens of an answer, where the request does not bound it.
ASSUMED_ANSWER_TOKENS = 1000


def default_grant(request: Request) -> str | None:
    """In the proxy the key's alias, or its hash; else the request's `user`."""
    for name in ("metadata", "litellm_metadata"):
        metadata = request.get(name)
        if isinstance(metadata, Mapping) and (key := metadata.get("user_api_key_hash")):
            return str(metadata.get("user_api_key_alias") or f"key:{key}")
    user = request.get("user")
    return user if isinstance(user, str) and user else None


def model_tool(request: Request) -> str:
    """`llm/` and the model's name."""
    return f"llm/{request.get('model')}"


def estimate_tokens(request: Request) -> int:
    """A quarter of the question's characters, and the most that the answer may have."""
    asked = request.get("messages") or request.get("input") or request.get("prompt") or ""
    bound = request.get("max_completion_tokens") or request.get("max_tokens")
    answer = bound if isinstance(bound, int) and bound > 0 else ASSUMED_ANSWER_TOKENS
    return max(1, len(str(asked)) // 4 + (answer if request.get("messages") or request.get("prompt") else 0))


class SluiceLogger(CustomLogger):  # type: ignore[misc, unused-ignore]
    """Asks before each asynchronous call of LiteLLM, its router or its proxy. (A synchronous `litellm.completion` passes: LiteLLM
    has no callback that can stop it.)

    A denied call raises `Denied`; in the proxy it is answered with 429, 403 or 503. An answer's tokens are committed, also of a
    stream that was read to its end; a call that failed, or was answered from LiteLLM's cache, costs nothing. A call or stream that
    was broken off stays charged with its estimate, since the model may have worked for it.

    Args:
        sluice: whom to ask.
        grant: the caller's grant, of the request's arguments; see `default_grant`.
        anonymous: the grant of a caller that has none; without it such calls are denied.
        tool: the tool as which a call is checked; see `model_tool`.
        estimate: tokens to reserve; see `estimate_tokens`.
    """

    def __init__(
        self,
        sluice: AsyncSluice,
        *,
        grant: Callable[[Request], str | None] = default_grant,
        anonymous: str | None = None,
        tool: Callable[[Request], str] = model_tool,
        estimate: Callable[[Request], int] = estimate_tokens,
    ) -> None:
        super().__init__()
        self._sluice = sluice
        self._grant = grant
        self._anonymous = anonymous
        self._tool = tool
        self._estimate = estimate
        #: By the call's id, oldest first.
        self._open: OrderedDict[str, AsyncReservation] = OrderedDict()

    # --- Before the call --------------------------------------------------------------------------------------------

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any) -> None:
        """A request to the proxy, before it chooses a deployment: a denial must not count as the deployment's failure."""
        try:
            await self._reserve(data)
        except Denied as error:
            _refuse(error.decision)

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        """A call that is about to be made: also a further try of one that failed."""
        if kwargs.get("litellm_call_id") not in self._open:
            await self._reserve(kwargs)

    async def _reserve(self, request: Request) -> None:
        tool = self._tool(request)
        grant = self._grant(request)
        if grant is None:
            grant = self._anonymous
        if grant is None:
            raise Denied(no_grant(tool))
        reservation = self._sluice.reserve(grant, tool, self._estimate(request))
        decision = await reservation.begin()
        if not decision:
            raise Denied(decision)
        call = request.get("litellm_call_id")
        if not isinstance(call, str) or not reservation.id:
            return
        self._open[call] = reservation
        if len(self._open) > MAX_OPEN_RESERVATIONS:
            self._open.popitem(last=False)
        if (task := asyncio.current_task()) is not None:
            task.add_done_callback(lambda task: self._task_ended(task, call))

    def _task_ended(self, task: asyncio.Task[Any], call: str) -> None:
        """LiteLLM calls nothing when a task is cancelled: the slot is freed here."""
        if task.cancelled() and (reservation := self._open.pop(call, None)) is not None:
            self._sluice._start(reservation.release())

    # --- After it ---------------------------------------------------------------------------------------------------

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """The whole answer is there."""
        reservation = self._open.pop(str(kwargs.get("litellm_call_id")), None)
        if reservation is None:
            return
        if kwargs.get("cache_hit"):
            await reservation.cancel()
            return
        tokens = _tokens(kwargs, response_obj)
        if tokens is not None:
            await reservation.commit(tokens)
        await reservation.release()

    async def async_post_call_failure_deployment_hook(
        self, request_data: Request, exception: Exception, call_type: Any, fallback_depth: int | None = None
    ) -> None:
        """The call failed."""
        await self._cancel(request_data)

    async def async_post_call_failure_hook(
        self, request_data: dict[str, Any], original_exception: Exception, user_api_key_dict: Any, traceback_str: Any = None
    ) -> None:
        """A request to the proxy failed, perhaps before any call was made."""
        await self._cancel(request_data)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A stream broke, or what came after the call failed: the model has worked for it."""
        reservation = self._open.pop(str(kwargs.get("litellm_call_id")), None)
        if reservation is not None:
            await reservation.release()

    async def _cancel(self, request: Request) -> None:
        reservation = self._open.pop(str(request.get("litellm_call_id")), None)
        if reservation is not None:
            await reservation.cancel()


def _tokens(kwargs: Request, response: Any) -> int | None:
    """The tokens that a call used; None if nobody says."""
    usage = getattr(response, "usage", None)
    total = getattr(usage, "total_tokens", None)
    if not total:
        summary = kwargs.get("standard_logging_object")
        total = summary.get("total_tokens") if isinstance(summary, Mapping) else None
    return total if isinstance(total, int) and total > 0 else None


def _refuse(decision: Decision) -> NoReturn:
    """Answers a request to the proxy."""
    from fastapi import HTTPException

    detail = {"error": {"message": decision.message, "type": "sluice", "code": decision.verdict}}
    raise HTTPException(decision.http_status, detail, decision.http_headers)
