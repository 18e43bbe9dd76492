"""A statement as ISO 20022 BankToCustomerStatement, camt.053.001.08.

The clearing unit is no currency of ISO 4217; its code here is XXX, "no currency involved". What
the message has no place for (versions, local currencies, rates, hashes) stands in its texts.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import uuid4
from xml.etree import ElementTree as ET

from clearing import chain
from clearing.ledger import JournalKind
from clearing.statements.contents import Payment
from clearing.statements.reading import Line, Point, Statement
from commons.money import CLEARING_SCALE, format_amount

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
MEDIA_TYPE: Final = "application/xml"
CURRENCY: Final = "XXX"
ISSUER: Final = "LocalPay"

_ACCOUNT_ID: Final = 34
_NAME: Final = 140
_UNSTRUCTURED: Final = 140
_FURTHER: Final = 500
_REFERENCE_OF_HEAD: Final = 12
# What XML 1.0 has no place for, as character or as reference.
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A UETR is a version 4 UUID; a hub may have chosen another one for its transfer.
_UETR: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class _Codes:
    """Family and sub-family, in the domain PMNT, of a credit and of a debit."""

    credit: tuple[str, str]
    debit: tuple[str, str]


_CODES: Final = {
    JournalKind.PAYMENT: _Codes(("RCDT", "BOOK"), ("ICDT", "BOOK")),
    # Money back to the payer reverses what it issued, money taken from the payee what it received.
    JournalKind.REVERSAL: _Codes(("ICDT", "RRTN"), ("RCDT", "RRTN")),
    JournalKind.LEVY: _Codes(("MCOP", "FEES"), ("MDOP", "FEES")),
}
_OTHER: Final = _Codes(("MCOP", "OTHR"), ("MDOP", "OTHR"))


def message(statement: Statement, made_at: datetime) -> bytes:
    """Return the message in UTF-8; a page of a long statement is a message of its own."""
    ET.register_namespace("", NAMESPACE)
    document = ET.Element(f"{{{NAMESPACE}}}Document")
    body = _add(document, "BkToCstmrStmt")
    header = _add(body, "GrpHdr")
    _add(header, "MsgId", uuid4().hex)
    _add(header, "CreDtTm", chain.time_text(made_at))
    told = _add(body, "Stmt")
    _heading(told, statement, made_at)
    last = statement.next_cursor is None
    _balance(
        told,
        "OPBD" if statement.page == 1 else "ITBD",
        statement.opening,
        statement.period.start if statement.page == 1 else _begins(statement),
    )
    _balance(
        told,
        "CLBD" if last else "ITBD",
        statement.closing,
        statement.period.end if last else statement.lines[-1].time,
    )
    _summary(told, statement)
    for line in statement.lines:
        _entry(told, line)
    _add(told, "AddtlStmtInf", f"closing head {statement.closing.head}")
    written: bytes = ET.tostring(document, encoding="utf-8", xml_declaration=True)
    return written


def _begins(statement: Statement) -> datetime:
    return statement.lines[0].time if statement.lines else statement.period.start


def _heading(told: ET.Element, statement: Statement, made_at: datetime) -> None:
    opening, closing = statement.opening, statement.closing
    head = closing.head[:_REFERENCE_OF_HEAD]
    _add(told, "Id", f"{opening.version}-{closing.version}-{head}")
    pages = _add(told, "StmtPgntn")
    _add(pages, "PgNb", str(statement.page))
    _add(pages, "LastPgInd", _truth(statement.next_cursor is None))
    _add(told, "ElctrncSeqNb", str(closing.version))
    _add(told, "CreDtTm", chain.time_text(made_at))
    period = _add(told, "FrToDt")
    _add(period, "FrDtTm", chain.time_text(statement.period.start))
    _add(period, "ToDtTm", chain.time_text(statement.period.end))
    account = _add(told, "Acct")
    _account_id(account, statement.account)
    _add(account, "Ccy", CURRENCY)
    _add(account, "Nm", f"{statement.account} in {statement.union}"[:70])


def _account_id(account: ET.Element, name: str) -> None:
    """Identify an account by its name, which the standard lets have 34 characters."""
    short = name if len(name) <= _ACCOUNT_ID else hashlib.sha256(name.encode()).hexdigest()[:32]
    other = _add(_add(account, "Id"), "Othr")
    _add(other, "Id", short)


def _balance(told: ET.Element, code: str, point: Point, moment: datetime) -> None:
    balance = _add(told, "Bal")
    _add(_add(_add(balance, "Tp"), "CdOrPrtry"), "Cd", code)
    _amount(balance, point.balance)
    _add(_add(balance, "Dt"), "DtTm", chain.time_text(moment))


def _amount(parent: ET.Element, minor: int) -> None:
    """Add an unsigned amount with its direction; zero is a credit."""
    _add(parent, "Amt", format_amount(abs(minor), CLEARING_SCALE), Ccy=CURRENCY)
    _add(parent, "CdtDbtInd", _direction(minor))


def _direction(minor: int) -> str:
    return "DBIT" if minor < 0 else "CRDT"


def _summary(told: ET.Element, statement: Statement) -> None:
    paid_in = [line.amount for line in statement.lines if line.amount >= 0]
    paid_out = [-line.amount for line in statement.lines if line.amount < 0]
    net_minor = sum(paid_in) - sum(paid_out)
    summary = _add(told, "TxsSummry")
    entries = _counted(summary, "TtlNtries", paid_in + paid_out)
    net = _add(entries, "TtlNetNtry")
    _add(net, "Amt", format_amount(abs(net_minor), CLEARING_SCALE))
    _add(net, "CdtDbtInd", _direction(net_minor))
    _counted(summary, "TtlCdtNtries", paid_in)
    _counted(summary, "TtlDbtNtries", paid_out)


def _counted(summary: ET.Element, name: str, amounts: list[int]) -> ET.Element:
    counted = _add(summary, name)
    _add(counted, "NbOfNtries", str(len(amounts)))
    _add(counted, "Sum", format_amount(sum(amounts), CLEARING_SCALE))
    return counted


def _entry(told: ET.Element, line: Line) -> None:
    entry = _add(told, "Ntry")
    _add(entry, "NtryRef", str(line.point.version))
    _amount(entry, line.amount)
    _add(entry, "RvslInd", _truth(line.kind == JournalKind.REVERSAL))
    _add(_add(entry, "Sts"), "Cd", "BOOK")
    _add(_add(entry, "BookgDt"), "DtTm", chain.time_text(line.time))
    _add(_add(entry, "ValDt"), "Dt", line.value_date.isoformat())
    reference = line.journal.replace("-", "")  # with hyphens a UUID is longer than Max35Text
    _add(entry, "AcctSvcrRef", reference)
    _code(entry, line)
    details = _add(_add(entry, "NtryDtls"), "TxDtls")
    references = _add(details, "Refs")
    _add(references, "AcctSvcrRef", reference)
    if line.told.payment is not None:
        _add(references, "EndToEndId", reference)
        if _UETR.fullmatch(line.journal):
            _add(references, "UETR", line.journal)
    _add(references, "TxId", reference)
    _amount(details, line.amount)
    if line.told.payment is not None:
        _parties(details, line.told.payment)
    _texts(details, line)
    _add(entry, "AddtlNtryInf", f"version {line.point.version}, hash {line.point.head}")


def _code(entry: ET.Element, line: Line) -> None:
    codes = _CODES.get(JournalKind(line.kind), _OTHER)
    family, sub_family = codes.debit if line.amount < 0 else codes.credit
    code = _add(entry, "BkTxCd")
    domain = _add(code, "Domn")
    _add(domain, "Cd", "PMNT")
    fine = _add(domain, "Fmly")
    _add(fine, "Cd", family)
    _add(fine, "SubFmlyCd", sub_family)
    own = _add(code, "Prtry")
    _add(own, "Cd", line.kind)
    _add(own, "Issr", ISSUER)


def _parties(details: ET.Element, payment: Payment) -> None:
    """Name the groups as debtor and creditor, their members as the ultimate ones."""
    parties = _add(details, "RltdPties")
    for prefix, who in (("Dbtr", payment.payer), ("Cdtr", payment.payee)):
        group, _, member = who.partition("/")
        _add(_add(_add(parties, prefix), "Pty"), "Nm", group)
        _account_id(_add(parties, f"{prefix}Acct"), group)
        if member:
            _add(_add(_add(parties, f"Ultmt{prefix}"), "Pty"), "Nm", member[:_NAME])


def _texts(details: ET.Element, line: Line) -> None:
    payment = line.told.payment
    text = _legal((payment.description if payment else line.told.note) or "")
    if text:
        remittance = _add(details, "RmtInf")
        for start in range(0, len(text), _UNSTRUCTURED):
            _add(remittance, "Ustrd", text[start : start + _UNSTRUCTURED])
    if payment is None:
        _add(details, "AddtlTxInf", f"{line.kind} {line.counterparty}".strip()[:_FURTHER])
        return
    told = (
        f"payer {payment.payer_amount} {payment.payer_currency} at {payment.payer_rate}, "
        f"payee {payment.payee_amount} {payment.payee_currency} at {payment.payee_rate}"
    )
    told += f", levy {payment.levy}" if payment.levy.strip("0.") else ""
    told += f", reverses {payment.reverses}" if payment.reverses else ""
    _add(details, "AddtlTxInf", told[:_FURTHER])


def _truth(value: bool) -> str:  # noqa: FBT001 (a truth value is what it writes)
    return "true" if value else "false"


def _legal(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def _add(parent: ET.Element, name: str, text: str | None = None, **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, f"{{{NAMESPACE}}}{name}", attributes)
    if text is not None:
        child.text = _legal(text)
    return child
