"""Rates change by agreement of hub and operator, known before they apply; history stays."""

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from clearing_world import GROUPS, open_world
from clearing_world import admit as admit_group
from operating import run
from paying_world import World, open_doors, payment, problem
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from clearing import events, rate_proposals, rates
from clearing.events import EventKind
from clearing.participants import find_participants
from clearing.rate_proposals import Answer, ProposalState, RateProposal, RateSide, Reply, Wish
from clearing.rates import Rate
from commons import audit_log, database, tokens
from commons.database import reading, transaction
from commons.errors import ConflictError, ForbiddenError, LocalPayError, NotFoundError
from commons.settings import Settings
from commons.tokens import Role

SOON = timedelta(hours=1)


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


@pytest.fixture
def ledger(engine: Engine) -> Engine:
    open_world(engine)
    return engine


def wish(
    rate: str = "2/13", side: RateSide = RateSide.HUB, wanted_from: datetime | None = None
) -> Wish:
    who = "operator" if side is RateSide.OPERATOR else "hub:leeds"
    return Wish(uuid.uuid4(), "leeds", side, who, Fraction(rate), wanted_from)


def proposed(engine: Engine, one: Wish) -> uuid.UUID:
    with transaction(engine) as session:
        return rate_proposals.propose(session, one)[0].id


def answered(engine: Engine, proposal_id: uuid.UUID, answer: Answer, side: RateSide) -> datetime:
    """Answer a proposal and return when its rate applies."""
    group_id = "leeds" if side is RateSide.HUB else None
    with transaction(engine) as session:
        told = rate_proposals.answer(session, proposal_id, Reply(answer, side, "test", group_id))
        assert told.valid_from is not None
        return told.valid_from


def dated(engine: Engine) -> list[tuple[str, datetime]]:
    with reading(engine) as session:
        return [(rate.rate, rate.valid_from) for rate in rates.history(session, ["leeds"])]


def rate_at(session: Session, moment: datetime) -> str | None:
    return find_participants(session, {"leeds"}, moment)["leeds"].rate


@pytest.mark.parametrize("side", list(RateSide))
def test_what_one_side_proposes_and_the_other_agrees_with_applies_after_notice(
    ledger: Engine, side: RateSide
) -> None:
    other = next(one for one in RateSide if one is not side)
    before = dated(ledger)
    proposal_id = proposed(ledger, wish(side=side))
    assert dated(ledger) == before
    valid_from = answered(ledger, proposal_id, Answer.AGREE, other)
    assert dated(ledger) == [*before, ("2/13", valid_from)]
    with reading(ledger) as session:
        moment = database.now(session)
        assert valid_from - moment > rates.QUOTE_LIFE
        assert rate_at(session, moment) == "1/1"
        assert rate_at(session, valid_from) == "2/13"
        assert rates.coming(session, ["leeds", "ghent"], moment) == valid_from
        assert rates.coming(session, ["leeds"], valid_from) is None
        known = session.scalars(select(Rate.known_from).where(Rate.valid_from == valid_from)).one()
        assert known <= moment
    assert answered(ledger, proposal_id, Answer.AGREE, other) == valid_from  # said again
    assert len(dated(ledger)) == len(before) + 1


def test_a_rate_wanted_for_later_applies_then(ledger: Engine) -> None:
    later = datetime.now(UTC) + SOON
    proposal_id = proposed(ledger, wish(wanted_from=later))
    assert answered(ledger, proposal_id, Answer.AGREE, RateSide.OPERATOR) == later
    again = proposed(ledger, wish("1/3", wanted_from=later))
    answered(ledger, again, Answer.AGREE, RateSide.OPERATOR)
    with reading(ledger) as session:  # of two from one moment the one that was known later
        assert rate_at(session, later) == "1/3"
        now = rates.rates_at(later)
        of_leeds = select(now.c.rate).where(now.c.group_id == "leeds")
        assert session.scalar(of_leeds) == "1/3"


@pytest.mark.parametrize(
    ("answer", "side", "error"),
    [
        (Answer.AGREE, RateSide.HUB, ForbiddenError),
        (Answer.DECLINE, RateSide.HUB, ForbiddenError),
        (Answer.WITHDRAW, RateSide.OPERATOR, ForbiddenError),
    ],
)
def test_nobody_answers_for_the_other_side(
    ledger: Engine, answer: Answer, side: RateSide, error: type[LocalPayError]
) -> None:
    proposal_id, before = proposed(ledger, wish()), dated(ledger)
    with pytest.raises(error), transaction(ledger) as session:
        rate_proposals.answer(session, proposal_id, Reply(answer, side, "test", None))
    reply = Reply(Answer.WITHDRAW, RateSide.HUB, "test", "ghent")
    with pytest.raises(NotFoundError), transaction(ledger) as session:
        rate_proposals.answer(session, proposal_id, reply)
    with reading(ledger) as session:
        found = rate_proposals.find(session, proposal_id)
        assert found.state is ProposalState.PROPOSED
    assert dated(ledger) == before


@pytest.mark.parametrize("answer", [Answer.DECLINE, Answer.WITHDRAW])
def test_what_was_ended_stays_ended_and_changes_no_rate(ledger: Engine, answer: Answer) -> None:
    proposal_id, before = proposed(ledger, wish()), dated(ledger)
    side = RateSide.HUB if answer is Answer.WITHDRAW else RateSide.OPERATOR
    with transaction(ledger) as session:
        rate_proposals.answer(session, proposal_id, Reply(answer, side, "test"))
    reply = Reply(Answer.AGREE, RateSide.OPERATOR, "test")
    with pytest.raises(ConflictError), transaction(ledger) as session:
        rate_proposals.answer(session, proposal_id, reply)
    assert dated(ledger) == before
    assert proposed(ledger, wish()) != proposal_id  # and another may be proposed


def test_agreed_declined_and_withdrawn_at_once_it_ends_once(ledger: Engine) -> None:
    before, replies = (
        len(dated(ledger)),
        (
            Reply(Answer.AGREE, RateSide.OPERATOR, "test"),
            Reply(Answer.DECLINE, RateSide.OPERATOR, "test"),
            Reply(Answer.WITHDRAW, RateSide.HUB, "test"),
        ),
    )
    agreed = 0
    for _ in range(10):
        proposal_id = proposed(ledger, wish())
        ended: list[Answer] = []

        def end(
            reply: Reply, proposal_id: uuid.UUID = proposal_id, ended: list[Answer] = ended
        ) -> None:
            try:
                with transaction(ledger) as session:
                    rate_proposals.answer(session, proposal_id, reply)
            except ConflictError:
                return
            ended.append(reply.answer)

        threads = [threading.Thread(target=end, args=(reply,)) for reply in replies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ended) == 1
        agreed += ended == [Answer.AGREE]
    assert len(dated(ledger)) == before + agreed


def test_proposed_at_once_one_is_open(ledger: Engine) -> None:
    kept: list[uuid.UUID] = []

    def propose(one: Wish) -> None:
        try:
            kept.append(proposed(ledger, one))
        except ConflictError:
            return

    threads = [threading.Thread(target=propose, args=(wish(f"1/{n}"),)) for n in range(2, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 1
    with reading(ledger) as session:
        assert session.scalar(select(func.count()).select_from(RateProposal)) == 1


def test_a_group_that_has_a_rate_keeps_it_when_it_is_admitted_again(sqlite_engine: Engine) -> None:
    open_world(sqlite_engine)
    before = dated(sqlite_engine)
    with transaction(sqlite_engine) as session:
        assert rates.start(session, "leeds", Fraction(7)).rate == "1/1"
    assert dated(sqlite_engine) == before


def test_hubs_are_told_and_the_audit_log_knows_who(sqlite_engine: Engine) -> None:
    open_world(sqlite_engine)
    with transaction(sqlite_engine) as session:  # in no union with leeds
        admit_group(session, "apart", GROUPS["leeds"], "islands")
    first = proposed(sqlite_engine, wish())
    answered(sqlite_engine, first, Answer.AGREE, RateSide.OPERATOR)
    second = proposed(sqlite_engine, wish("1/7", RateSide.OPERATOR))
    with transaction(sqlite_engine) as session:
        reply = Reply(Answer.DECLINE, RateSide.HUB, "hub:leeds", "leeds")
        rate_proposals.answer(session, second, reply)
    told = {
        group_id: [
            (event.kind, event.subject, event.data["state"])
            for event in all_events(sqlite_engine, group_id)
            if event.kind.startswith("rate-")
        ]
        for group_id in ("leeds", "ghent", "apart")
    }
    agreed = (EventKind.RATE_AGREED, str(first), "agreed")
    assert told == {
        "leeds": [
            (EventKind.RATE_PROPOSED, str(first), "proposed"),
            agreed,
            (EventKind.RATE_PROPOSED, str(second), "proposed"),
            (EventKind.RATE_ENDED, str(second), "declined"),
        ],
        "ghent": [agreed],
        "apart": [],
    }
    with reading(sqlite_engine) as session:
        deeds = [(deed.actor, deed.action) for deed in audit_log.after(session, 0, 100)]
        assert [deed for deed in deeds if deed[1].startswith("rate-")] == [
            ("hub:leeds", "rate-proposed"),
            ("test", "rate-agreed"),
            ("operator", "rate-proposed"),
            ("hub:leeds", "rate-declined"),
        ]
        assert list(audit_log.broken(session)) == []


def all_events(engine: Engine, group_id: str) -> list[events.Event]:
    with reading(engine) as session:
        return events.after(session, group_id, 0, 1_000)


def test_a_hub_proposes_over_http_and_the_operator_agrees(world: World) -> None:
    path, body = f"/rates/{uuid.uuid4()}", {"rate": "4/26"}
    before = world.service.call(world.barcelona, "GET", "/rates").json()
    made = world.service.call(world.barcelona, "PUT", path, body)
    again = world.service.call(world.barcelona, "PUT", path, {"rate": "2/13"})
    assert (made.status_code, again.status_code) == (201, 200)
    assert made.json() == again.json()
    assert made.json().items() >= {"rate": "2/13", "state": "proposed", "side": "hub"}.items()
    for hub, other in ((world.barcelona, {"rate": "2/15"}), (world.leeds, body)):
        problem(world.service.call(hub, "PUT", path, other), 409, "conflict")
    another = f"/rates/{uuid.uuid4()}"
    problem(world.service.call(world.barcelona, "PUT", another, body), 409, "conflict")
    problem(world.service.call(world.barcelona, "POST", f"{path}/agree"), 403, "forbidden")
    problem(world.service.call(world.leeds, "POST", f"{path}/withdraw"), 404, "not-found")
    listed = operator(world, "list", "--json")
    assert [one["id"] for one in listed["proposals"]] == [made.json()["id"]]
    agreed = operator(world, "agree", made.json()["id"])
    assert (agreed["state"], agreed["rate"]) == ("agreed", "2/13")
    seen = world.service.call(world.ghent, "GET", "/rates").json()
    assert seen["proposals"] == []
    assert {one["group"]: one["rate"] for one in seen["groups"]} == {
        one["group"]: one["rate"] for one in before["groups"]
    }
    history = next(one["history"] for one in seen["groups"] if one["group"] == "barcelona")
    assert history[:-1] == next(
        one["history"] for one in before["groups"] if one["group"] == "barcelona"
    )
    assert history[-1].items() >= {"rate": "2/13", "valid_from": agreed["valid_from"]}.items()
    assert world.put(world.barcelona, payment("10")).json()["payer_rate"] == "1/1"  # as before


def operator(world: World, *arguments: str) -> Any:  # noqa: ANN401 (any JSON)
    done = run(world.service.services.settings, "rate", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_operator_proposes_and_the_hub_answers_over_http(world: World) -> None:
    later = (datetime.now(UTC) + SOON).isoformat()
    first = operator(world, "propose", "leeds", "3/4", "--valid-from", later)
    path = f"/rates/{first['id']}"
    problem(world.service.call(world.leeds, "POST", f"{path}/withdraw"), 403, "forbidden")
    declined = world.service.call(world.leeds, "POST", f"{path}/decline").json()
    assert declined["state"] == "declined"
    problem(world.service.call(world.leeds, "POST", f"{path}/agree"), 409, "conflict")
    withdrawn = operator(world, "propose", "leeds", "3/4")
    assert operator(world, "withdraw", withdrawn["id"])["state"] == "withdrawn"
    second = operator(world, "propose", "leeds", "3/4", "--valid-from", later)
    agreed = world.service.call(world.leeds, "POST", f"/rates/{second['id']}/agree").json()
    assert datetime.fromisoformat(agreed["valid_from"]) == datetime.fromisoformat(later)
    own = world.service.call(world.leeds, "GET", "/rates").json()["proposals"]
    assert [one["state"] for one in own] == ["agreed", "withdrawn", "declined"]


def test_the_operator_acts_over_http_with_a_token_that_opens_all_unions(world: World) -> None:
    texts = {}
    with transaction(world.engine) as session:
        for role, union in ((Role.OPERATOR, None), (Role.OPERATOR, "main"), (Role.ANALYST, None)):
            life = timedelta(days=1)
            texts[role, union] = tokens.create(session, role, "test", life, union)[1]
    proposal_id, before = uuid.uuid4(), dated(world.engine)
    path, body = f"/rates/{proposal_id}", {"rate": "5/7", "group": "leeds"}

    def said(role: Role, union: str | None, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401 (any JSON)
        told = {"Authorization": f"Bearer {texts[role, union]}"}
        return world.service.client.request(method, path, headers=told, **more)

    for role, union in ((Role.OPERATOR, "main"), (Role.ANALYST, None)):
        problem(said(role, union, "PUT", path, json=body), 403, "forbidden")
    nameless = said(Role.OPERATOR, None, "PUT", path, json={"rate": "5/7"})
    assert problem(nameless, 422, "invalid")["field"] == "group"
    foreign = world.service.call(world.ghent, "PUT", path, body)
    assert problem(foreign, 422, "invalid")["field"] == "group"
    made = said(Role.OPERATOR, None, "PUT", path, json=body)
    assert (made.status_code, made.json()["side"]) == (201, "operator")
    problem(said(Role.OPERATOR, None, "POST", f"{path}/agree"), 403, "forbidden")
    assert dated(world.engine) == before
    assert world.service.call(world.leeds, "POST", f"{path}/agree").status_code == 200
    seen = said(Role.ANALYST, None, "GET", "/rates").json()
    assert [one["group"] for one in seen["groups"]] == ["barcelona", "ghent", "leeds"]
    assert [one["id"] for one in seen["proposals"]] == [str(proposal_id)]
    own, other = f"/rates/{uuid.uuid4()}", {"rate": "5/8"}
    assert world.service.call(world.ghent, "PUT", own, other).status_code == 201
    agreed = said(Role.OPERATOR, None, "POST", f"{own}/agree").json()
    assert (agreed["state"], agreed["group"]) == ("agreed", "ghent")
    with reading(world.engine) as session:
        who = {deed.actor.partition(":")[0] for deed in audit_log.after(session, 0, 100)}
    assert {"token", "hub"} <= who


def test_a_call_is_heard_once(world: World) -> None:
    request = world.service.request(world.leeds, "PUT", f"/rates/{uuid.uuid4()}", {"rate": "1/2"})
    assert world.service.client.send(request).status_code == 201
    problem(world.service.client.send(request), 401, "unauthenticated")


RATES: tuple[object, ...] = (
    1, 1.5, None, "1", "1.5", "0/1", "1/0", "-1/2", "1/-2", "1e3/2", "1_0/2", " 1/2", "1/2/3",
    "\u0663/4", "1/" + "9" * 13,
)  # fmt: skip
MOMENTS: tuple[object, ...] = (
    "2020-01-01T00:00:00Z", "2027-01-01", "2027-01-01T00:00:00", 1, "1",
    "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00",
)  # fmt: skip


def test_a_bad_proposal_names_its_field_and_leaves_nothing(world: World) -> None:
    bad: list[dict[str, object]] = [{}, {"rate": "1/2", "more": "1"}]
    bad += [{"rate": rate} for rate in RATES]
    bad += [{"rate": "1/2", "valid_from": moment} for moment in MOMENTS]
    for body in bad:
        answer = world.service.call(world.leeds, "PUT", f"/rates/{uuid.uuid4()}", body)
        told = problem(answer, 422, "invalid")
        assert told["field"].removeprefix("body.") in {"rate", "valid_from", "more"}, body
    with reading(world.engine) as session:
        assert session.scalar(select(func.count()).select_from(RateProposal)) == 0
