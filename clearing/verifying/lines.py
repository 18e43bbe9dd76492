"""One statement checked from itself: hashes, versions, balances, and what the digests stand for."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Final
from uuid import UUID

from clearing import chain, transfers
from clearing.verifying import local
from clearing.verifying.documents import Line, Payment, Point, Statement, minor

_TEXTS: Final = ("payer_member", "payee_member", "description")
_OF_ADJUSTMENTS: Final = frozenset({"settlement", "assignment", "opening"})


def check(statement: Statement) -> Iterator[str]:
    """Tell what of a statement does not verify, each named by account and version."""
    account = statement.account
    if not statement.opening.version and statement.opening != _beginning(statement):
        yield f"account {account}: version 0: is not how the account of this union begins"
    before, previous = statement.opening, None
    seen: set[str] = set()
    places = local.Places()
    for line in statement.lines:
        for problem in _line(statement, before, line):
            yield f"account {account}: version {line.version}: {problem}"
        for problem in _beside(line, previous, seen, places):
            yield f"account {account}: version {line.version}: {problem}"
        before = Point(version=line.version, balance=line.balance, head=line.hash)
        previous = line
    if statement.closing != before:
        yield f"account {account}: version {statement.closing.version}: the closing is not the end"


def _beginning(statement: Statement) -> Point:
    head = chain.first_hash(statement.union, statement.account)
    return Point(version=0, balance="0.0000", head=head)


def _line(statement: Statement, before: Point, line: Line) -> list[str]:
    try:
        return [*_row(statement.account, before, line), *_content(statement, line)]
    except ValueError as error:  # where a number should be, there is none
        return [str(error)]
    except KeyError as error:
        return [f"the content has no {error.args[0]}"]


def _beside(
    line: Line, previous: Line | None, seen: set[str], places: local.Places
) -> Iterator[str]:
    """Check a line against those before it: journals, levies, decimal places."""
    if line.journal in seen:
        yield f"journal {line.journal} stands in the statement before"
    seen.add(line.journal)
    if line.payment is not None:
        yield from places.check(line.payment)
    if previous is not None and isinstance(line.content, dict) and "about" in line.content:
        yield from _levy(line, line.content, previous)


def _levy(line: Line, content: Mapping[str, str], previous: Line) -> Iterator[str]:
    """Check that a levy comes right after what it is the levy on, in the payer's chain."""
    before = previous.content if isinstance(previous.content, dict) else {}
    told = (content.get("about"), content.get("levy"), line.value_date, line.kind == "reversal")
    wanted = (
        before.get("transfer"),
        before.get("levy"),
        previous.value_date,
        previous.kind == "reversal",
    )
    if told != wanted:
        yield "the levy is not that of the payment before it"


def _row(account: str, before: Point, line: Line) -> Iterator[str]:
    if line.version != before.version + 1:
        yield f"comes after version {before.version}"
    amount, balance = minor(line.amount), minor(line.balance)
    if balance != minor(before.balance) + amount:
        yield "the balance is not the one before and the amount"
    row = chain.Row(
        account=account,
        version=str(line.version),
        journal=line.journal,
        kind=line.kind,
        counterparty=line.counterparty,
        amount=str(amount),
        balance=str(balance),
        time=line.time,
        digest=line.digest,
    )
    if chain.next_hash(before.head, row) != line.hash:
        yield "the hash is not that of this row after the one before"


def _content(statement: Statement, line: Line) -> Iterator[str]:
    """Check what stands behind the digest, and all that is told besides against it."""
    if chain.digest(line.content) != line.digest:
        yield "the content is not that of the digest"
        return
    if isinstance(line.content, list):
        yield from _part(line, line.content)
        return
    content: Mapping[str, str] = line.content
    if content.get("union") != statement.union:
        yield "is of another union"
    told = content.get("value_date", line.time[:10])
    if line.value_date != told and "journal" not in content:  # a levy's is its payment's
        yield "the value date is not the one that was chained"
    if ("transfer" in content) != (line.payment is not None):
        yield "a payment is told where there is none, or none where there is one"
    if line.payment is not None:
        yield from _payment(line.payment, content)
    if ("note" in content) != (line.note is not None):
        yield "a note is told where there is none, or none where there is one"
    yield from _texts(line, content)
    if line.kind not in _kinds(content):
        yield "the kind is not that of the content"
    else:
        yield from _amount(statement.account, line, content)


def _kinds(content: Mapping[str, str]) -> frozenset[str]:
    """Return of which kinds of journal such a content tells."""
    if "transfer" in content:
        return frozenset({"reversal" if "reverses" in content else "payment"})
    if "adjustment" in content:
        return frozenset({content["kind"]}) & _OF_ADJUSTMENTS
    if "about" in content:
        return frozenset({"levy", "reversal"})
    return frozenset({"residue"}) if "period" in content else frozenset()


def _part(line: Line, part: list[list[str]]) -> Iterator[str]:
    """Check an account's part of a round: what was set off towards each sums to the amount."""
    total = sum(int(amount) for _, amount in part)
    if total != minor(line.amount) or total:
        yield "the parts of the round do not sum to the amount, which is zero"
    if line.kind != "set-off" or line.counterparty:
        yield "the kind is not that of the content"
    if line.payment is not None or line.note is not None or line.key is not None:
        yield "a round has no payment, note or key"
    if line.value_date != line.time[:10]:
        yield "the value date is not the one that was chained"


def _payment(payment: Payment, content: Mapping[str, str]) -> Iterator[str]:
    told = {
        "payer": payment.payer.partition("/")[0],
        "payee": payment.payee.partition("/")[0],
        "payer_amount": str(local.minor(payment.payer_amount)),
        "payee_amount": str(local.minor(payment.payee_amount)),
        "payer_rate": payment.payer_rate,
        "payee_rate": payment.payee_rate,
        "levy": str(minor(payment.levy)),
        "reverses": payment.reverses or "",
    }
    chained = {"levy": "0", "reverses": "", **content}
    for name, value in told.items():
        if chained.get(name) != value:
            yield f"{name} is not the one that was chained"
    yield from local.check(payment, content)


def _texts(line: Line, content: Mapping[str, str]) -> Iterator[str]:
    """Check names and texts against their keyed digests, where the key is told."""
    if line.key is None:
        return
    try:
        key = base64.b64decode(line.key, validate=True)
    except binascii.Error:
        yield "the key is no base64"
        return
    if base64.b64encode(key).decode() != line.key:
        yield "the key is not written as the service writes it"
    for name, text in texts(line).items():
        if chain.keyed_digest(key, name, text) != content.get(name):
            yield f"{name} is not the one that was chained"


def texts(line: Line) -> dict[str, str]:
    """Return the texts of a line that its content has keyed digests of."""
    if line.payment is not None:
        members = (who.partition("/")[2] for who in (line.payment.payer, line.payment.payee))
        return dict(zip(_TEXTS, (*members, line.payment.description), strict=True))
    return {} if line.note is None else {"note": line.note}


def _amount(account: str, line: Line, content: Mapping[str, str]) -> Iterator[str]:
    """Check that the account got, or gave, what the content says, and from or to whom."""
    if _journal(content, line.journal) != line.journal:
        yield "the content is that of another journal"
    sides = _residue(account, line, content) if "period" in content else _sides(line, content)
    if sides.get(account) != (line.counterparty, minor(line.amount)):
        yield "the amount or the counterparty is not that of the content"


def _journal(content: Mapping[str, str], journal: str) -> str:
    """Return the id of the journal that a content tells of; a residue's tells of its period's."""
    if "transfer" in content:
        return content["transfer"]
    if "adjustment" in content:
        return content["adjustment"]
    if "about" in content:
        levied = str(transfers.levy_journal(UUID(content["about"])))
        return levied if content["journal"] == levied else ""
    return journal


def _sides(line: Line, content: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """Return of each account that a journal touches the counterparty and what it gets."""
    back = -1 if line.kind == "reversal" else 1
    if "transfer" in content:
        payer, payee = content["payer"], content["payee"]
        return {
            payer: (payee, -back * int(content["payer_clearing"])),
            payee: (payer, back * int(content["payee_clearing"])),
        }
    if "about" in content:
        payer, levy = content["payer"], back * int(content["levy"])
        return {payer: ("levy", -levy), "levy": (payer, levy)}
    debtor, creditor = content["debtor"], content["creditor"]
    # Who paid outside has so much more here; who owes from now on so much less; what is owed to
    # the commons instead of to another changes no balance.
    sign = {"settlement": 1, "opening": -1, "assignment": 0}[line.kind]
    amount = sign * int(content["amount"])
    sides = {debtor: (creditor, amount), creditor: (debtor, -amount)}
    return {**sides, "commons": (debtor, 0)} if line.kind == "assignment" else sides


def _residue(account: str, line: Line, content: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """Return the same of a residue that was given back to its group, for this one account.

    How much its group gets, the content does not say; nobody else's balance changes.
    """
    residue = f"residue/{content['group']}"
    return {account: (residue, minor(line.amount) if account == content["group"] else 0)}
