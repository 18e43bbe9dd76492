"""What-if over HTTP and by command: what is told, to whom, and how roughly."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx2
import numpy as np
import pytest
from clearing_world import ledger
from operating import run
from paying_world import World, open_doors, problem
from sqlalchemy import Engine, text

from api.routes import simulation as route
from bench.trade import Payments, fill_transfers, network, trade
from clearing import simulation
from clearing.simulation import Changes, privacy
from clearing.simulation.views import rough_amount, rough_count
from commons import database, tokens
from commons.database import reading, transaction
from commons.errors import InvalidError
from commons.settings import Settings
from commons.tokens import Role
from demo.trade import DAY_SECONDS

UNION = "trade"


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def first_of(months_ago: int, now: datetime) -> datetime:
    """Return the beginning of a month, so many before this one."""
    place = now.year * 12 + now.month - 1 - months_ago
    return datetime(place // 12, place % 12 + 1, 1, tzinfo=UTC)


def traded(engine: Engine) -> tuple[datetime, datetime]:
    """Have twelve groups trade for two whole months, and return these."""
    with transaction(engine) as session:
        now = database.now(session)
        start, end = first_of(3, now), first_of(1, now)
        among = network(3, 12, 30)
        made = trade(3, among, 400, (end - start).days)
        fill_transfers(session, UNION, among, made, start)
    return start, end


def token(world: World, union_id: str | None = None) -> str:
    with transaction(world.engine) as session:
        life = timedelta(days=1)
        return tokens.create(session, Role.ANALYST, "Somebody", life, union_id)[1]


def ask(world: World, secret: str, body: object) -> httpx2.Response:
    told = {"Authorization": f"Bearer {secret}"}
    return world.service.client.post("/network/simulate", json=body, headers=told)


def period(start: datetime, end: datetime) -> dict[str, object]:
    return {"union": UNION, "from": start.isoformat(), "to": end.isoformat()}


def test_an_analyst_is_told_roughly_what_would_have_been(world: World) -> None:
    start, end = traded(world.engine)
    before = ledger(world.engine)
    body = period(start, end) | {"credit_factor": "0.5", "rounds_every": 7}
    answer = ask(world, token(world), body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert ledger(world.engine) == before
    with reading(world.engine) as session:
        recorded = simulation.read(session, UNION, start, end)
    seen = simulation.replay(recorded)
    held = simulation.every(7, start, end)
    other = simulation.replay(recorded, Changes(rounds=held))
    assert told["changes"]["rounds"] == "every 7 days"
    assert told["baseline"]["tried"] == rough_count(seen.tried.number)
    assert told["baseline"]["posted"] == rough_count(seen.posted.number)
    assert told["what_if"]["rounds"] == len(held)
    assert float(told["what_if"]["cleared"]) == rough_amount(other.cleared) / 10_000 > 0
    assert told["difference"]["rounds"] == len(held)
    assert [len(told[name]["steps"]) for name in ("baseline", "what_if")] == [2, 2]


def test_nothing_is_told_so_finely_that_one_payment_could_be_told_by_asking_twice() -> None:
    assert [rough_count(n) for n in (0, 4, 5, 9, 123)] == [0, 0, 5, 5, 120]
    assert [rough_amount(n) for n in (0, 9, 99, 123, 129_999)] == [0, 9, 99, 120, 120_000]


def test_a_question_that_breaks_a_rule_is_told_which(world: World) -> None:
    start, end = traded(world.engine)
    secret = token(world)
    for more, field in (
        ({"from": "2026-01-02T00:00:00Z"}, "from"),
        ({"to": "2026-01-01T12:00:00Z"}, "to"),
        ({"to": "2999-01-01T00:00:00Z"}, "to"),
        ({"from": None, "to": "0001-01-01T00:00:00Z"}, "from"),
        ({"from": None, "to": "0001-02-01T00:00:00Z", "schedule": "0 0 1 1 *"}, "from"),
        ({"from": "9999-11-01T00:00:00Z", "to": "9999-12-01T00:00:00Z"}, "to"),
        ({"union": "not an id"}, "union"),
        ({"without": ["trade-01", "trade-02"]}, "without"),
        ({"credit_factor": "0.51"}, "credit_factor"),
        ({"credit_factor": 1}, "credit_factor"),
        ({"rounds_every": 0}, "rounds_every"),
        ({"rounds_every": 7, "no_rounds": True}, "no_rounds"),
        ({"schedule": "* * * * *"}, "schedule"),
        ({"whom": "leeds"}, "whom"),
    ):
        told = problem(ask(world, secret, period(start, end) | more), 422, "invalid")
        assert told["field"] == field, told


def test_what_is_made_of_too_little_is_not_told(sqlite_engine: Engine) -> None:
    with transaction(sqlite_engine) as session:
        now = database.now(session)
        start, cut, end = (first_of(months, now) for months in (3, 2, 1))
        among = network(3, 12, 30)
        many = trade(3, among, 300, (end - cut).days)
        late = many.second + DAY_SECONDS * (cut - start).days
        both = zip(
            (many.second[:4], many.payer[:4], many.payee[:4], many.amount[:4]),
            (late, many.payer, many.payee, many.amount),
            strict=True,
        )
        made = Payments(*(np.concatenate(pair) for pair in both))
        fill_transfers(session, UNION, among, made, start)
        busy = f"{UNION}-{np.bincount(many.payer).argmax() + 1:02}"
        month = privacy.months_of(session, UNION, cut, end)
        assert month == [(cut, end)]
        privacy.check(session, UNION, month, None)
        privacy.check(session, UNION, month, "nobody")
        both_months = privacy.months_of(session, UNION, start, end)
        with pytest.raises(InvalidError, match="nothing is told of it"):
            privacy.check(session, UNION, both_months, None)
        with pytest.raises(InvalidError, match=f"apart by leaving out {busy}"):
            privacy.check(session, UNION, month, busy)  # with some others it had one payment
        with pytest.raises(InvalidError, match="at most 36 months"):
            privacy.months_of(session, UNION, first_of(60, now), end)


def test_a_group_is_left_out_where_it_paid_much_with_each(sqlite_engine: Engine) -> None:
    with transaction(sqlite_engine) as session:
        now = database.now(session)
        cut, end = first_of(2, now), first_of(1, now)
        among = network(3, 3, 3)
        fill_transfers(session, UNION, among, trade(3, among, 300, (end - cut).days), cut)
        month = privacy.months_of(session, UNION, cut, end)
        privacy.check(session, UNION, month, f"{UNION}-1")
        session.execute(
            text(
                "UPDATE transfers SET payer_member = NULL, payee_member = NULL"
                " WHERE payer_group = :left OR payee_group = :left"
            ),
            {"left": f"{UNION}-1"},
        )
        with pytest.raises(InvalidError, match=f"apart by leaving out {UNION}-1"):
            privacy.check(session, UNION, month, f"{UNION}-1")


def test_only_a_token_of_that_union_opens_it(world: World) -> None:
    start, end = traded(world.engine)
    problem(world.service.client.post("/network/simulate", json={}), 401, "unauthenticated")
    answer = world.service.call(world.leeds, "POST", "/network/simulate", {})
    assert answer.status_code in {401, 403}
    problem(ask(world, token(world, "main"), period(start, end)), 404, "not-found")
    problem(ask(world, token(world), period(start, end) | {"union": "nowhere"}), 404, "not-found")
    problem(
        ask(world, token(world), period(start, end) | {"without": ["nobody"]}), 404, "not-found"
    )
    assert ask(world, token(world, UNION), period(start, end)).status_code == 200


def test_one_replay_at_a_time_of_so_much_and_so_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, end = traded(world.engine)
    body = period(start, end)
    with route.one_at_a_time:
        busy = ask(world, token(world), body)
        problem(busy, 429, "too-many")
        assert busy.headers["Retry-After"] == "30"
    monkeypatch.setattr(route, "DEADLINE_SECONDS", 0.001)
    assert "took longer" in str(problem(ask(world, token(world), body), 422, "invalid")["rule"])
    monkeypatch.setattr(route, "MOST_TRANSFERS", 399)
    assert "at most 399" in str(problem(ask(world, token(world), body), 422, "invalid")["rule"])
    assert not route.one_at_a_time.locked()  # what failed holds up nobody


def test_the_command_tells_the_same_exactly(settings: Settings, sqlite_engine: Engine) -> None:
    settings = settings.model_copy(update={"database_url": str(sqlite_engine.url)})
    start, end = traded(sqlite_engine)
    asked = ("simulate", "--union", UNION, "--from", start.isoformat(), "--to", end.isoformat())
    done = run(settings, *asked, "--rounds-every", "10", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    with reading(sqlite_engine) as session:
        recorded = simulation.read(session, UNION, start, end)
    other = simulation.replay(recorded, Changes(rounds=simulation.every(10, start, end)))
    assert told["what_if"]["posted"] == other.posted.number
    assert told["what_if"]["cleared"] == f"{other.cleared / 10_000:.4f}"
    seen = simulation.replay(recorded)
    assert told["as_recorded"] == f"{seen.as_recorded / seen.tried.number:.4f}" < "1"
    table = run(settings, *asked, "--without", "trade-01")
    assert table.exit_code == 0
    assert "payments tried" in table.stdout
    for wrong, code in (
        (("--no-rounds", "--rounds-every", "7"), 2),
        (("--credit-factor", "-1"), 2),
        (("--credit-factor", "1e9"), 2),
        (("--without", "nobody"), 1),
        (("--union", "not an id"), 2),
        (("--union", "nowhere"), 1),
    ):
        assert run(settings, *asked, *wrong).exit_code == code, wrong
    assert run(settings, "network", "limits", "--union", "not an id").exit_code == 2
