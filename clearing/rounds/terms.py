"""A group's terms for rounds: whether it takes part at all, and what it keeps back from whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from clearing.accounts import Account, account_in, lock_accounts
from clearing.rounds.model import KeptBack
from commons import audit_log
from commons.errors import InvalidError
from commons.money import CLEARING_SCALE, format_amount, parse_amount

MOST_KEPT_BACK: Final = 1_000


@dataclass(frozen=True)
class Kept:
    """How much of what lies between a group and a counterparty stays out of rounds.

    In clearing units, as a decimal string; None is all of it, whoever owes whom.
    """

    counterparty: str
    amount: str | None = None


@dataclass(frozen=True)
class Terms:
    """A group's terms in a union; what is kept back by the counterparties' names."""

    group: str
    union: str
    in_rounds: bool
    kept_back: Sequence[Kept]


def terms_of(session: Session, account: Account) -> Terms:
    """Return the terms of a group's account as they are now."""
    rows = session.execute(
        select(Account.name, KeptBack.amount)
        .join(Account, Account.id == KeptBack.counterparty_id)
        .where(KeptBack.account_id == account.id)
        .order_by(Account.name)
    )
    kept = [Kept(name, None if n is None else format_amount(n, CLEARING_SCALE)) for name, n in rows]
    return Terms(account.name, account.union_id, account.in_rounds, kept)


def set_terms(
    session: Session,
    group_id: str,
    kept_back: Sequence[Kept],
    *,
    in_rounds: bool,
    union_id: str | None = None,
) -> Terms:
    """Replace all terms of a group; they hold from the next proposed round on.

    A round that is proposed already stays as it is: its deadline is for opting out. Raises
    InvalidError, which names the row, for a counterparty that the union does not have, that is the
    group itself or that is named twice, for an amount that is none, and for too many rows.
    """
    if len(kept_back) > MOST_KEPT_BACK:
        raise InvalidError("kept_back", f"may have at most {MOST_KEPT_BACK} rows")
    account = account_in(session, group_id, union_id)
    wanted = _read(session, account, kept_back)
    lock_accounts(session, [account.id, *wanted])  # whose rows the database holds by its keys
    before = terms_of(session, account)
    account.in_rounds = in_rounds
    session.execute(delete(KeptBack).where(KeptBack.account_id == account.id))
    session.add_all(
        KeptBack(account_id=account.id, counterparty_id=counterparty_id, amount=amount)
        for counterparty_id, amount in wanted.items()
    )
    session.flush()
    terms = terms_of(session, account)
    if terms != before:
        told = {"union": terms.union, "in_rounds": str(in_rounds).lower()}
        told |= {"kept_back": str(len(terms.kept_back))}
        audit_log.record(session, f"hub:{group_id}", "round-terms-changed", group_id, told)
    return terms


def _read(session: Session, account: Account, kept_back: Sequence[Kept]) -> dict[int, int | None]:
    """Return what is kept back in smallest clearing units by the counterparty's account."""
    named = {one.counterparty for one in kept_back}
    rows = session.execute(
        select(Account.name, Account.id).where(
            Account.union_id == account.union_id, Account.name.in_(named)
        )
    )
    ids = dict(rows.all())
    wanted: dict[int, int | None] = {}
    for number, one in enumerate(kept_back):
        field = f"kept_back.{number}"
        found = ids.get(one.counterparty)
        if found is None:
            rule = f"must be the name of an account in union {account.union_id!r}"
            raise InvalidError(f"{field}.counterparty", rule)
        if found == account.id:
            raise InvalidError(f"{field}.counterparty", "nobody owes itself")
        if found in wanted:
            raise InvalidError(f"{field}.counterparty", "is named before; name each once")
        wanted[found] = (
            None
            if one.amount is None
            else parse_amount(one.amount, CLEARING_SCALE, f"{field}.amount")
        )
    return wanted
