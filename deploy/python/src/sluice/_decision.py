"""The answer to a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._bounds import UNAVAILABLE_RETRY_MS
from ._errors import Unavailable

#: What a check returns when there was no answer: a denial (`closed`), or an admission (`open`).
Fail = Literal["closed", "open"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The sidecar's answer, or this client's if there was none. True if allowed.

    Attributes:
        allowed: whether the call may pass.
        limit: the maximum of the binding limit; -1 if none applied.
        remaining: what is left of it after this check; -1 if none applied.
        retry_after_ms: 0 if allowed; how long until the same check could pass; -1 if it never can.
        reset_ms: until the binding window resets; -1 if there is none.
        verdict: `allow`, `limit`, `deny`, `approve` or `unavailable`.
        rule: what decided, as a path into the policy; from this client the reason in parentheses, such as `(timeout)`.
        source: `shared`, `local`, `cache` or `policy`; `client` if this client decided.
        message: when denied, one sentence fit to show an agent; else empty.
    """

    allowed: bool
    limit: int
    remaining: int
    retry_after_ms: int
    reset_ms: int
    verdict: str
    rule: str
    source: str
    message: str

    def __bool__(self) -> bool:
        return self.allowed

    @property
    def retry_after_s(self) -> int | None:
        """`retry_after_ms` as the header `Retry-After` has it: whole seconds, rounded up; None if there is nothing to wait for."""
        return -(-self.retry_after_ms // 1000) if self.retry_after_ms > 0 else None

    @property
    def http_status(self) -> int:
        """200, or the status of a denial: 429 (over a limit), 503 (unavailable), 403 (forbidden, or to be approved)."""
        if self.allowed:
            return 200
        return {"limit": 429, "unavailable": 503}.get(self.verdict, 403)

    @property
    def http_headers(self) -> dict[str, str]:
        """`RateLimit-Limit` and `RateLimit-Remaining` if a limit applied, and `Retry-After` if waiting helps."""
        headers: dict[str, str] = {}
        if self.limit >= 0:
            headers["RateLimit-Limit"] = str(self.limit)
            headers["RateLimit-Remaining"] = str(max(0, self.remaining))
        if not self.allowed and self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        return headers

    @property
    def meta(self) -> dict[str, str | int]:
        """A denial's facts as the `_meta` of an MCP result."""
        return {
            "sluice/verdict": self.verdict,
            "sluice/rule": self.rule,
            "sluice/retry_after_ms": self.retry_after_ms,
        }


def no_answer(error: Unavailable, fail: Fail) -> Decision:
    """The decision when the sidecar gave none."""
    is_open = fail == "open"
    return Decision(
        allowed=is_open,
        limit=-1,
        remaining=-1,
        retry_after_ms=0 if is_open else UNAVAILABLE_RETRY_MS,
        reset_ms=-1,
        verdict="unavailable",
        rule=f"({error.reason})",
        source="client",
        message="" if is_open else "The rate limiter does not answer. Try again in 1 second.",
    )


def no_grant(tool: str) -> Decision:
    """The denial of a call whose caller is unknown: nobody's counter can be charged."""
    return Decision(False, -1, -1, -1, -1, "deny", "(no grant)", "client", f"{tool} needs a caller that is known.")
