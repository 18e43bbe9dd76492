"""Proposals of another rate: the group's hub or the operator proposes, the other side agrees."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing import chain, events, rates
from clearing.events import EventKind, Notice
from commons import audit_log, database
from commons.database import Base, enum_column
from commons.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from commons.groups import Hub, HubState
from commons.money import format_rate, parse_rate

LONGEST_AHEAD: Final = timedelta(days=366)


class RateSide(StrEnum):
    """One of the two who agree on a rate."""

    HUB = "hub"
    OPERATOR = "operator"


class ProposalState(StrEnum):
    """Where a proposed rate stands."""

    PROPOSED = "proposed"
    AGREED = "agreed"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


TRANSITIONS: Final[dict[ProposalState, frozenset[ProposalState]]] = {
    ProposalState.PROPOSED: frozenset(
        {ProposalState.AGREED, ProposalState.DECLINED, ProposalState.WITHDRAWN}
    ),
}


class Answer(StrEnum):
    """How a proposal is ended: by the other side, or withdrawn by its own."""

    AGREE = "agree"
    DECLINE = "decline"
    WITHDRAW = "withdraw"


ENDS: Final = {
    Answer.AGREE: ProposalState.AGREED,
    Answer.DECLINE: ProposalState.DECLINED,
    Answer.WITHDRAW: ProposalState.WITHDRAWN,
}


class RateProposal(Base):
    """A rate that one side wants; a group has one open proposal at most.

    `wanted_from` is when it is to apply, empty for as soon as it may. `valid_from` is when it does,
    once both sides agreed: never sooner than known to everybody for the life of a quote.
    """

    __tablename__ = "rate_proposals"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), index=True)
    side: Mapped[RateSide] = mapped_column(enum_column(RateSide))
    state: Mapped[ProposalState] = mapped_column(enum_column(ProposalState))
    rate: Mapped[str] = mapped_column(String(32))
    wanted_from: Mapped[datetime | None]
    proposed_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    valid_from: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("(state = 'proposed') = (ended_at IS NULL)", name="ended_unless_proposed"),
        CheckConstraint("(state = 'agreed') = (valid_from IS NOT NULL)", name="valid_if_agreed"),
        Index(
            "uq_rate_proposals_one_proposed",
            "group_id",
            unique=True,
            sqlite_where=text("state = 'proposed'"),
            postgresql_where=text("state = 'proposed'"),
        ),
    )


@dataclass(frozen=True)
class Wish:
    """What is proposed: a rate for a group's currency, by one of the two sides.

    `actor` is who speaks for that side, as the audit log names them.
    """

    id: UUID
    group_id: str
    side: RateSide
    actor: str
    rate: Fraction
    wanted_from: datetime | None = None


@dataclass(frozen=True)
class Reply:
    """How a side ends a proposal; the hub's is of its own `group_id`, the operator's of any."""

    answer: Answer
    side: RateSide
    actor: str
    group_id: str | None = None


def propose(session: Session, wish: Wish) -> tuple[RateProposal, bool]:
    """Propose a rate and tell the hub; return the proposal and whether it is new.

    The same again under its id is answered as it stands now. Raises ConflictError for another one
    under a known id, and where a proposal of the group is open; InvalidError for a moment that is
    past or too far off; NotFoundError where the group does not clear.
    """
    # Whoever proposes for a group holds its hub's row, so that one proposal is open at most.
    hub = session.scalar(select(Hub).where(Hub.group_id == wish.group_id).with_for_update())
    known = session.get(RateProposal, wish.id)
    if known is not None:
        return _repeated(known, wish), False
    if hub is None or hub.state is not HubState.ADMITTED:
        raise NotFoundError(f"no group {wish.group_id!r} clears here")
    moment = database.now(session)
    _check_moment(wish.wanted_from, moment)
    open_one = _open(session, wish.group_id)
    if open_one is not None:
        raise ConflictError(f"rate proposal {open_one} of group {wish.group_id!r} is still open")
    proposal = RateProposal(
        id=wish.id,
        group_id=wish.group_id,
        side=wish.side,
        state=ProposalState.PROPOSED,
        rate=format_rate(wish.rate),
        wanted_from=wish.wanted_from,
        proposed_at=moment,
    )
    session.add(proposal)
    try:
        session.flush()
    except IntegrityError as error:  # of another group, so our lock did not hold it off
        if database.violated(error) != "pk_rate_proposals":
            raise
        raise ConflictError(f"rate proposal {wish.id} exists with another body") from error
    _tell(session, proposal, EventKind.RATE_PROPOSED, [proposal.group_id], moment)
    audit_log.record(session, wish.actor, "rate-proposed", wish.group_id, _data(proposal))
    return proposal, True


def _repeated(known: RateProposal, wish: Wish) -> RateProposal:
    same = (
        known.group_id == wish.group_id
        and known.side is wish.side
        and known.rate == format_rate(wish.rate)
        and known.wanted_from == wish.wanted_from
    )
    if not same:
        raise ConflictError(f"rate proposal {wish.id} exists with another body")
    return known


def _check_moment(wanted_from: datetime | None, moment: datetime) -> None:
    if wanted_from is not None and not moment < wanted_from <= moment + LONGEST_AHEAD:
        raise InvalidError(
            "valid_from", f"must lie in the future, at most {LONGEST_AHEAD.days} days from now"
        )


def _open(session: Session, group_id: str) -> UUID | None:
    return session.scalar(
        select(RateProposal.id).where(
            RateProposal.group_id == group_id, RateProposal.state == ProposalState.PROPOSED
        )
    )


def answer(session: Session, proposal_id: UUID, reply: Reply) -> RateProposal:
    """End a proposal: the other side agrees or declines, its own side withdraws.

    Agreed, the rate applies from the moment wanted, and never sooner than `rates.NOTICE` from
    now; all hubs that clear with the group are told. The same answer again is answered as it
    stands. Raises NotFoundError, ForbiddenError for the wrong side, ConflictError where the
    proposal was ended otherwise.
    """
    proposal = find(session, proposal_id, reply.group_id)
    if (reply.side is proposal.side) != (reply.answer is Answer.WITHDRAW):
        who = "that made" if reply.answer is Answer.WITHDRAW else "that did not make"
        raise ForbiddenError(f"only the side {who} rate proposal {proposal_id} may {reply.answer}")
    state, moment = ENDS[reply.answer], database.now(session)
    valid_from = None
    if state is ProposalState.AGREED:
        valid_from = max(proposal.wanted_from or moment, moment + rates.NOTICE)
    moved = session.scalar(
        update(RateProposal)
        .where(RateProposal.id == proposal_id, RateProposal.state == ProposalState.PROPOSED)
        .values(state=state, ended_at=moment, valid_from=valid_from)
        .returning(RateProposal)
        .execution_options(populate_existing=True)
    )
    if moved is None:
        session.refresh(proposal)
        if proposal.state is state:
            return proposal
        raise ConflictError(
            f"rate proposal {proposal_id} is {proposal.state}", state=str(proposal.state)
        )
    _ended(session, moved, reply.actor, moment)
    return moved


def _ended(session: Session, proposal: RateProposal, actor: str, moment: datetime) -> None:
    told, kind = [proposal.group_id], EventKind.RATE_ENDED
    if proposal.valid_from is not None:
        rates.agree(session, proposal.group_id, parse_rate(proposal.rate), proposal.valid_from)
        told, kind = rates.shared_with(session, proposal.group_id), EventKind.RATE_AGREED
    _tell(session, proposal, kind, told, moment)
    audit_log.record(session, actor, f"rate-{proposal.state}", proposal.group_id, _data(proposal))


def find(session: Session, proposal_id: UUID, group_id: str | None = None) -> RateProposal:
    """Return a proposal, of this group where one is named; else NotFoundError."""
    found = session.get(RateProposal, proposal_id)
    if found is None or group_id not in {None, found.group_id}:
        raise NotFoundError(f"there is no rate proposal {proposal_id}")
    return found


def latest(session: Session, group_id: str | None = None, limit: int = 100) -> list[RateProposal]:
    """Return proposals, newest first; only a group's if one is named."""
    query = select(RateProposal).order_by(RateProposal.proposed_at.desc(), RateProposal.id)
    if group_id is not None:
        query = query.where(RateProposal.group_id == group_id)
    return list(session.scalars(query.limit(limit)))


def _tell(
    session: Session,
    proposal: RateProposal,
    kind: EventKind,
    group_ids: Sequence[str],
    moment: datetime,
) -> None:
    data = _data(proposal)
    notices = [Notice(group_id, kind, str(proposal.id), data) for group_id in group_ids]
    events.record(session, notices, moment)


def _data(proposal: RateProposal) -> dict[str, str]:
    data = {
        "proposal": str(proposal.id),
        "group": proposal.group_id,
        "side": str(proposal.side),
        "state": str(proposal.state),
        "rate": proposal.rate,
    }
    valid_from = proposal.valid_from or proposal.wanted_from
    if valid_from is not None:
        data["valid_from"] = chain.time_text(valid_from)
    return data
