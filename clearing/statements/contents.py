"""What is told of the journals behind an account's lines, and what their digests stand for."""

import base64
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from clearing import periods, transfers
from clearing.accounts import Account
from clearing.adjustments import Adjustment
from clearing.adjustments.rows import content as content_of_adjustment
from clearing.calls.desk import read_transfers
from clearing.ledger import Entry, JournalKind
from clearing.pairs import Pair
from clearing.periods import PeriodEnd
from clearing.transfers import AnyTransfer
from commons.groups import Currency, Group
from commons.money import CLEARING_SCALE, format_amount


class ChainedRow(Protocol):
    """What of a chain row says what it is about, with its journal's `about`."""

    version: int
    kind: JournalKind
    journal_id: UUID
    counterparty: str
    about: UUID | None


Content = Mapping[str, str] | Sequence[Sequence[str]]
"""What a line's digest is the digest of: strings by name, or a round's part as pairs."""

_OF_TRANSFERS: Final = {JournalKind.PAYMENT, JournalKind.REVERSAL, JournalKind.LEVY}
_OF_ADJUSTMENTS: Final = {JournalKind.SETTLEMENT, JournalKind.ASSIGNMENT, JournalKind.OPENING}


@dataclass(frozen=True)
class Payment:
    """A transfer as its two hubs see it: `group/member`, amounts in their own currencies.

    Members and description are empty where they were erased or are not to be seen; `reverses` is
    the transfer that it takes back.
    """

    payer: str
    payee: str
    description: str
    payer_amount: str
    payer_currency: str
    payee_amount: str
    payee_currency: str
    payer_rate: str
    payee_rate: str
    levy: str
    reverses: str | None


@dataclass(frozen=True)
class Told:
    """What is told of one line: the content of its digest, and the texts that the content hides.

    `key`, in base64, is that of the keyed digests in the content; without it nobody can check the
    texts, and with it whoever holds the statement can. It is None once it was deleted.
    """

    content: Content
    payment: Payment | None = None
    note: str | None = None
    key: str | None = None


def tell(
    session: Session,
    account: Account,
    rows: Sequence[ChainedRow],
    *,
    with_names: bool,
) -> dict[int, Told]:
    """Return what is told of an account's chain rows, by version."""
    of_kinds: dict[str, list[ChainedRow]] = defaultdict(list)
    for row in rows:
        of_kinds[_group(row.kind)].append(row)
    return {
        **_transfers(session, of_kinds["transfer"], with_names=with_names),
        **_adjustments(session, of_kinds["adjustment"], with_names=with_names),
        **_parts(session, account, of_kinds["round"]),
        **_periods(session, of_kinds["period"]),
    }


def _group(kind: JournalKind) -> str:
    if kind in _OF_TRANSFERS:
        return "transfer"
    if kind in _OF_ADJUSTMENTS:
        return "adjustment"
    return "round" if kind is JournalKind.SET_OFF else "period"


def _transfers(
    session: Session, rows: Sequence[ChainedRow], *, with_names: bool
) -> dict[int, Told]:
    """Tell of payments and reversals, which have the transfer's id, and of levies about them."""
    if not rows:
        return {}
    levies = {row.version for row in rows if _is_levy(row.journal_id, row.about)}
    wanted = {
        row.version: row.about if row.about and row.version in levies else row.journal_id
        for row in rows
    }
    found = read_transfers(session, set(wanted.values()))
    currencies = _currencies(session, found.values())
    return {
        version: Told(transfers.levy_content(found[transfer_id]))
        if version in levies
        else _of_transfer(found[transfer_id], currencies, with_names=with_names)
        for version, transfer_id in wanted.items()
    }


def _is_levy(journal_id: UUID, about: UUID | None) -> bool:
    """Tell whether a journal is a transfer's levy, or what of it was given back."""
    return about is not None and journal_id == transfers.levy_journal(about)


def _currencies(session: Session, found: Iterable[AnyTransfer]) -> dict[str, Currency]:
    groups = {group for one in found for group in (one.payer_group, one.payee_group)}
    rows = session.execute(
        select(Group.id, Currency)
        .join(Currency, Currency.id == Group.currency_id)
        .where(Group.id.in_(groups))
    )
    return dict(rows.all())


def _of_transfer(
    transfer: AnyTransfer, currencies: Mapping[str, Currency], *, with_names: bool
) -> Told:
    t, payer, payee = transfer, currencies[transfer.payer_group], currencies[transfer.payee_group]
    texts = (t.payer_member, t.payee_member, t.description) if with_names else (None, None, None)
    payer_member, payee_member, description = (text or "" for text in texts)
    payment = Payment(
        payer=f"{t.payer_group}/{payer_member}",
        payee=f"{t.payee_group}/{payee_member}",
        description=description,
        payer_amount=format_amount(t.payer_amount, payer.scale),
        payer_currency=payer.code,
        payee_amount=format_amount(t.payee_amount, payee.scale),
        payee_currency=payee.code,
        payer_rate=t.payer_rate,
        payee_rate=t.payee_rate,
        levy=format_amount(t.levy, CLEARING_SCALE),
        reverses=str(t.reverses) if t.reverses else None,
    )
    key = _key_text(t.key) if with_names else None
    return Told(transfers.content(t), payment=payment, key=key)


def _key_text(key: bytes | None) -> str | None:
    return None if key is None else base64.b64encode(key).decode()


def _adjustments(
    session: Session, rows: Sequence[ChainedRow], *, with_names: bool
) -> dict[int, Told]:
    versions = {row.journal_id: row.version for row in rows}
    if not versions:
        return {}
    debtor, creditor = aliased(Account), aliased(Account)
    found = session.execute(
        select(Adjustment, debtor, creditor)
        .join(debtor, debtor.id == Adjustment.debtor_id)
        .join(creditor, creditor.id == Adjustment.creditor_id)
        .where(Adjustment.id.in_(versions))
    )
    return {
        versions[one.id]: Told(
            content_of_adjustment(one, Pair(owing, owed)),
            note=(one.note or "") if with_names else None,
            key=_key_text(one.key) if with_names else None,
        )
        for one, owing, owed in found
    }


def _parts(session: Session, account: Account, rows: Sequence[ChainedRow]) -> dict[int, Told]:
    """Tell of an account's parts of rounds: what was set off towards whom, by name."""
    versions = {row.journal_id: row.version for row in rows}
    if not versions:
        return {}
    entries = session.execute(
        select(Entry.journal_id, Account.name, Entry.amount)
        .join(Account, Account.id == Entry.counterparty_id)
        .where(Entry.account_id == account.id, Entry.journal_id.in_(versions))
    )
    parts: dict[int, list[list[str]]] = defaultdict(list)
    for journal_id, name, amount in entries:
        parts[versions[journal_id]].append([name, str(amount)])
    return {version: Told(sorted(part)) for version, part in parts.items()}


def _periods(session: Session, rows: Sequence[ChainedRow]) -> dict[int, Told]:
    """Tell of residues that were given back when a period was closed, to whichever group.

    All but the residue's own row are towards `residue/<group>`.
    """
    ids = {row.about for row in rows}
    if not ids:
        return {}
    ends = {end.id: end for end in session.scalars(select(PeriodEnd).where(PeriodEnd.id.in_(ids)))}
    return {
        row.version: Told(
            periods.content(ends[row.about], row.counterparty.removeprefix("residue/"))
        )
        for row in rows
        if row.about is not None
    }
