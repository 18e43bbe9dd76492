"""A round's set-offs are posted: one journal, its entries set by set, one chain row an account."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from sqlalchemy.orm import Session

from clearing import certificates, chain, columns
from clearing.columns import Numbers
from clearing.held import HeldAccount
from clearing.ledger import Book, Draft, JournalKind, Line, post_columns, posted_after
from clearing.rounds.model import Round, RoundPrice
from clearing.rounds.table import Prices, Rows
from clearing.sealing import Seal
from commons import database
from commons.database import Base

_PRICES: Final = Base.metadata.tables[RoundPrice.__tablename__]


def part_digests(
    names: Mapping[int, str], entries: Iterable[tuple[int, int, int]]
) -> dict[int, str]:
    """Return, by account, the digest of its part of a round: its entries as [name, amount]."""
    rows: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for account_id, counterparty_id, amount in entries:
        rows[account_id].append((names[counterparty_id], str(amount)))
    return {account_id: chain.digest(sorted(part)) for account_id, part in rows.items()}


def post_set_offs(
    session: Session, done: Round, rows: Rows, accounts: Mapping[int, HeldAccount]
) -> None:
    """Post what a round sets off, at the moment that it ends or after what was posted last.

    `accounts` are the union's, as they are now under their locks. Raises ValueError where a balance
    would move, which only a defect can cause.
    """
    account, other, amount = moved = rows.moved()
    names = {one.id: one.name for one in accounts.values()}
    told = zip(account.tolist(), other.tolist(), amount.tolist(), strict=True)
    digests = part_digests(names, told)
    _check_level(account, amount)
    moment = done.ended_at or database.now(session)
    later = posted_after(session, digests, moment)
    lines = [Line(account_id, "", digest) for account_id, digest in digests.items()]
    draft = Draft(done.id, JournalKind.SET_OFF, (), lines)
    book = Book(session, {account_id: accounts[account_id] for account_id in digests})
    post_columns(book, draft, moved, max([moment, *later.values()]))


def _check_level(account: Numbers, amount: Numbers) -> None:
    """Raise ValueError where the amounts of an account, which come in order, do not sum to 0."""
    if len(account):
        first = np.flatnonzero(np.append(True, account[1:] != account[:-1]))
        if np.add.reduceat(amount, first).any():
            raise ValueError("a round would move a balance")


def prove(session: Session, done: Round, rows: Rows, prices: Prices, seal: Seal | None) -> None:
    """Keep the prices of the accounts that have rows and, where there is a seal, a certificate.

    A round that was proposed before there were certificates has no key for one, nor the caps that
    its rows were solved under: it is ended as it was proposed, without.
    """
    if done.key is None:
        return
    some = np.isin(prices.ids, np.concatenate([rows.debtor_id, rows.creditor_id]))
    kept = {"account_id": prices.ids[some], "price": prices.price[some]}
    columns.insert(session, _PRICES, kept, {"round_id": done.id})
    if seal is not None:
        done.certificate = certificates.certify(session, done, seal, rows)
        done.certificate_hash = done.certificate["hash"]
        session.flush()
