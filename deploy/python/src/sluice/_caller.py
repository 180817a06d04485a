"""Who calls: what adapters know of it, and which grant that is."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Union


@dataclass(frozen=True, slots=True)
class Caller:
    """What an adapter knows of who calls.

    Attributes:
        headers: of the HTTP request, names in lower case; empty if there is none.
        client_id: of the access token that the framework verified.
        subject: the token's owner, likewise; many owners may share one client id.
        session: the MCP session's id.
        context: the framework's own request or context.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    client_id: str | None = None
    subject: str | None = None
    session: str | None = None
    context: object = None


#: Gives the caller's grant; None if it has none.
GrantOf = Callable[[Caller], Union[str, None, Awaitable[Union[str, None]]]]


def by_client_id(caller: Caller) -> str | None:
    """The client id of the verified access token."""
    return caller.client_id or None


def by_subject(caller: Caller) -> str | None:
    """The owner of the verified access token."""
    return caller.subject or None


def by_bearer(caller: Caller) -> str | None:
    """`bearer:` and the first 32 hexadecimal digits of the SHA-256 of the bearer token: counters without the secret.

    The token is not verified here: a caller who makes up a token has a grant of its own. A policy for such grants belongs under `*`, or
    the gateway verifies tokens first.
    """
    kind, _, token = caller.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if kind.lower() != "bearer" or not token:
        return None
    return "bearer:" + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def by_header(name: str) -> Callable[[Caller], str | None]:
    """The value of a header. Only behind a proxy that sets it, and removes the one that a client sends."""
    key = name.lower()
    return lambda caller: caller.headers.get(key) or None


def first_of(*ways: GrantOf) -> GrantOf:
    """The first grant that one of these ways finds."""

    async def grant(caller: Caller) -> str | None:
        for way in ways:
            if (found := await grant_of(way, caller)) is not None:
                return found
        return None

    return grant


#: The verified client id, else the bearer token's hash.
default_grant: GrantOf = first_of(by_client_id, by_bearer)


async def grant_of(way: GrantOf, caller: Caller) -> str | None:
    """Asks a function that may be a coroutine's."""
    found = way(caller)
    if inspect.isawaitable(found):
        return await found
    return found
