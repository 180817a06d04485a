"""The asyncio client."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from operator import attrgetter
from types import TracebackType
from typing import Any, TypeVar, cast

from ._bounds import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, MAX_CONNECTIONS, MAX_IN_FLIGHT, PIPELINE
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

#: Waits between tries to connect while the listener's queue is full, in seconds: asyncio cannot wait for a place in it.
_CONNECT_RETRY_S = 0.005


class _Batch:
    """Requests that were written together, and the answers that have come so far."""

    __slots__ = ("answers", "count", "future", "timer")

    def __init__(self, count: int, future: asyncio.Future[list[Reply]]) -> None:
        self.answers: list[Reply] = []
        self.count = count
        #: Done when all answers are there; cancelled with the task that waits. Its answers are awaited all the same.
        self.future = future
        self.timer: asyncio.TimerHandle | None = None


class _Connection(asyncio.Protocol):
    """One connection with any number of batches in flight, answered in order.

    A batch that is not answered in time makes it `is_leaving`: it takes no more requests, waits for what was sent on it
    before, and closes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_place: Callable[[], None]) -> None:
        self._loop = loop
        self._on_place = on_place
        self._transport: asyncio.Transport | None = None
        self._parser = ReplyParser()
        self._waiting: deque[_Batch] = deque()
        self._readable = select.poll()
        self.is_leaving = False

    @property
    def in_flight(self) -> int:
        """Batches that are not answered."""
        return len(self._waiting)

    def is_fresh(self) -> bool:
        """Whether it is still open. Between requests there is nothing to read, so anything to read is its end."""
        return self._transport is not None and not self._transport.is_closing() and not self._readable.poll(0)

    def ask(self, requests: Sequence[Request], deadline: float) -> asyncio.Future[list[Reply]]:
        """Writes requests; the future is done by the deadline, in the loop's time."""
        assert self._transport is not None
        batch = _Batch(len(requests), self._loop.create_future())
        batch.timer = self._loop.call_at(deadline, self._time_out, batch)
        self._waiting.append(batch)
        self._transport.write(b"".join([request.frame for request in requests]))
        return batch.future

    def close(self) -> None:
        self.is_leaving = True
        if self._transport is not None:
            self._transport.abort()

    def _time_out(self, batch: _Batch) -> None:
        self.is_leaving = True
        if not batch.future.done():
            batch.future.set_exception(Unavailable("timeout", "the sidecar did not answer in time", sent=True))
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        if self.is_leaving and all(batch.future.done() for batch in self._waiting):
            self.close()

    # --- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        try:
            while (reply := self._parser.next()) is not None:
                if not self._waiting:
                    raise GarbledAnswer("an answer came without a request")
                self._answered(reply[0])
        except GarbledAnswer as error:
            self._fail(Unavailable("garbled", str(error), sent=True))
            self.close()
        self._leave_if_idle()

    def _answered(self, reply: Reply) -> None:
        batch = self._waiting[0]
        batch.answers.append(reply)
        if len(batch.answers) < batch.count:
            return
        self._waiting.popleft()
        self._forget(batch)
        if not batch.future.done():
            batch.future.set_result(batch.answers)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_leaving = True
        self._transport = None
        self._fail(Unavailable("lost", "the sidecar closed the connection", sent=True))

    def _fail(self, error: Unavailable) -> None:
        waiting, self._waiting = self._waiting, deque()
        for batch in waiting:
            self._forget(batch)
            if not batch.future.done():
                batch.future.set_exception(error)

    def _forget(self, batch: _Batch) -> None:
        if batch.timer is not None:
            batch.timer.cancel()
        self._on_place()


class _Pool:
    """The connections of one event loop. An idle one is used first, then a new one is opened, then requests share."""

    def __init__(self, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        #: Whose it is: a child inherits it with a fork, and must leave it alone.
        self.process = os.getpid()
        self._is_closed = False
        self._options = options
        self._connections: list[_Connection] = []
        self._opening: set[asyncio.Task[_Connection]] = set()
        #: Batches that may still be sent, and the tasks that wait to send one.
        self._places = options.max_connections * MAX_IN_FLIGHT
        self._queue: deque[asyncio.Future[None]] = deque()

    async def ask(self, requests: Sequence[Request], last: float) -> list[Reply]:
        """Sends requests, and waits for their answers. Raises `Unavailable`."""
        if self._is_closed:
            raise RuntimeError("the client is closed")
        deadline = min(last, self.loop.time() + self._options.connect_timeout)
        await self._take_place(deadline)
        try:
            connection = await self._connection(deadline)
            future = connection.ask(requests, min(last, self.loop.time() + self._options.timeout))
        except BaseException:
            self._give_place()
            raise
        # From here on the place belongs to the batch.
        return await future

    def close(self) -> None:
        self._is_closed = True
        self.drop_connections()

    def drop_connections(self) -> None:
        """Closes them: the next request opens others."""
        for task in self._opening:
            task.cancel()
        for connection in self._connections:
            try:
                connection.close()
            except RuntimeError:
                pass  # its event loop is closed
        self._connections.clear()

    # --- Places -----------------------------------------------------------------------------------------------------

    async def _take_place(self, deadline: float) -> None:
        if self._places > 0:
            self._places -= 1
            return
        turn: asyncio.Future[None] = self.loop.create_future()
        timer = self.loop.call_at(deadline, self._no_place, turn)
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_place()
            raise
        finally:
            timer.cancel()

    @staticmethod
    def _no_place(turn: asyncio.Future[None]) -> None:
        if not turn.done():
            turn.set_exception(Unavailable("pool", "too many requests wait for the sidecar", sent=False))

    def _give_place(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._places += 1

    # --- Connections ------------------------------------------------------------------------------------------------

    async def _connection(self, deadline: float) -> _Connection:
        while True:
            connection = self._least_loaded()
            may_open = len(self._connections) + len(self._opening) < self._options.max_connections
            if connection is not None and (connection.in_flight == 0 or not may_open):
                return connection
            task = self._open(deadline) if may_open else next(iter(self._opening))
            # Another task may wait for the same connection: it goes on even if this one is cancelled.
            done, _ = await asyncio.wait({task}, timeout=max(0, deadline - self.loop.time()))
            if not done or task.cancelled():
                raise Unavailable("timeout", "the sidecar accepts no connection", sent=False)
            opened = task.result()
            if not opened.is_leaving:
                return opened

    def _least_loaded(self) -> _Connection | None:
        while True:
            self._connections = [connection for connection in self._connections if not connection.is_leaving]
            if not self._connections:
                return None
            best = min(self._connections, key=attrgetter("in_flight"))
            if best.in_flight > 0 or best.is_fresh():
                return best
            best.close()

    def _open(self, deadline: float) -> asyncio.Task[_Connection]:
        task = self.loop.create_task(self._opened(deadline))
        self._opening.add(task)
        task.add_done_callback(self._end_opening)
        return task

    def _end_opening(self, task: asyncio.Task[_Connection]) -> None:
        self._opening.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it has seen it

    async def _opened(self, deadline: float) -> _Connection:
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            end.setblocking(False)
            await self._connect(end, deadline)
            _, connection = await self.loop.create_unix_connection(
                lambda: _Connection(self.loop, self._give_place), sock=end
            )
        except BaseException:
            end.close()
            raise
        self._connections.append(connection)
        return connection

    async def _connect(self, end: socket.socket, deadline: float) -> None:
        while True:
            try:
                return end.connect(self._options.path)
            except BlockingIOError:
                if self.loop.time() >= deadline:
                    raise Unavailable("timeout", "the sidecar accepts no connection", sent=False) from None
            except OSError as error:
                reason = f"{self._options.path}: {error.strerror or error}"
                raise Unavailable("missing", reason, sent=False) from error
            await asyncio.sleep(_CONNECT_RETRY_S)


class AsyncSluice:
    """`Sluice` for asyncio: the same arguments, answers and errors. For the tasks of one event loop at a time.

    A cancelled task leaves nothing behind: the answer that it waited for is dropped when it comes.
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
        self._health = Health(self._options.path)
        self._pool: _Pool | None = None
        self._is_closed = False
        #: Settlements that go on although the task that began them was cancelled.
        self._background: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> AsyncSluice:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Waits for settlements of cancelled tasks, and closes the connections. Checks raise `RuntimeError` from then on."""
        while self._background:
            await asyncio.wait(self._background)
        self._is_closed = True
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    # --- Asking -----------------------------------------------------------------------------------------------------

    async def check(
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
        """May this grant call this tool? If so, the call is charged. See `Sluice.check`."""
        request = check_request(grant, tool, cost, server, session, attributes, id, approved)
        return (await self._decide(request))[0]

    async def charge(
        self,
        grant: str,
        tool: str,
        cost: int,
        server: str | None = None,
        session: str | None = None,
        attributes: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> Decision:
        """Charges what a call turned out to cost: see `Sluice.charge`."""
        request = charge_request("CHARGE", grant, tool, cost, server, session, attributes, id)
        return await self._account(request)

    async def refund(
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
        return await self._account(request)

    async def peek(
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
        return (await self._decide(peek_request(grant, tool, cost, server, session, attributes, approved)))[0]

    async def peek_many(
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
                decisions += [decision for decision, _ in await self._ask(part, decision_of)]
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
    ) -> AsyncReservation:
        """`check` whose charge can still be settled, with `async with`: see `Sluice.reserve`.

        A task that is cancelled gives everything back, wherever it was: also while it waited for the answer.
        """
        request = check_request(grant, tool, cost, server, session, attributes, id, approved, True)
        return AsyncReservation(self, grant, request)

    async def commit(self, grant: str, reservation: str, cost: int) -> bool:
        """Settles a reservation, by its id, to the cost that the call had. See `Sluice.commit`."""
        return await self._settle(settlement_request(b"COMMIT", grant, reservation, cost))

    async def cancel(self, grant: str, reservation: str) -> bool:
        """Gives back all that a reservation holds."""
        return await self._settle(settlement_request(b"CANCEL", grant, reservation))

    async def release(self, grant: str, reservation: str) -> bool:
        """Frees a reservation's slot of a `concurrency` limit."""
        return await self._settle(settlement_request(b"RELEASE", grant, reservation))

    # --- The socket -------------------------------------------------------------------------------------------------

    async def _decide(self, request: Request) -> tuple[Decision, str]:
        try:
            return (await self._ask([request], decision_of))[0]
        except Unavailable as error:
            return self._health.decide(error, self._options.fail), ""

    async def _account(self, request: Request) -> Decision:
        try:
            return (await self._ask([request], decision_of))[0][0]
        except Unavailable as error:
            self._health.failed(error)
            raise

    async def _settle(self, request: Request) -> bool:
        try:
            return (await self._ask([request], done_of))[0]
        except Unavailable as error:
            self._health.failed(error)
            raise

    async def _ask(self, requests: list[Request], decode: Callable[[Reply], T]) -> list[T]:
        """Asks, once more if the connection was lost and nothing is counted twice. Raises `Unavailable`, `RequestError`."""
        pool = self._pool_of_loop()
        last = pool.loop.time() + self._options.connect_timeout + self._options.timeout
        try:
            replies = await pool.ask(requests, last)
        except Unavailable as error:
            if not may_repeat(error, requests):
                raise
            replies = await pool.ask(requests, last)
        try:
            decoded = [decode(reply) for reply in replies]
        except GarbledAnswer as error:
            pool.drop_connections()
            raise Unavailable("garbled", str(error), sent=True) from error
        self._health.answered()
        return decoded

    def _pool_of_loop(self) -> _Pool:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        loop = asyncio.get_running_loop()
        pool = self._pool
        if pool is not None and pool.process == os.getpid():
            if pool.loop is loop:
                return pool
            if pool.loop.is_running():
                raise RuntimeError("the client is used in another event loop; make one for each")
            pool.close()
        self._background.clear()
        self._pool = _Pool(self._options, loop)
        return self._pool

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begins work that goes on, bounded by its own time-outs, if the task that waits for it is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


class AsyncReservation(ReservationState):
    """`Reservation` for asyncio: see `AsyncSluice.reserve`."""

    __slots__ = ("_client", "_is_abandoned", "_request")

    def __init__(self, client: AsyncSluice, grant: str, request: Request) -> None:
        super().__init__(grant)
        self._client = client
        self._request = request
        self._is_abandoned = False

    async def begin(self) -> Decision:
        """Asks, without `async with` and without raising `Denied`: who calls this settles it."""
        work = self._client._start(self._begin())
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._is_abandoned = True
            if work.done():
                self._client._start(self._cancel())
            raise

    async def _begin(self) -> Decision:
        self._begun(*await self._client._decide(self._request))
        if self._is_abandoned:
            await self._cancel()
        return self.decision

    async def __aenter__(self) -> AsyncReservation:
        if not await self.begin():
            raise Denied(self.decision)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self._is_charge_settled:
            await self.cancel()
        else:
            await self.release()

    async def commit(self, cost: int) -> bool:
        """Settles the charge to what the call really cost; a slot is freed by `release`, or at the end of `async with`.

        Returns:
            whether it was done. If there was no answer the estimate stays charged, and the log says so: the call itself is not
            to fail for it.
        """
        return await asyncio.shield(self._client._start(self._commit(cost)))

    async def cancel(self) -> bool:
        """Gives everything back: the call was not made, or failed. Returns as `commit`."""
        return await asyncio.shield(self._client._start(self._cancel()))

    async def release(self) -> bool:
        """Frees the slot: the call has ended. Returns as `commit`, and False if there is no slot."""
        return await asyncio.shield(self._client._start(self._release()))

    async def _commit(self, cost: int) -> bool:
        if not self.id or self._is_charge_settled:
            return False
        self._is_charge_settled = True
        try:
            return await self._client.commit(self.grant, self.id, cost)
        except Unavailable as error:
            return self._not_settled("committed", error)

    async def _cancel(self) -> bool:
        if not self.id or self._is_charge_settled or self._is_over:
            return False
        self._is_charge_settled = self._is_over = True
        try:
            return await self._client.cancel(self.grant, self.id)
        except Unavailable as error:
            return self._not_settled("cancelled", error)

    async def _release(self) -> bool:
        if not self.id or self._is_over:
            return False
        self._is_over = True
        try:
            return await self._client.release(self.grant, self.id)
        except Unavailable as error:
            return self._not_settled("released", error)
