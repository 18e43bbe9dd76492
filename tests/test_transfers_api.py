"""Transfers over HTTP: every call signed, each answer too, one payment posted once."""

import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clearing_world import HOUR, assert_sound, balances, counted, set_expiry
from conftest import disposed
from hub_server import Json
from paying_world import World, open_doors, payment, problem
from served import verified_by_our_key
from sqlalchemy import Engine

from clearing.accounts import set_limits, set_pair_limit
from clearing.calls import Create
from clearing.ledger import Journal
from clearing.transfers import Transfer
from commons.database import make_engine, transaction
from commons.settings import Settings
from commons.signatures import generate_ed25519

BAD_AMOUNTS: list[object] = [
    5, 5.5, True, None, [], "5e1", "1_000", "-5", "+5", "05", " 5", "5.", ".5", "0", "0.00",
    "", "NaN", "Infinity", "5.001", "\u0665", "9" * 17, "9" * 41,
]  # fmt: skip


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, engine)


@pytest.fixture
def embedded(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    """The same on SQLite alone, for what never reaches the database."""
    yield from open_doors(settings, sqlite_engine)


@pytest.fixture(scope="module")
def bad_bodies(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[World]:
    """One world for all bad bodies, since none of them may leave a trace."""
    folder = tmp_path_factory.mktemp("bad-bodies")
    shutil.copyfile(sqlite_template, folder / "localpay.sqlite")
    settings = Settings(data_dir=folder, base_url="http://testserver", allow_loopback=True)
    with disposed(make_engine(f"sqlite:///{folder}/localpay.sqlite")) as engine:
        yield from open_doors(settings, engine)


def test_a_payment_is_made_by_one_hub_and_posted_by_the_other(world: World) -> None:
    transfer_id = uuid.uuid4()
    sent = payment(description="Bicycle repair")
    answer = world.put(world.barcelona, sent, transfer_id)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made.items() >= (sent | {"id": str(transfer_id), "unit": "payee"}).items()
    assert (made["state"], made["initiator"], made["ended_at"]) == ("pending", "payer", None)
    assert (made["payer_amount"], made["payee_clearing"]) == ("12.50", "12.5000")
    assert made["account"].items() >= {"group": "barcelona", "balance": "0.0000"}.items()
    posted = world.move(world.leeds, transfer_id, "accept").json()
    assert posted["state"] == "posted"
    account = world.service.call(world.leeds, "GET", "/accounts/leeds").json()
    assert posted["account"] == {name: account[name] for name in posted["account"]}
    assert account["balance"] == "12.5000"
    for hub in (world.barcelona, world.leeds):
        assert world.see(hub, transfer_id) == {**posted, "account": None}
    assert balances(world.engine) == {"barcelona": -125_000, "leeds": 125_000}
    assert_sound(world.engine)


def test_the_payees_hub_asks_and_the_payers_hub_agrees(world: World) -> None:
    made = world.put(world.leeds, payment("3", unit="clearing"))
    assert (made.status_code, made.json()["initiator"]) == (201, "payee")
    transfer_id = made.json()["id"]
    problem(world.move(world.leeds, transfer_id, "accept"), 403, "forbidden")
    assert world.move(world.barcelona, transfer_id, "accept").json()["state"] == "posted"
    assert balances(world.engine) == {"barcelona": -3 * HOUR, "leeds": 3 * HOUR}


def test_the_same_payment_twice_is_one_posting(world: World) -> None:
    transfer_id, sent = uuid.uuid4(), payment(expires_at=in_days(3))
    first = world.put(world.barcelona, sent, transfer_id)
    again = world.put(world.barcelona, sent, transfer_id)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    accepted = [world.move(world.leeds, transfer_id, "accept") for _ in range(2)]
    assert [answer.status_code for answer in accepted] == [200, 200]
    late = world.put(world.barcelona, sent, transfer_id)
    assert (late.status_code, late.json()["state"]) == (200, "posted")
    assert (counted(world.engine, Transfer), counted(world.engine, Journal)) == (1, 1)
    assert balances(world.engine) == {"barcelona": -125_000, "leeds": 125_000}


def in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_the_same_id_with_another_body_is_a_conflict(world: World) -> None:
    transfer_id = world.made()
    for other in (
        payment("12.5"),
        payment(unit="payer"),
        payment(description="more"),
        payment(expires_at=in_days(7)),
        payment(expires_at="9999-12-31T23:59:59-14:00"),
        payment() | {"payee": "ghent/moss"},
    ):
        answer = world.put(world.barcelona, other, transfer_id)
        assert answer.status_code in {409, 422}, answer.text
    problem(world.put(world.leeds, payment(), transfer_id), 409, "conflict")
    assert counted(world.engine, Transfer) == 1
    assert world.see(world.leeds, transfer_id)["amount"] == "12.50"


@pytest.mark.parametrize(
    ("limit", "available"),
    [("credit_limit", "10.0000"), ("surplus_limit", "11.0000"), ("pair_limit", "12.0000")],
)
def test_a_payment_over_a_limit_is_refused_for_good(
    world: World, limit: str, available: str
) -> None:
    minor = int(available.replace(".", ""))
    set_limit(world, limit, minor)
    transfer_id = uuid.uuid4()
    told = problem(world.put(world.barcelona, payment(), transfer_id), 409, "refused")
    assert (told["reason"], told["available"], told["state"]) == (limit, available, "refused")
    assert told["transfer"] == str(transfer_id)
    set_limit(world, limit, 100 * HOUR)
    assert problem(world.put(world.barcelona, payment(), transfer_id), 409, "refused") == told
    problem(world.move(world.leeds, transfer_id, "accept"), 409, "conflict")
    seen = world.see(world.barcelona, transfer_id)
    assert (seen["state"], seen["reason"]) == ("refused", limit)
    assert world.put(world.barcelona, payment()).status_code == 201
    assert_sound(world.engine)


def set_limit(world: World, limit: str, minor: int) -> None:
    with transaction(world.engine) as session:
        if limit == "pair_limit":
            set_pair_limit(session, "barcelona", "leeds", minor)
        elif limit == "credit_limit":
            set_limits(session, "barcelona", minor, 100 * HOUR)
        else:
            set_limits(session, "leeds", 100 * HOUR, minor)


def test_nobody_but_the_hub_whose_turn_it_is_moves_a_transfer(world: World) -> None:
    transfer_id = world.made()
    reason = {"reason": "not ours"}
    for hub, verb, body in (
        (world.barcelona, "accept", None),
        (world.barcelona, "reject", reason),
        (world.leeds, "cancel", None),
    ):
        problem(world.move(hub, transfer_id, verb, body), 403, "forbidden")
    for verb, body in (("accept", None), ("reject", reason), ("cancel", None)):
        told = problem(world.move(world.ghent, transfer_id, verb, body), 404, "not-found")
        unknown = problem(world.move(world.ghent, uuid.uuid4(), verb, body), 404, "not-found")
        assert told["title"] == unknown["title"]
    path = f"/transfers/{transfer_id}"
    problem(world.service.call(world.ghent, "GET", path), 404, "not-found")
    problem(world.put(world.ghent, payment()), 403, "forbidden")
    assert world.see(world.leeds, transfer_id)["state"] == "pending"
    assert counted(world.engine, Journal) == 0


def test_what_is_rejected_or_cancelled_says_so_and_stays_ended(world: World) -> None:
    rejected, cancelled = world.made(), world.made()
    told = world.move(world.leeds, rejected, "reject", {"reason": "We know no moss."}).json()
    assert (told["state"], told["reason"]) == ("rejected", "We know no moss.")
    assert world.move(world.barcelona, cancelled, "cancel").json()["state"] == "cancelled"
    for transfer_id, state in ((rejected, "rejected"), (cancelled, "cancelled")):
        late = problem(world.move(world.leeds, transfer_id, "accept"), 409, "conflict")
        assert late["state"] == state
        assert world.see(world.barcelona, transfer_id)["ended_at"] is not None
    assert counted(world.engine, Journal) == 0
    assert_sound(world.engine)


def test_an_acceptance_past_the_time_expires_the_transfer(world: World) -> None:
    transfer_id = world.made()
    create = Create(uuid.UUID(transfer_id), "barcelona", "", "", "")
    set_expiry(world.engine, create, datetime.now(UTC) - timedelta(seconds=1))
    told = problem(world.move(world.leeds, transfer_id, "accept"), 409, "conflict")
    assert told["state"] == "expired"
    assert world.see(world.leeds, transfer_id)["state"] == "expired"
    assert_sound(world.engine)


def test_what_is_unsigned_or_forged_makes_nothing_and_moves_nothing(world: World) -> None:
    transfer_id = world.made()
    client, calls = world.service.client, [("PUT", uuid.uuid4(), "", payment())]
    calls += [("POST", uuid.UUID(transfer_id), f"/{verb}", {}) for verb in ("accept", "cancel")]
    calls.append(("POST", uuid.UUID(transfer_id), "/reject", {"reason": "no"}))
    for method, number, rest, body in calls:
        path = f"/transfers/{number}{rest}"
        problem(client.request(method, path, json=body), 401, "unauthenticated")
        forged = world.service.call(world.leeds, method, path, body, key=generate_ed25519())
        problem(forged, 401, "unauthenticated")
    problem(client.put(f"/transfers/{uuid.uuid4()}", content=b"{"), 401, "unauthenticated")
    problem(client.get("/transfers"), 401, "unauthenticated")
    problem(client.get(f"/transfers/{transfer_id}"), 401, "unauthenticated")
    assert counted(world.engine, Transfer) == 1
    assert world.see(world.leeds, transfer_id)["state"] == "pending"


def test_a_signed_call_whose_body_was_changed_makes_nothing(embedded: World) -> None:
    request = embedded.service.request(
        embedded.barcelona, "PUT", f"/transfers/{uuid.uuid4()}", payment("1.00")
    )
    changed = request.content.replace(b"1.00", b"9.00")
    answer = embedded.service.client.put(request.url, content=changed, headers=request.headers)
    problem(answer, 401, "unauthenticated")
    assert counted(embedded.engine, Transfer) == 0


def test_a_replayed_call_is_refused(world: World) -> None:
    request = world.service.request(world.barcelona, "PUT", f"/transfers/{uuid.uuid4()}", payment())
    assert world.service.client.send(request).status_code == 201
    problem(world.service.client.send(request), 401, "unauthenticated")


def test_answers_are_signed_and_so_are_refusals(embedded: World) -> None:
    transfer_id = uuid.uuid4()
    answers = [
        embedded.put(embedded.barcelona, payment(), transfer_id),
        embedded.move(embedded.leeds, transfer_id, "accept"),
        embedded.put(embedded.barcelona, payment("99.00"), transfer_id),
        embedded.put(embedded.barcelona, payment("99.00")),
        embedded.put(embedded.barcelona, payment("nothing")),
        embedded.put(embedded.barcelona, payment(), key=generate_ed25519()),
        embedded.service.call(embedded.barcelona, "GET", "/transfers"),
    ]
    assert [one.status_code for one in answers] == [201, 200, 409, 409, 422, 401, 200]
    for answer in answers:
        assert verified_by_our_key(embedded.service, answer)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        *(({"amount": amount}, "amount") for amount in BAD_AMOUNTS),
        ({"amount": "90071992547409.93"}, "amount"),
        ({"unit": "hours"}, "unit"),
        ({"payer": "barcelona"}, "payer"),
        ({"payee": "leeds/"}, "payee"),
        ({"payee": "barcelona/joan"}, "payee"),
        ({"payee": "turin/moss"}, "payee"),
        ({"payee": ["leeds/moss"]}, "payee"),
        ({"description": "x" * 501}, "description"),
        ({"description": 7}, "description"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": 1_900_000_000}, "expires_at"),
        ({"expires_at": "1900000000"}, "expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"state": "posted"}, "state"),
    ],
)
def test_a_bad_body_is_told_its_field_and_rule(bad_bodies: World, change: Json, field: str) -> None:
    told = problem(bad_bodies.put(bad_bodies.barcelona, payment() | change), 422, "invalid")
    assert told["field"] == field
    assert told["rule"]
    assert counted(bad_bodies.engine, Transfer) == 0


@pytest.mark.parametrize(
    ("body", "media_type", "status", "kind"),
    [
        (b'{"payer": ', "application/json", 400, "malformed"),
        (b'{"amount": NaN}', "application/json", 400, "malformed"),
        (b'{"amount": "1", "amount": "2"}', "application/json", 400, "malformed"),
        (b"", "application/json", 400, "malformed"),
        (b"[]", "application/json", 422, "invalid"),
        (b"{}", "text/plain", 415, "unsupported-media"),
        (b"{}", "application/x-www-form-urlencoded", 415, "unsupported-media"),
    ],
)
def test_what_is_no_body_is_refused(
    bad_bodies: World, body: bytes, media_type: str, status: int, kind: str
) -> None:
    answer = bad_bodies.put(bad_bodies.barcelona, body, media_type=media_type)
    problem(answer, status, kind)
    assert counted(bad_bodies.engine, Transfer) == 0


def test_a_path_that_is_no_uuid_is_told(embedded: World) -> None:
    told = problem(embedded.put(embedded.barcelona, payment(), "seven"), 422, "invalid")
    assert told["field"] == "transfer_id"
    told = problem(embedded.move(embedded.leeds, uuid.uuid4(), "reject", {}), 422, "invalid")
    assert told["field"] == "reason"


def test_a_hub_pages_through_its_own_transfers(world: World) -> None:
    mine = [world.made("1.00") for _ in range(5)]
    ghents = world.put(world.ghent, payment("1.00") | {"payer": "ghent/lot"}).json()["id"]
    seen, query = [], "limit=2"
    while query:
        page = world.service.call(world.barcelona, "GET", f"/transfers?{query}").json()
        seen += [one["id"] for one in page["transfers"]]
        assert len(page["transfers"]) <= 2
        query = page["cursor"] and f"limit=2&cursor={page['cursor']}"
    assert seen == mine[::-1]
    everything = world.service.call(world.leeds, "GET", "/transfers").json()
    assert {one["id"] for one in everything["transfers"]} == {*mine, ghents}
    world.move(world.leeds, mine[0], "accept")
    posted = world.service.call(world.leeds, "GET", "/transfers?state=posted").json()
    assert [one["id"] for one in posted["transfers"]] == [mine[0]]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "state=lost", "cursor=x", "cursor="])
def test_a_bad_question_is_told_its_field(embedded: World, query: str) -> None:
    answer = embedded.service.call(embedded.barcelona, "GET", f"/transfers?{query}")
    assert problem(answer, 422, "invalid")["field"] == query.partition("=")[0]
