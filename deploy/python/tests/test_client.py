"""Questions and answers, the same for both clients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from either import Either
from support import Sidecar

from sluice import Decision, Denied, RequestError, Unavailable


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, shared_sidecar: Sidecar) -> Iterator[Either]:
    client = Either(request.param, shared_sidecar.path)
    yield client
    client.close()


def test_ten_pass_and_the_eleventh_is_denied(client: Either, grant: str) -> None:
    decisions = [client.check(grant, "run") for _ in range(11)]
    assert [decision.remaining for decision in decisions] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    first, last = decisions[0], decisions[-1]
    assert first and first.allowed is True and first.limit == 10 and first.retry_after_ms == 0
    assert (first.verdict, first.rule, first.source) == ("allow", "/tools/run/limits/runs", "local")
    assert first.message == "" and first.reset_ms > 0
    assert not last and last.verdict == "limit" and last.retry_after_ms > 0
    assert last.message.startswith("run is limited to 10 calls")


def test_a_decision_is_nine_fields_that_stay(client: Either, grant: str) -> None:
    decision = client.check(grant, "run")
    assert [field.name for field in dataclasses.fields(Decision)] == [
        "allowed", "limit", "remaining", "retry_after_ms", "reset_ms", "verdict", "rule", "source", "message",
    ]  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError):
        decision.allowed = False  # type: ignore[misc]


def test_every_argument_arrives(client: Either, grant: str, shared_sidecar: Sidecar) -> None:
    options: dict[str, Any] = {
        "cost": 4, "server": "s", "session": "t", "attributes": {"team": "blue", "größe": "å"}, "id": "one",
    }  # fmt: skip
    first = client.check(grant, "run", **options)
    assert client.check(grant, "run", **options) == dataclasses.replace(first, reset_ms=first.reset_ms)
    assert shared_sidecar.used(grant, "run") == [4]
    with pytest.raises(RequestError, match="BADARG"):
        client.check(grant, "run", **{**options, "cost": 5})


def test_verdicts(client: Either, grant: str) -> None:
    assert client.check(grant, "unknown").rule == "(default deny)"
    assert client.check(grant, "secret").rule == "(hidden)"
    assert client.check(grant, "delete").verdict == "approve"
    assert client.check(grant, "delete", approved=True)
    free = client.check(grant, "free")
    assert free and (free.limit, free.remaining, free.reset_ms, free.source) == (-1, -1, -1, "policy")


def test_http_and_mcp_see_a_decision_as_the_readme_says(client: Either, grant: str) -> None:
    allowed, denied = client.check(grant, "minute"), client.check(grant, "minute")
    assert allowed.http_status == 200 and allowed.http_headers == {"RateLimit-Limit": "1", "RateLimit-Remaining": "0"}
    assert denied.http_status == 429 and 1 <= int(denied.http_headers["Retry-After"]) <= 60
    assert denied.retry_after_s == -(-denied.retry_after_ms // 1000)
    assert client.check(grant, "unknown").http_status == 403 and client.check(grant, "unknown").http_headers == {}
    assert denied.meta["sluice/verdict"] == "limit"


def test_a_peek_charges_nothing(client: Either, grant: str, shared_sidecar: Sidecar) -> None:
    assert client.peek(grant, "run", cost=10)
    assert not client.peek(grant, "run", cost=11)
    assert shared_sidecar.used(grant, "run") == [0]


def test_what_is_known_afterwards_is_charged_and_given_back(client: Either, grant: str, shared_sidecar: Sidecar) -> None:
    assert client.charge(grant, "run", 7)
    beyond = client.charge(grant, "run", 5, id="one")
    assert not beyond and client.charge(grant, "run", 5, id="one").allowed == beyond.allowed
    assert shared_sidecar.used(grant, "run") == [12]
    assert not client.check(grant, "run")
    assert client.refund(grant, "run", 4)
    assert shared_sidecar.used(grant, "run") == [8] and client.check(grant, "run")


def test_a_charge_without_an_answer_raises() -> None:
    for kind in ("sync", "async"):
        client = Either(kind, "/tmp/there-is-no.sock", "open")
        with pytest.raises(Unavailable):
            client.charge("g", "run", 7)
        client.close()


def test_many_peeks_come_in_their_order(client: Either, grant: str) -> None:
    tools = ["run", "unknown", "delete", "free"] * 100
    decisions = client.peek_many(grant, tools)
    assert [decision.verdict for decision in decisions] == ["allow", "deny", "approve", "allow"] * 100
    assert client.peek_many(grant, []) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"grant": ""}, {"tool": ""}, {"grant": "g" * 257}, {"tool": "nul\0"}, {"cost": -1}, {"cost": 10**12 + 1},
        {"cost": 1 << 70}, {"id": ""}, {"session": "\ud800"}, {"attributes": {f"a{i}": "v" for i in range(17)}},
        {"attributes": {"": "v"}},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("fail", ["closed", "open"])
def test_the_callers_fault_always_raises(
    arguments: dict[str, Any], fail: Any, client: Either, grant: str, shared_sidecar: Sidecar
) -> None:
    other = Either("sync", shared_sidecar.path, fail)
    for each in (client, other):
        with pytest.raises(RequestError) as caught:
            each.check(**{"grant": grant, "tool": "run", **arguments})
        assert caught.value.code == "BADARG"
        assert each.check(grant, "free"), "the connection goes on"
    other.close()


def test_types_are_checked(client: Either, grant: str) -> None:
    for arguments in ({"cost": True}, {"cost": 1.0}, {"cost": "1"}, {"server": b"s"}):
        with pytest.raises(TypeError):
            client.check(grant, "run", **arguments)


# --- Reservations ---------------------------------------------------------------------------------------------------


def test_a_commit_settles_the_estimate(client: Either, grant: str, shared_sidecar: Sidecar) -> None:
    assert client.reserved(lambda r: r.commit(30), grant, "tokens", cost=100) is True
    assert shared_sidecar.used(grant, "tokens") == [30]


def test_a_failure_gives_everything_back(client: Either, grant: str, shared_sidecar: Sidecar) -> None:
    def fail(reservation: Any) -> None:
        assert shared_sidecar.used(grant, "slot") == [1, 100]
        raise KeyError("the call failed")

    with pytest.raises(KeyError):
        client.reserved(fail, grant, "slot", cost=100)
    assert shared_sidecar.used(grant, "slot") == [0, 0]


def test_without_a_commit_the_estimate_stays_and_the_slot_is_freed(
    client: Either, grant: str, shared_sidecar: Sidecar
) -> None:
    client.reserved(lambda r: None, grant, "slot", cost=7)
    assert shared_sidecar.used(grant, "slot") == [0, 7]


def test_a_commit_frees_the_slot_too(client: Either, grant: str, shared_sidecar: Sidecar) -> None:
    for _ in range(5):
        client.reserved(lambda r: r.commit(1), grant, "slot", cost=7)
    assert shared_sidecar.used(grant, "slot") == [0, 5]


def test_a_failure_after_the_commit_keeps_it(client: Either, grant: str, shared_sidecar: Sidecar) -> None:
    reservation = client.client.reserve(grant, "slot", cost=7)
    if client._loop is None:
        with pytest.raises(KeyError), reservation:
            reservation.commit(3)
            raise KeyError
    else:

        async def run() -> None:
            async with reservation:
                await reservation.commit(3)
                raise KeyError

        with pytest.raises(KeyError):
            client.run(run())
    assert shared_sidecar.used(grant, "slot") == [0, 3]


def test_slots_are_taken_and_released(client: Either, grant: str, shared_sidecar: Sidecar) -> None:
    def inside(reservation: Any) -> None:
        assert shared_sidecar.used(grant, "slot")[0] == 1

    client.reserved(inside, grant, "slot")
    with pytest.raises(RequestError, match="RESERVE"):
        client.check(grant, "slot")


def test_a_denied_reservation_does_not_run_its_body(client: Either, grant: str) -> None:
    ran: list[Any] = []
    with pytest.raises(Denied) as caught:
        client.reserved(ran.append, grant, "tokens", cost=1001)
    assert ran == [] and caught.value.decision.verdict == "limit"
    assert str(caught.value).startswith("tokens is limited to 1000 calls")


def test_a_reservation_is_settled_once(client: Either, grant: str, shared_sidecar: Sidecar) -> None:
    reservation = client.client.reserve(grant, "tokens", cost=10)
    settle: Callable[[Any], Any] = (lambda value: value) if client._loop is None else client.run
    assert settle(reservation.begin()) and reservation and len(reservation.id) == 32
    assert settle(reservation.commit(4)) is True
    assert settle(reservation.commit(5)) is False and settle(reservation.cancel()) is False
    assert client.commit(grant, reservation.id, 6) is False
    assert client.cancel("another", reservation.id) is False
    assert shared_sidecar.used(grant, "tokens") == [4]


def test_settling_a_wrong_number_raises(client: Either, grant: str) -> None:
    with pytest.raises(RequestError):
        client.commit(grant, "0" * 32, 1 << 62)
    with pytest.raises(RequestError):
        client.release(grant, "")


def test_what_a_closed_client_says(shared_sidecar: Sidecar, grant: str) -> None:
    client = Either("sync", shared_sidecar.path)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.check(grant, "run")


@pytest.mark.parametrize("options", [{"fail": "maybe"}, {"timeout": 0}, {"max_connections": 0}], ids=str)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Either("sync", "/tmp/s.sock", **options)
    with pytest.raises(ValueError, match="107"):
        Either("sync", "/" + "x" * 107)
