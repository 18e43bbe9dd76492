"""Periods: days that are closed, so that nothing is dated into them any more."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from clearing import accounts, bulk, chain, events
from clearing.accounts import Account, AccountKind, AccountState
from clearing.events import EventKind, Notice
from clearing.ledger import Book, Draft, JournalKind, Line, post
from commons import audit_log, database
from commons.database import Base
from commons.errors import ConflictError, InvalidError
from commons.money import CLEARING_SCALE, format_amount

FARTHEST_AHEAD: Final = timedelta(days=31)
FARTHEST_BACK: Final = timedelta(days=366)
"""Nobody closes a year twice: what is older than that is a slip of the pen."""


class PeriodEnd(Base):
    """A day up to which a union's books are closed; added to, never taken back."""

    __tablename__ = "period_ends"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    union_id: Mapped[str] = mapped_column(ForeignKey("unions.id"))
    until: Mapped[date]
    closed_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("union_id", "until"),)


database.append_only(PeriodEnd)

_CLOSED: Final = bulk.Sought(
    lambda among: (
        select(PeriodEnd.union_id, func.max(PeriodEnd.until))
        .where(among(PeriodEnd.union_id))
        .group_by(PeriodEnd.union_id)
    )
)


def closed_until(session: Session, union_ids: Iterable[str]) -> Mapping[str, date]:
    """Return the last closed day by union; a union that closed none is left out.

    A period is closed under the locks of all accounts of its union. So whoever posts reads this
    under the accounts' locks, and nothing slips into a period that is just being closed.
    """
    return dict(_CLOSED.rows(session, set(union_ids)))


def check_chosen(value_date: date | None, closed: date | None, today: date) -> None:
    """Raise InvalidError for a value date in a closed period or too far off; None is today."""
    if value_date is None:
        return
    if closed is not None and value_date <= closed:
        raise InvalidError("value_date", f"lies in a period that is closed until {closed}")
    if value_date > today + FARTHEST_AHEAD:
        raise InvalidError("value_date", f"may be at most {FARTHEST_AHEAD.days} days ahead")
    if value_date < today - FARTHEST_BACK:
        raise InvalidError("value_date", f"may be at most {FARTHEST_BACK.days} days back")


def check_open(value_date: date | None, closed: date | None) -> None:
    """Raise ConflictError where what is to be posted counts for a day that was closed since."""
    if value_date is not None and closed is not None and value_date <= closed:
        raise ConflictError(
            f"it counts for {value_date}, and the period until {closed} is closed",
            reason="period_closed",
        )


@dataclass(frozen=True)
class Return:
    """What a closing does with the residue of one group, in smallest clearing units.

    `moves` is what each account owes the residue, by account; `fits` is false where limits leave
    no room, a proposed round counts on it, or the group's account is closed: the residue stays
    where it is then, until the next closing.
    """

    group: Account
    residue: Account
    moves: Mapping[int, int]
    fits: bool

    @property
    def amount(self) -> int:
        """What the group is owed more afterwards; less than 0 where it owes more."""
        return sum(self.moves.values())


def close(session: Session, union_id: str, until: date, actor: str) -> list[Return]:
    """Close a union's books up to a day, and give every group its residue back.

    All of it in one transaction, under the locks of the union's accounts. Its hubs are told, and
    the audit log names `actor`. Raises InvalidError for a day that is not over, in UTC by the
    database's clock, and ConflictError where a later day is closed already.
    """
    accounts.union_of(session, union_id)
    book = Book.lock_union(session, union_id)
    moment = _check_end(session, union_id, until)
    end = PeriodEnd(id=uuid4(), union_id=union_id, until=until, closed_at=moment)
    session.add(end)
    session.flush()
    done, rows = [], _rows(book)
    for group, residue in _groups(session, union_id):
        if group.id not in book.accounts:  # opened just now, and so not locked; nothing to return
            continue
        back = _return(book, group, residue, rows[residue.id])
        if back.fits and back.moves:
            post(book, _journal(end, back), moment)
            for other_id in back.moves:  # which may be another group's residue, whose turn comes
                rows[other_id].add(group.id)
        done.append(back)
    book.write()
    told = [_notice(end, back) for back in done]
    events.record(session, told, moment)
    audit_log.record(session, actor, "period-closed", union_id, {"until": until.isoformat()})
    return done


def preview(session: Session, union_id: str, until: date) -> list[Return]:
    """Return what a closing would do now; nothing is changed. Raises as `close` does."""
    accounts.union_of(session, union_id)
    _check_end(session, union_id, until)
    book = Book.read_union(session, union_id)
    rows = _rows(book)
    found = _groups(session, union_id)
    return [_return(book, group, residue, rows[residue.id]) for group, residue in found]


def ends(session: Session, union_id: str | None = None) -> list[PeriodEnd]:
    """Return the period ends, of one union if given, newest first."""
    query = select(PeriodEnd).order_by(PeriodEnd.union_id, PeriodEnd.until.desc())
    return list(session.scalars(query if union_id is None else query.filter_by(union_id=union_id)))


def _check_end(session: Session, union_id: str, until: date) -> datetime:
    moment = database.now(session)
    if until >= moment.date():
        raise InvalidError("until", f"must be before {moment.date()}, which is not over")
    closed = closed_until(session, [union_id]).get(union_id)
    if closed is not None and until <= closed:
        raise ConflictError(f"union {union_id!r} is closed until {closed} already")
    return moment


def _groups(session: Session, union_id: str) -> list[tuple[Account, Account]]:
    """Return the groups' own accounts of a union, each with its residue's."""
    residue = aliased(Account)
    rows = session.execute(
        select(Account, residue)
        .join(
            residue,
            (residue.group_id == Account.group_id) & (residue.union_id == Account.union_id),
        )
        .where(
            Account.union_id == union_id,
            Account.kind == AccountKind.GROUP,
            residue.kind == AccountKind.RESIDUE,
        )
        .order_by(Account.id)
    )
    return [(own, other) for own, other in rows]


def _rows(book: Book) -> dict[int, set[int]]:
    """Return with whom each account has a position."""
    rows: dict[int, set[int]] = defaultdict(set)
    for account_id, other_id in book.positions:
        rows[account_id].add(other_id)
    return rows


def _return(book: Book, group: Account, residue: Account, others: set[int]) -> Return:
    """Work out what goes back; what the group owes its own residue simply vanishes."""
    amounts = {other_id: book.position(residue.id, other_id).amount for other_id in others}
    moves = {other_id: amount for other_id, amount in sorted(amounts.items()) if amount}
    fits = group.state is not AccountState.CLOSED and _fits(book, group, residue, moves)
    return Return(group, residue, moves, fits)


def _fits(book: Book, group: Account, residue: Account, moves: Mapping[int, int]) -> bool:
    """Tell whether limits have room for it, and no proposed round counts on any of it."""
    own, total = book.accounts[group.id], sum(moves.values())
    room = own.room_above() if total > 0 else own.room_below()
    if total and room < abs(total):
        return False
    for other_id, amount in moves.items():
        pair = (residue.id, other_id)
        if book.position(*pair).given or book.position(*reversed(pair)).given:
            return False
        owing = (other_id, group.id) if amount > 0 else (group.id, other_id)
        if other_id != group.id and book.position(*owing).room() < abs(amount):
            return False
    return True


def _journal(end: PeriodEnd, back: Return) -> Draft:
    entries, touched = [], {back.residue.id: back.group.name, back.group.id: back.residue.name}
    for other_id, amount in back.moves.items():
        entries += [(back.residue.id, other_id, -amount), (other_id, back.residue.id, amount)]
        if other_id != back.group.id:
            entries += [(back.group.id, other_id, amount), (other_id, back.group.id, -amount)]
            touched[other_id] = back.residue.name
    digest = content_digest(end, back.group.name)
    lines = [Line(account_id, counterparty, digest) for account_id, counterparty in touched.items()]
    return Draft(uuid4(), JournalKind.RESIDUE, entries, lines, about=end.id)


def content(end: PeriodEnd, group: str) -> dict[str, str]:
    """Return what the chains vouch for of the return of a group's residue, all as strings."""
    return {
        "period": str(end.id),
        "union": end.union_id,
        "until": end.until.isoformat(),
        "closed": chain.time_text(end.closed_at),
        "group": group,
    }


def content_digest(end: PeriodEnd, group: str) -> str:
    """Return the digest that stands for the return of a group's residue in the chains."""
    return chain.digest(content(end, group))


def _notice(end: PeriodEnd, back: Return) -> Notice:
    data = {
        "union": end.union_id,
        "until": end.until.isoformat(),
        "residue": format_amount(back.amount if back.fits else 0, CLEARING_SCALE),
    }
    return Notice(back.group.name, EventKind.PERIOD_CLOSED, str(end.id), data)
