"""The sidecar's RESP: requests to bytes, bytes to answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Union

from ._bounds import (
    MAX_ANSWER_BYTES,
    MAX_ANSWER_DEPTH,
    MAX_ANSWER_ELEMENTS,
    MAX_ATTRIBUTES,
    MAX_NAME_BYTES,
)
from ._decision import Decision
from ._errors import RequestError, Unavailable


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An answer that is an error: its code word, and a sentence."""

    code: str
    message: str


Reply = Union[int, str, None, ErrorReply, "list[Reply]"]


class GarbledAnswer(Exception):
    """What came is no answer of a sidecar."""


class _Incomplete(Exception):
    """The rest of the answer has not arrived."""


# --- Requests -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """One command as bytes.

    Attributes:
        frame: what is sent.
        repeatable: whether sending it twice counts once: it charges nothing, carries an ID, or settles a reservation.
    """

    frame: bytes
    repeatable: bool


def _name(what: str, value: str) -> bytes:
    """A name as the sidecar takes it. Only what would break the frame or its bound is looked at here."""
    if not isinstance(value, str):
        raise TypeError(f"the {what} must be a str, not {type(value).__name__}")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise RequestError("BADARG", f"the {what} cannot be written as UTF-8") from None
    if not 1 <= len(encoded) <= MAX_NAME_BYTES:
        raise RequestError("BADARG", f"the {what} has {len(encoded)} bytes, send 1 to {MAX_NAME_BYTES}")
    return encoded


def _number(what: str, value: int) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"the {what} must be an int, not {type(value).__name__}")
    if abs(value) >= 1 << 63:
        raise RequestError("BADARG", f"the {what} is out of range")
    return b"%d" % value


def _cost(cost: int) -> list[bytes]:
    number = _number("cost", cost)
    return [] if cost == 1 else [b"COST", number]


def _frame(words: Sequence[bytes]) -> bytes:
    return b"*%d\r\n%s" % (len(words), b"".join([b"$%d\r\n%s\r\n" % (len(word), word) for word in words]))


def _identities(server: str | None, session: str | None, attributes: Mapping[str, str] | None) -> list[bytes]:
    words: list[bytes] = []
    if server is not None:
        words += [b"SERVER", _name("server", server)]
    if session is not None:
        words += [b"SESSION", _name("session", session)]
    if attributes:
        if len(attributes) > MAX_ATTRIBUTES:
            raise RequestError("BADARG", f"there are {len(attributes)} attributes, send at most {MAX_ATTRIBUTES}")
        for name, value in attributes.items():
            words += [b"ATTR", _name("attribute's name", name), _name(f"attribute {name}", value)]
    return words


def check_request(
    grant: str,
    tool: str,
    cost: int = 1,
    server: str | None = None,
    session: str | None = None,
    attributes: Mapping[str, str] | None = None,
    id: str | None = None,
    approved: bool = False,
    reserve: bool = False,
) -> Request:
    """`CHECK`."""
    words = [b"CHECK", _name("grant", grant), _name("tool", tool)]
    words += _cost(cost)
    words += _identities(server, session, attributes)
    if reserve:
        words.append(b"RESERVE")
    if id is not None:
        words += [b"ID", _name("id", id)]
    if approved:
        words.append(b"APPROVED")
    return Request(_frame(words), repeatable=id is not None)


def charge_request(
    verb: str,
    grant: str,
    tool: str,
    cost: int,
    server: str | None = None,
    session: str | None = None,
    attributes: Mapping[str, str] | None = None,
    id: str | None = None,
) -> Request:
    """`CHARGE` or `REFUND`."""
    words = [verb.encode(), _name("grant", grant), _name("tool", tool), _number("cost", cost)]
    words += _identities(server, session, attributes)
    if id is not None:
        words += [b"ID", _name("id", id)]
    return Request(_frame(words), repeatable=id is not None)


def peek_request(
    grant: str,
    tool: str,
    cost: int = 1,
    server: str | None = None,
    session: str | None = None,
    attributes: Mapping[str, str] | None = None,
    approved: bool = False,
) -> Request:
    """`PEEK`."""
    words = [b"PEEK", _name("grant", grant), _name("tool", tool)]
    words += _cost(cost)
    words += _identities(server, session, attributes)
    if approved:
        words.append(b"APPROVED")
    return Request(_frame(words), repeatable=True)


def settlement_request(command: bytes, grant: str, reservation: str, cost: int | None = None) -> Request:
    """`COMMIT`, `CANCEL` or `RELEASE`: done once, however often it is sent."""
    words = [command, _name("grant", grant), _name("reservation", reservation)]
    if cost is not None:
        words.append(_number("cost", cost))
    return Request(_frame(words), repeatable=True)


# --- Answers --------------------------------------------------------------------------------------------------------


class ReplyParser:
    """Takes bytes as they come, and gives whole answers in their order."""

    __slots__ = ("_buffer", "_position")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0

    def feed(self, data: bytes) -> None:
        """Adds bytes that arrived."""
        self._buffer += data

    def next(self) -> tuple[Reply] | None:
        """The next whole answer; None if it has not all arrived.

        Raises:
            GarbledAnswer: what arrived is no answer of a sidecar.
        """
        start = self._position
        try:
            reply = self._value(MAX_ANSWER_DEPTH)
        except _Incomplete:
            self._position = start
            if len(self._buffer) - start > MAX_ANSWER_BYTES:
                raise GarbledAnswer("the answer is too long") from None
            del self._buffer[:start]
            self._position = 0
            return None
        return (reply,)

    @property
    def is_empty(self) -> bool:
        """Whether nothing that arrived is left."""
        return self._position == len(self._buffer)

    def _line(self) -> bytes:
        end = self._buffer.find(b"\r\n", self._position)
        if end < 0:
            raise _Incomplete
        line = bytes(self._buffer[self._position : end])
        self._position = end + 2
        return line

    def _value(self, depth: int) -> Reply:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return _text(rest)
        if kind == b"-":
            code, _, message = _text(rest).partition(" ")
            return ErrorReply(code, message)
        if kind not in (b":", b"$", b"*"):
            raise GarbledAnswer(f"an answer began with {line[:16]!r}")
        number = _integer(rest)
        if kind == b":":
            return number
        if number < 0:
            return None
        return self._bulk(number) if kind == b"$" else self._array(number, depth)

    def _bulk(self, length: int) -> str:
        if length > MAX_ANSWER_BYTES:
            raise GarbledAnswer("the answer is too long")
        end = self._position + length
        if len(self._buffer) < end + 2:
            raise _Incomplete
        if self._buffer[end : end + 2] != b"\r\n":
            raise GarbledAnswer("a text has another length than it says")
        text = _text(bytes(self._buffer[self._position : end]))
        self._position = end + 2
        return text

    def _array(self, count: int, depth: int) -> Reply:
        if depth == 0 or count > MAX_ANSWER_ELEMENTS:
            raise GarbledAnswer("the answer has too many elements")
        return [self._value(depth - 1) for _ in range(count)]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _integer(data: bytes) -> int:
    if not data.lstrip(b"-").isdigit() or len(data) > 20:
        raise GarbledAnswer(f"{data[:16]!r} is no number")
    return int(data)


def _raise_error(reply: ErrorReply) -> None:
    if reply.code == "BUSY":
        # The sidecar says BUSY before it counts anything.
        raise Unavailable("busy", f"the sidecar is overloaded: {reply.message}", sent=False)
    raise RequestError(reply.code, reply.message)


def decision_of(reply: Reply) -> tuple[Decision, str]:
    """A check's answer, and the id of its reservation or an empty string.

    Raises:
        RequestError: the answer is an error that is the caller's fault.
        Unavailable: the answer is `BUSY`.
        GarbledAnswer: it is something else.
    """
    if isinstance(reply, ErrorReply):
        _raise_error(reply)
    if not isinstance(reply, list) or len(reply) < 9:
        raise GarbledAnswer("the answer to a check has nine elements")
    numbers, texts = reply[:5], reply[5:10]
    if not all(isinstance(number, int) for number in numbers) or not all(isinstance(text, str) for text in texts):
        raise GarbledAnswer("the answer to a check has five numbers and four texts")
    allowed, limit, remaining, retry_after_ms, reset_ms = (number for number in numbers if isinstance(number, int))
    verdict, rule, source, message, *reservation = (text for text in texts if isinstance(text, str))
    decision = Decision(
        allowed == 1, limit, remaining, retry_after_ms, reset_ms, verdict, rule, source, message
    )
    return decision, reservation[0] if reservation else ""


def done_of(reply: Reply) -> bool:
    """A settlement's answer: whether it was done. Raises as `decision_of` does."""
    if isinstance(reply, ErrorReply):
        _raise_error(reply)
    if not isinstance(reply, int):
        raise GarbledAnswer("the answer to a settlement is a number")
    return reply == 1
