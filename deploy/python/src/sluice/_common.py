"""What the blocking and the asyncio client share."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass


from ._bounds import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, MAX_CONNECTIONS
from ._decision import Decision, Fail, no_answer
from ._errors import Unavailable
from ._protocol import Request

logger = logging.getLogger("sluice")


@dataclass(frozen=True, slots=True)
class Options:
    """How a client asks; see `Sluice`."""

    path: str
    fail: Fail
    connect_timeout: float = CONNECT_TIMEOUT_S
    timeout: float = ANSWER_TIMEOUT_S
    max_connections: int = MAX_CONNECTIONS

    def __post_init__(self) -> None:
        if self.fail not in ("closed", "open"):
            raise ValueError(f"fail is {self.fail!r}, expected 'closed' or 'open'")
        if not 1 <= len(os.fsencode(self.path)) <= 107:
            raise ValueError("a Unix socket's path has 1 to 107 bytes")
        if self.connect_timeout <= 0 or self.timeout <= 0 or self.max_connections < 1:
            raise ValueError("timeouts and max_connections must be positive")


def may_repeat(error: Unavailable, requests: list[Request]) -> bool:
    """Whether to ask once more, on another connection: the first one was lost, and nothing is counted twice.

    A time-out is final: the time is used up, and a sidecar that is stopped does not answer the second time either.
    """
    return error.reason == "lost" and (not error.sent or all(request.repeatable for request in requests))


class Health:
    """Logs a line when the sidecar stops answering, and one when it answers again; none for each check."""

    __slots__ = ("_path", "_reason")

    def __init__(self, path: str) -> None:
        self._path = path
        self._reason: str | None = None

    def answered(self) -> None:
        """The sidecar answered."""
        if self._reason is not None:
            self._reason = None
            logger.info("%s answers again", self._path)

    def failed(self, error: Unavailable) -> None:
        """It did not."""
        if self._reason != error.reason:
            self._reason = error.reason
            logger.warning("%s does not answer (%s): %s", self._path, error.reason, error)

    def decide(self, error: Unavailable, fail: Fail) -> Decision:
        """The decision without an answer."""
        self.failed(error)
        return no_answer(error, fail)


class ReservationState:
    """What became of a reservation, apart from the socket.

    Attributes:
        grant: whose it is.
        id: its id; empty if there is nothing to settle: denied, answered by this client, or not begun.
    """

    __slots__ = ("_decision", "_is_charge_settled", "_is_over", "grant", "id")

    def __init__(self, grant: str) -> None:
        self.grant = grant
        self.id = ""
        self._decision: Decision | None = None
        self._is_charge_settled = False
        self._is_over = False

    @property
    def decision(self) -> Decision:
        """The answer to the check."""
        if self._decision is None:
            raise RuntimeError("the reservation has not begun: use `with`, or call begin()")
        return self._decision

    def __bool__(self) -> bool:
        return self._decision is not None and self._decision.allowed

    def _begun(self, decision: Decision, reservation: str) -> None:
        self._decision = decision
        self.id = reservation

    def _not_settled(self, what: str, error: Unavailable) -> bool:
        logger.warning("a reservation was not %s: %s", what, error)
        return False
