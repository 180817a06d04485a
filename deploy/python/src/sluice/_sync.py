"""The blocking client."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

from ._bounds import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, MAX_CONNECTIONS, PIPELINE, READ_BYTES
from ._common import Health, Options, ReservationState, may_repeat
from ._decision import Decision, Fail
from ._errors import Denied, Unavailable
from ._protocol import (
    GarbledAnswer,
    Reply,
    ReplyParser,
    Request,
    charge_request,
    check_request,
    decision_of,
    done_of,
    peek_request,
    settlement_request,
)

T = TypeVar("T")


class _Connection:
    """One connection, used by one thread at a time. After any failure it must be closed."""

    __slots__ = ("_parser", "_readable", "_socket")

    def __init__(self, path: str, timeout: float) -> None:
        """Connects. Raises `Unavailable`."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Only a blocking connect waits for a place in the listener's queue; Linux bounds it by the time-out for sending.
            seconds, fraction = divmod(max(timeout, 0.001), 1)
            limit = struct.pack("ll", int(seconds), int(fraction * 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self._socket.connect(path)
        except BlockingIOError:
            self._socket.close()
            raise Unavailable("timeout", "the sidecar accepts no connection", sent=False) from None
        except OSError as error:
            self._socket.close()
            raise Unavailable("missing", f"{path}: {error.strerror or error}", sent=False) from error
        self._socket.setblocking(False)
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        self._parser = ReplyParser()

    def close(self) -> None:
        self._socket.close()

    def is_fresh(self) -> bool:
        """Whether it is still open. Between requests there is nothing to read, so anything to read is its end."""
        return self._parser.is_empty and not self._readable.poll(0)

    def exchange(self, requests: Sequence[Request], deadline: float) -> list[Reply]:
        """Sends all, then reads all answers, which come in that order. Raises `Unavailable`, `GarbledAnswer`."""
        self._send(b"".join([request.frame for request in requests]), len(requests[0].frame), deadline)
        replies: list[Reply] = []
        while len(replies) < len(requests):
            reply = self._parser.next()
            if reply is None:
                self._parser.feed(self._receive(deadline))
            else:
                replies.append(reply[0])
        return replies

    def _send(self, data: bytes, first: int, deadline: float) -> None:
        """Sends all. What an error says was sent is a whole request: a part of one is never carried out."""
        done = 0
        while done < len(data):
            try:
                done += self._socket.send(data[done:] if done else data)
            except BlockingIOError:
                if not self._wait(select.POLLOUT, deadline):
                    raise Unavailable("timeout", "the sidecar reads nothing", sent=done >= first) from None
            except OSError as error:
                raise Unavailable("lost", "the sidecar closed the connection", sent=done >= first) from error

    def _receive(self, deadline: float) -> bytes:
        while True:
            try:
                if not self._wait(select.POLLIN, deadline):
                    raise Unavailable("timeout", "the sidecar did not answer in time", sent=True)
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise Unavailable("lost", "the connection to the sidecar broke", sent=True) from error
            if not data:
                raise Unavailable("lost", "the sidecar closed the connection", sent=True)
            return data

    def _wait(self, event: int, deadline: float) -> bool:
        left_ms = (deadline - time.monotonic()) * 1000
        if left_ms <= 0:
            return False
        if event == select.POLLIN:
            return bool(self._readable.poll(left_ms))
        writable = select.poll()
        writable.register(self._socket, select.POLLOUT)
        return bool(writable.poll(left_ms))


class _Turn:
    """A thread that waits for a connection."""

    __slots__ = ("connection", "has_come", "lock")

    def __init__(self) -> None:
        #: Locked until its turn has come.
        self.lock = threading.Lock()
        self.lock.acquire()
        self.has_come = False
        #: None: it may open one.
        self.connection: _Connection | None = None


class _Pool:
    """At most so many connections, lent to one thread at a time; the one that was used last is lent first.

    Threads that wait get connections in the order in which they came.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self.is_closed = False
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._turns: deque[_Turn] = deque()
        #: Connections that are open or being opened.
        self._count = 0

    def after_fork(self) -> None:
        """In the child: the parent's connections are not the child's, nor is what its threads held."""
        inherited = self._idle
        self._reset()
        for connection in inherited:
            connection.close()

    def take(self, deadline: float) -> _Connection:
        """A connection. Raises `Unavailable`."""
        while True:
            connection = self._take_place(deadline)
            if connection is None:
                try:
                    return _Connection(self._options.path, deadline - time.monotonic())
                except BaseException:
                    self._give_place()
                    raise
            if connection.is_fresh():
                return connection
            self.drop(connection)

    def _take_place(self, deadline: float) -> _Connection | None:
        """A connection, or None and the right to open one."""
        with self._lock:
            if self.is_closed:
                raise RuntimeError("the client is closed")
            if self._idle:
                return self._idle.pop()
            if self._count < self._options.max_connections:
                self._count += 1
                return None
            turn = _Turn()
            self._turns.append(turn)
        try:
            turn.lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
        except BaseException:
            self._leave(turn)
            if turn.has_come:
                self._give_back(turn.connection)
            raise
        self._leave(turn)
        if not turn.has_come:
            raise Unavailable("pool", "all connections to the sidecar are in use", sent=False)
        return turn.connection

    def _leave(self, turn: _Turn) -> None:
        with self._lock:
            if not turn.has_come:
                self._turns.remove(turn)

    def _give_back(self, connection: _Connection | None) -> None:
        if connection is None:
            self._give_place()
        else:
            self.give(connection)

    def _next_turn(self, connection: _Connection | None) -> bool:
        """Gives it to the thread that waits longest; False if none does. With the lock held."""
        if not self._turns:
            return False
        turn = self._turns.popleft()
        turn.connection = connection
        turn.has_come = True
        turn.lock.release()
        return True

    def _give_place(self) -> None:
        with self._lock:
            if not self._next_turn(None):
                self._count -= 1

    def give(self, connection: _Connection) -> None:
        """Back, with nothing unanswered on it."""
        with self._lock:
            if self._next_turn(connection):
                return
            if not self.is_closed:
                self._idle.append(connection)
                return
            self._count -= 1
        connection.close()

    def drop(self, connection: _Connection) -> None:
        """Closes it: it must not be used again."""
        connection.close()
        self._give_place()

    def close(self) -> None:
        with self._lock:
            self.is_closed = True
            idle, self._idle = self._idle, []
            self._count -= len(idle)
        for connection in idle:
            connection.close()


_pools: weakref.WeakSet[_Pool] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(_pools):
        pool.after_fork()


os.register_at_fork(after_in_child=_after_fork)


class Sluice:
    """A client of the sidecar that listens at a path. Safe to use from any thread, and after a fork.

    It connects when it is first asked, and keeps its connections.

    Args:
        path: the sidecar's socket.
        fail: what a check returns if there is no answer: `closed`, a denial; `open`, an admission. Either way the verdict is
            `unavailable` and the source `client`.
        connect_timeout: longest wait for a connection, in seconds.
        timeout: longest wait for an answer, in seconds.
        max_connections: most connections; more threads wait for one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fail: Fail = "closed",
        connect_timeout: float = CONNECT_TIMEOUT_S,
        timeout: float = ANSWER_TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._options = Options(os.fspath(path), fail, connect_timeout, timeout, max_connections)
        self._pool = _Pool(self._options)
        self._health = Health(self._options.path)

    def __enter__(self) -> Sluice:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Checks raise `RuntimeError` from then on."""
        self._pool.close()

    # --- Asking -----------------------------------------------------------------------------------------------------

    def check(
        self,
        grant: str,
        tool: str,
        cost: int = 1,
        server: str | None = None,
        session: str | None = None,
        attributes: Mapping[str, str] | None = None,
        id: str | None = None,
        approved: bool = False,
    ) -> Decision:
        """May this grant call this tool? If so, the call is charged.

        Args:
            grant: the identity that was authenticated: 1 to 256 bytes, as every name.
            tool: what is called.
            cost: how much to charge, 1 to 10^12.
            server, session, attributes: further identities that limits may count by; at most 16 attributes.
            id: an idempotency key of this grant and tool: with it a repeated check is charged once.
            approved: a person approved this call.

        Raises:
            RequestError: an argument is wrong.
        """
        return self._decide(check_request(grant, tool, cost, server, session, attributes, id, approved))[0]

    def charge(
        self,
        grant: str,
        tool: str,
        cost: int,
        server: str | None = None,
        session: str | None = None,
        attributes: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> Decision:
        """Charges what a call turned out to cost, whatever the maximum says; later checks feel it.

        Args:
            cost: 0 to 10^12; 0 only looks whether anything is left.
            id: an idempotency key: with it a repeated charge counts once.

        Returns:
            a decision, true if the charge fitted.

        Raises:
            Unavailable: there was no answer, and without `id` it may have been counted or not.
            RequestError: an argument is wrong.
        """
        request = charge_request("CHARGE", grant, tool, cost, server, session, attributes, id)
        return self._account(request)

    def refund(
        self,
        grant: str,
        tool: str,
        cost: int,
        server: str | None = None,
        session: str | None = None,
        attributes: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> Decision:
        """Gives back what a call did not cost after all, never below 0, in windows that are open. Otherwise like `charge`."""
        request = charge_request("REFUND", grant, tool, cost, server, session, attributes, id)
        return self._account(request)

    def peek(
        self,
        grant: str,
        tool: str,
        cost: int = 1,
        server: str | None = None,
        session: str | None = None,
        attributes: Mapping[str, str] | None = None,
        approved: bool = False,
    ) -> Decision:
        """Would this check pass? Charges nothing."""
        return self._decide(peek_request(grant, tool, cost, server, session, attributes, approved))[0]

    def peek_many(
        self,
        grant: str,
        tools: Sequence[str],
        server: str | None = None,
        session: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> list[Decision]:
        """`peek` for many tools, in their order, on one connection without waiting for each answer."""
        requests = [peek_request(grant, tool, 1, server, session, attributes) for tool in tools]
        decisions: list[Decision] = []
        for start in range(0, len(requests), PIPELINE):
            part = requests[start : start + PIPELINE]
            try:
                decisions += [decision for decision, _ in self._ask(part, decision_of)]
            except Unavailable as error:
                unknown = self._health.decide(error, self._options.fail)
                return decisions + [unknown] * (len(requests) - len(decisions))
        return decisions

    # --- Reservations -----------------------------------------------------------------------------------------------

    def reserve(
        self,
        grant: str,
        tool: str,
        cost: int = 1,
        server: str | None = None,
        session: str | None = None,
        attributes: Mapping[str, str] | None = None,
        id: str | None = None,
        approved: bool = False,
    ) -> Reservation:
        """`check` whose charge can still be settled. Use it with `with`:

            with sluice.reserve("alice", "chat", cost=estimate) as reservation:
                reservation.commit(call())

        The body runs only if the call is allowed; else `Denied` is raised. If the body fails, everything is given back. At its end
        a slot of a `concurrency` limit is freed; what was not committed stays charged with the estimate.
        """
        return Reservation(self, grant, check_request(grant, tool, cost, server, session, attributes, id, approved, True))

    def commit(self, grant: str, reservation: str, cost: int) -> bool:
        """Settles a reservation, by its id, to the cost that the call had.

        Returns:
            whether this did it: False if it is unknown, spent, or another grant's.

        Raises:
            Unavailable: there was no answer.
        """
        return self._settle(settlement_request(b"COMMIT", grant, reservation, cost))

    def cancel(self, grant: str, reservation: str) -> bool:
        """Gives back all that a reservation holds. Otherwise as `commit`."""
        return self._settle(settlement_request(b"CANCEL", grant, reservation))

    def release(self, grant: str, reservation: str) -> bool:
        """Frees a reservation's slot of a `concurrency` limit. Otherwise as `commit`."""
        return self._settle(settlement_request(b"RELEASE", grant, reservation))

    # --- The socket -------------------------------------------------------------------------------------------------

    def _decide(self, request: Request) -> tuple[Decision, str]:
        try:
            return self._ask([request], decision_of)[0]
        except Unavailable as error:
            return self._health.decide(error, self._options.fail), ""

    def _account(self, request: Request) -> Decision:
        try:
            return (self._ask([request], decision_of))[0][0]
        except Unavailable as error:
            self._health.failed(error)
            raise

    def _settle(self, request: Request) -> bool:
        try:
            return self._ask([request], done_of)[0]
        except Unavailable as error:
            self._health.failed(error)
            raise

    def _ask(self, requests: list[Request], decode: Callable[[Reply], T]) -> list[T]:
        """Asks, once more if the connection was lost and nothing is counted twice. Raises `Unavailable`, `RequestError`."""
        last = time.monotonic() + self._options.connect_timeout + self._options.timeout
        try:
            return self._attempt(requests, decode, last)
        except Unavailable as error:
            if not may_repeat(error, requests):
                raise
        return self._attempt(requests, decode, last)

    def _attempt(self, requests: list[Request], decode: Callable[[Reply], T], last: float) -> list[T]:
        connection = self._pool.take(min(last, time.monotonic() + self._options.connect_timeout))
        try:
            replies = connection.exchange(requests, min(last, time.monotonic() + self._options.timeout))
        except GarbledAnswer as error:
            self._pool.drop(connection)
            raise Unavailable("garbled", str(error), sent=True) from error
        except BaseException:
            # Also when this thread is interrupted: its answer must not be taken for another request's.
            self._pool.drop(connection)
            raise
        try:
            decoded = [decode(reply) for reply in replies]
        except GarbledAnswer as error:
            self._pool.drop(connection)
            raise Unavailable("garbled", str(error), sent=True) from error
        except BaseException:
            self._pool.give(connection)
            raise
        self._pool.give(connection)
        self._health.answered()
        return decoded


class Reservation(ReservationState):
    """A charge that can be settled: see `Sluice.reserve`. True if the call is allowed."""

    __slots__ = ("_client", "_request")

    def __init__(self, client: Sluice, grant: str, request: Request) -> None:
        super().__init__(grant)
        self._client = client
        self._request = request

    def begin(self) -> Decision:
        """Asks, without `with` and without raising `Denied`: who calls this settles it."""
        self._begun(*self._client._decide(self._request))
        return self.decision

    def __enter__(self) -> Reservation:
        if not self.begin():
            raise Denied(self.decision)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self._is_charge_settled:
            self.cancel()
        else:
            self.release()

    def commit(self, cost: int) -> bool:
        """Settles the charge to what the call really cost; a slot is freed by `release`, or at the end of `with`.

        Returns:
            whether it was done. If there was no answer the estimate stays charged, and the log says so: the call itself is not
            to fail for it.
        """
        if not self.id or self._is_charge_settled:
            return False
        self._is_charge_settled = True
        try:
            return self._client.commit(self.grant, self.id, cost)
        except Unavailable as error:
            return self._not_settled("committed", error)

    def cancel(self) -> bool:
        """Gives everything back: the call was not made, or failed. Returns as `commit`."""
        if not self.id or self._is_charge_settled or self._is_over:
            return False
        self._is_charge_settled = self._is_over = True
        try:
            return self._client.cancel(self.grant, self.id)
        except Unavailable as error:
            return self._not_settled("cancelled", error)

    def release(self) -> bool:
        """Frees the slot: the call has ended. Returns as `commit`, and False if there is no slot."""
        if not self.id or self._is_over:
            return False
        self._is_over = True
        try:
            return self._client.release(self.grant, self.id)
        except Unavailable as error:
            return self._not_settled("released", error)
