"""Rounds as they are told: their totals, their rows, and a group's own page."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import BaseModel

from clearing.rounds import Round, RoundState
from clearing.rounds.pages import Change, GroupPart, Page, PairPart
from clearing.rounds.planning import Plan
from clearing.rounds.rows import Part, Queued
from commons.money import CLEARING_SCALE, format_amount

ALL: Final = "all"
_BY_ITSELF: Final = "schedule"


class QueueView(BaseModel):
    """The queued payments that a round could release, and those that it does.

    `value` is what those released come to, in clearing units, `bound` what no choice could exceed;
    `exact` says that no better choice exists.
    """

    waiting: int
    released: int
    value: str
    bound: str
    exact: bool


class RoundView(BaseModel):
    """A round and its totals, in clearing units.

    Until `commit_at` groups may opt out. `cleared` is what is set off in all, `drawn` what is owed
    anew over spare credit lines, where `credit_lines` says that these were used. `amended`: it was
    solved again before it was committed. `certificate_hash` is that of its public certificate.
    """

    id: UUID
    union: str
    state: RoundState
    obligations_total: str
    net_internal_debt: str
    cleared: str
    credit_lines: bool
    drawn: str
    amended: bool
    queue: QueueView
    proposed_by: str
    proposed_at: datetime
    commit_at: datetime
    ended_at: datetime | None
    certificate_hash: str | None


class PartView(BaseModel):
    """What a round does to one obligation, in clearing units.

    `obligation` is with the queued payments that the round releases, which changed it by
    `released`; `remaining` is what is left once `set_off` is cancelled and `drawn` owed anew.
    """

    debtor: str
    creditor: str
    obligation: str
    released: str
    set_off: str
    drawn: str
    remaining: str


class ChangeView(BaseModel):
    """What a round does between a group and one counterparty, in clearing units.

    `before` and `after` are what the counterparty owes the group, negative what the group owes it;
    `released` and `drawn` change it, `set_off` is cancelled of it: `least` must be, `at_most` so
    much may. `room_before` and `room_after` are how much more the group's pair limit lets it owe,
    `their_…` the counterparty's; empty where no limit holds.
    """

    counterparty: str
    before: str
    released: str
    set_off: str
    drawn: str
    after: str
    least: str
    at_most: str
    room_before: str | None
    room_after: str | None
    their_room_before: str | None
    their_room_after: str | None


class PairView(ChangeView):
    """The same, and what is known beside it.

    `now` is what the counterparty owes the group now, `disputed` what was disputed of the debt,
    `kept_back` what the group itself keeps back now (`all`: everything), `price` the counterparty's
    price, from which the optimum can be proven.
    """

    now: str
    disputed: str
    kept_back: str | None
    price: str | None


class PaymentView(BaseModel):
    """A queued payment of the group that a round could release, in clearing units.

    `first`: it was passed over so often that it came first. No member is named.
    """

    transfer: UUID
    payer: str
    payee: str
    amount: str
    first: bool
    proposed: bool
    released: bool


class SumsView(BaseModel):
    """What a group owes and is owed, and how much of either is set off, in clearing units."""

    owes_before: str
    is_owed_before: str
    set_off: str
    owes_after: str
    is_owed_after: str


class PageView(SumsView):
    """A group's own part of a round, and how it stands now, in clearing units.

    Of a round that is proposed or was abandoned it says what was proposed.
    """

    group: str
    round: RoundView
    opted_out_at: datetime | None
    price: str | None
    balance_now: str
    pairs: list[PairView]
    payments: list[PaymentView]


class GroupPartView(SumsView):
    """What a round does to a group: with whom what is set off, what it releases."""

    group: str
    pairs: list[ChangeView]
    payments: list[PaymentView]


class PlanView(BaseModel):
    """What a round would do to a union now, as a whole and to each group, in clearing units."""

    union: str
    obligations_total: str
    net_internal_debt: str
    cleared: str
    credit_lines: bool
    drawn: str
    queue: QueueView
    parts: list[PartView]
    groups: list[GroupPartView]


def units(minor: int) -> str:
    """Write smallest clearing units."""
    return format_amount(minor, CLEARING_SCALE)


def _units(minor: int | None) -> str | None:
    return None if minor is None else units(minor)


def _whole(number: int | None) -> str | None:
    return None if number is None else str(number)


def round_view(found: Round) -> RoundView:
    """Return what anybody of its union is told of a round."""
    return RoundView(
        id=found.id,
        union=found.union_id,
        state=found.state,
        obligations_total=units(found.obligations_total),
        net_internal_debt=units(found.net_internal_debt),
        cleared=units(found.cleared),
        credit_lines=found.credit_lines,
        drawn=units(found.drawn),
        amended=found.amended,
        queue=QueueView(
            waiting=found.waiting,
            released=found.released,
            value=units(found.released_value),
            bound=units(found.released_bound),
            exact=found.released_exact,
        ),
        proposed_by=_BY_ITSELF if found.proposed_by == _BY_ITSELF else "operator",
        proposed_at=found.proposed_at,
        commit_at=found.commit_at,
        ended_at=found.ended_at,
        certificate_hash=found.certificate_hash,
    )


def page_view(page: Page) -> PageView:
    """Return a group's page as it is told."""
    return PageView(
        **_sums(page.pairs),
        group=page.group,
        round=round_view(page.round),
        opted_out_at=page.opted_out_at,
        price=_whole(page.price),
        balance_now=units(page.balance_now),
        pairs=[_pair_view(one) for one in page.pairs],
        payments=[_payment_view(one) for one in page.payments],
    )


def plan_view(plan: Plan, groups: Sequence[GroupPart]) -> PlanView:
    """Return what a round would do as it is told; `groups` are its groups' parts."""
    return PlanView(
        union=plan.union_id,
        obligations_total=units(plan.totals.obligations),
        net_internal_debt=units(plan.totals.net_internal_debt),
        cleared=units(plan.totals.cleared),
        credit_lines=plan.credit_lines,
        drawn=units(plan.totals.drawn),
        queue=QueueView(
            waiting=len(plan.queued),
            released=len(plan.released),
            value=units(plan.value),
            bound=units(plan.bound),
            exact=plan.exact,
        ),
        parts=[PartView.model_validate(part_document(part)) for part in plan.rows()],
        groups=[group_view(one) for one in groups],
    )


def group_view(part: GroupPart) -> GroupPartView:
    """Return a group's part of a round as it is told."""
    return GroupPartView(
        **_sums(part.pairs),
        group=part.group,
        pairs=[ChangeView.model_validate(_change(one)) for one in part.pairs],
        payments=[_payment_view(one) for one in part.payments],
    )


def _sums(pairs: Sequence[Change]) -> dict[str, str]:
    before, after = ([getattr(one, name) for one in pairs] for name in ("before", "after"))
    own = (one.set_off for one in pairs if one.before + one.released < 0)
    return {
        "owes_before": units(-sum(min(0, one) for one in before)),
        "is_owed_before": units(sum(max(0, one) for one in before)),
        "set_off": units(sum(own)),
        "owes_after": units(-sum(min(0, one) for one in after)),
        "is_owed_after": units(sum(max(0, one) for one in after)),
    }


def _change(pair: Change) -> dict[str, str | None]:
    return {
        "counterparty": pair.counterparty,
        "before": units(pair.before),
        "released": units(pair.released),
        "set_off": units(pair.set_off),
        "drawn": units(pair.drawn),
        "after": units(pair.after),
        "least": units(pair.least),
        "at_most": units(pair.at_most),
        "room_before": _units(pair.room_before),
        "room_after": _units(pair.room_after),
        "their_room_before": _units(pair.their_room_before),
        "their_room_after": _units(pair.their_room_after),
    }


def _pair_view(pair: PairPart) -> PairView:
    beside = {
        "now": units(pair.now),
        "disputed": units(pair.disputed),
        "kept_back": ALL if pair.kept_back == 0 else _units(pair.kept_back),
        "price": _whole(pair.price),
    }
    return PairView.model_validate(_change(pair) | beside)


def _payment_view(payment: Queued) -> PaymentView:
    return PaymentView(
        transfer=payment.transfer,
        payer=payment.payer,
        payee=payment.payee,
        amount=units(payment.value),
        first=payment.first,
        proposed=payment.proposed,
        released=payment.posted,
    )


def part_document(part: Part) -> dict[str, str]:
    """Return a row of a round as `PartView` describes it, ready to be written as JSON."""
    return {
        "debtor": part.debtor,
        "creditor": part.creditor,
        "obligation": units(part.obligation),
        "released": units(part.released),
        "set_off": units(part.amount),
        "drawn": units(part.drawn),
        "remaining": units(part.remaining),
    }
