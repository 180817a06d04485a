"""What can go wrong, in two kinds: the caller's fault, and no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ._decision import Decision

#: Why there was no answer: no socket or nobody behind it; none in time; the connection ended; the sidecar said `BUSY`;
#: every connection of this client is in use; what came is no answer of a sidecar.
Reason = Literal["missing", "timeout", "lost", "busy", "pool", "garbled"]


class SluiceError(Exception):
    """The base of every error of this package."""


class RequestError(SluiceError):
    """The request was wrong, and was not counted: asking again changes nothing.

    Attributes:
        code: the sidecar's code word: `BADARG`, `TOOBIG`, `NOPERM` or `ERR`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


class Unavailable(SluiceError):
    """The sidecar gave no answer. Checks turn it into a decision, as `fail` says; everything else raises it.

    Attributes:
        reason: why.
        sent: whether the sidecar may have received the request, and so may have counted it.
    """

    def __init__(self, reason: Reason, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.sent = sent


class Denied(SluiceError):
    """A reservation was denied, so the body of `with` must not run.

    Attributes:
        decision: the denial; its message is this error's text.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.message)
        self.decision = decision
