"""The camt.053 message has the elements, the order, the codes and the lengths of the standard.

The tables below are written after the message definition of camt.053.001.08. Each element comes
with how often it may stand (least, most), in the order of the definition; elements that the
message may have and ours never has are listed too, so that the order is the standard's.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from shutil import copyfile
from xml.etree import ElementTree as ET

import pytest
from conftest import disposed
from sqlalchemy import Engine
from statement_world import BEGINNING, now, pages, read, write_history

from clearing.statements import Statement, camt
from commons.database import make_engine

MANY = 10**6
ONE, MAYBE, ANY = (1, 1), (0, 1), (0, MANY)

Sequence = dict[str, tuple[int, int]]

ENTRY_AMOUNTS: Sequence = {"Amt": ONE, "CdtDbtInd": ONE}
PARTY: Sequence = {"Pty": MAYBE, "Agt": MAYBE}
ACCOUNT: Sequence = {"Id": ONE, "Tp": MAYBE, "Ccy": MAYBE, "Nm": MAYBE, "Prxy": MAYBE}
ORDER: dict[str, Sequence] = {
    "Document": {"BkToCstmrStmt": ONE},
    "Document/BkToCstmrStmt": {"GrpHdr": ONE, "Stmt": (1, MANY), "SplmtryData": ANY},
    "BkToCstmrStmt/GrpHdr": {
        "MsgId": ONE,
        "CreDtTm": ONE,
        "MsgRcpt": MAYBE,
        "MsgPgntn": MAYBE,
        "OrgnlBizQry": MAYBE,
        "AddtlInf": MAYBE,
    },
    "BkToCstmrStmt/Stmt": {
        "Id": ONE,
        "StmtPgntn": MAYBE,
        "ElctrncSeqNb": MAYBE,
        "RptgSeq": MAYBE,
        "LglSeqNb": MAYBE,
        "CreDtTm": MAYBE,
        "FrToDt": MAYBE,
        "CpyDplctInd": MAYBE,
        "RptgSrc": MAYBE,
        "Acct": ONE,
        "RltdAcct": MAYBE,
        "Intrst": ANY,
        "Bal": (1, MANY),
        "TxsSummry": MAYBE,
        "Ntry": ANY,
        "AddtlStmtInf": MAYBE,
    },
    "Stmt/StmtPgntn": {"PgNb": ONE, "LastPgInd": ONE},
    "Stmt/FrToDt": {"FrDtTm": ONE, "ToDtTm": ONE},
    "Stmt/Acct": {**ACCOUNT, "Ownr": MAYBE, "Svcr": MAYBE},
    "Acct/Id": {"IBAN": MAYBE, "Othr": MAYBE},
    "Id/Othr": {"Id": ONE, "SchmeNm": MAYBE, "Issr": MAYBE},
    "Stmt/Bal": {
        "Tp": ONE,
        "CdtLine": ANY,
        **ENTRY_AMOUNTS,
        "Dt": ONE,
        "Avlbty": ANY,
    },
    "Bal/Tp": {"CdOrPrtry": ONE, "SubTp": MAYBE},
    "Tp/CdOrPrtry": {"Cd": MAYBE, "Prtry": MAYBE},
    "Bal/Dt": {"Dt": MAYBE, "DtTm": MAYBE},
    "Stmt/TxsSummry": {
        "TtlNtries": MAYBE,
        "TtlCdtNtries": MAYBE,
        "TtlDbtNtries": MAYBE,
        "TtlNtriesPerBkTxCd": ANY,
    },
    "TxsSummry/TtlNtries": {"NbOfNtries": MAYBE, "Sum": MAYBE, "TtlNetNtry": MAYBE},
    "TtlNtries/TtlNetNtry": {"Amt": ONE, "CdtDbtInd": ONE},
    "TxsSummry/TtlCdtNtries": {"NbOfNtries": MAYBE, "Sum": MAYBE},
    "TxsSummry/TtlDbtNtries": {"NbOfNtries": MAYBE, "Sum": MAYBE},
    "Stmt/Ntry": {
        "NtryRef": MAYBE,
        **ENTRY_AMOUNTS,
        "RvslInd": MAYBE,
        "Sts": ONE,
        "BookgDt": MAYBE,
        "ValDt": MAYBE,
        "AcctSvcrRef": MAYBE,
        "Avlbty": ANY,
        "BkTxCd": ONE,
        "ComssnWvrInd": MAYBE,
        "AddtlInfInd": MAYBE,
        "AmtDtls": MAYBE,
        "Chrgs": MAYBE,
        "TechInptChanl": MAYBE,
        "Intrst": MAYBE,
        "CardTx": MAYBE,
        "NtryDtls": ANY,
        "AddtlNtryInf": MAYBE,
    },
    "Ntry/Sts": {"Cd": MAYBE, "Prtry": MAYBE},
    "Ntry/BookgDt": {"Dt": MAYBE, "DtTm": MAYBE},
    "Ntry/ValDt": {"Dt": MAYBE, "DtTm": MAYBE},
    "Ntry/BkTxCd": {"Domn": MAYBE, "Prtry": MAYBE},
    "BkTxCd/Domn": {"Cd": ONE, "Fmly": ONE},
    "Domn/Fmly": {"Cd": ONE, "SubFmlyCd": ONE},
    "BkTxCd/Prtry": {"Cd": ONE, "Issr": MAYBE},
    "Ntry/NtryDtls": {"Btch": MAYBE, "TxDtls": ANY},
    "NtryDtls/TxDtls": {
        "Refs": MAYBE,
        "Amt": MAYBE,
        "CdtDbtInd": MAYBE,
        "AmtDtls": MAYBE,
        "Avlbty": ANY,
        "BkTxCd": MAYBE,
        "Chrgs": MAYBE,
        "Intrst": MAYBE,
        "RltdPties": MAYBE,
        "RltdAgts": MAYBE,
        "LclInstrm": MAYBE,
        "Purp": MAYBE,
        "RltdRmtInf": (0, 10),
        "RmtInf": MAYBE,
        "RltdDts": MAYBE,
        "RltdPric": MAYBE,
        "RltdQties": ANY,
        "FinInstrmId": MAYBE,
        "Tax": MAYBE,
        "RtrInf": MAYBE,
        "CorpActn": MAYBE,
        "SfkpgAcct": MAYBE,
        "CshDpst": ANY,
        "CardTx": MAYBE,
        "AddtlTxInf": MAYBE,
        "SplmtryData": ANY,
    },
    "TxDtls/Refs": {
        "MsgId": MAYBE,
        "AcctSvcrRef": MAYBE,
        "PmtInfId": MAYBE,
        "InstrId": MAYBE,
        "EndToEndId": MAYBE,
        "UETR": MAYBE,
        "TxId": MAYBE,
        "MndtId": MAYBE,
        "ChqNb": MAYBE,
        "ClrSysRef": MAYBE,
        "AcctOwnrTxId": MAYBE,
        "AcctSvcrTxId": MAYBE,
        "MktInfrstrctrTxId": MAYBE,
        "PrcgId": MAYBE,
        "Prtry": ANY,
    },
    "TxDtls/RltdPties": {
        "InitgPty": MAYBE,
        "Dbtr": MAYBE,
        "DbtrAcct": MAYBE,
        "UltmtDbtr": MAYBE,
        "Cdtr": MAYBE,
        "CdtrAcct": MAYBE,
        "UltmtCdtr": MAYBE,
        "TradgPty": MAYBE,
        "Prtry": ANY,
    },
    **{f"RltdPties/{name}": PARTY for name in ("Dbtr", "UltmtDbtr", "Cdtr", "UltmtCdtr")},
    **{
        f"{name}/Pty": {"Nm": MAYBE, "PstlAdr": MAYBE, "Id": MAYBE, "CtryOfRes": MAYBE}
        for name in ("Dbtr", "UltmtDbtr", "Cdtr", "UltmtCdtr")
    },
    **{f"RltdPties/{name}": ACCOUNT for name in ("DbtrAcct", "CdtrAcct")},
    **{f"{name}/Id": {"IBAN": MAYBE, "Othr": MAYBE} for name in ("DbtrAcct", "CdtrAcct")},
    "TxDtls/RmtInf": {"Ustrd": ANY, "Strd": ANY},
}
CHOICES = {"Acct/Id", "DbtrAcct/Id", "CdtrAcct/Id", "Tp/CdOrPrtry", "Bal/Dt", "Ntry/Sts"}
CHOICES |= {"Ntry/BookgDt", "Ntry/ValDt", *(f"RltdPties/{n}" for n in ("Dbtr", "Cdtr"))}

_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
_AMOUNT = r"\d{1,13}\.\d{4}"  # at most 18 digits, of which 5 after the point
_MAX35 = r"(?s).{1,35}"
FORMS = {
    "MsgId": _MAX35,
    "Id": r"(?s).{1,34}",  # Max35Text of a statement, Max34Text of an account
    "CreDtTm": _MOMENT,
    "FrDtTm": _MOMENT,
    "ToDtTm": _MOMENT,
    "DtTm": _MOMENT,
    "Dt": r"\d{4}-\d\d-\d\d",
    "PgNb": r"[0-9]{1,5}",
    "LastPgInd": "true|false",
    "RvslInd": "true|false",
    "ElctrncSeqNb": r"[0-9]{1,18}",
    "Ccy": "XXX",
    "Nm": r"(?s).{1,140}",
    "Amt": _AMOUNT,
    "Sum": _AMOUNT,
    "NbOfNtries": r"[0-9]{1,15}",
    "CdtDbtInd": "CRDT|DBIT",
    "NtryRef": _MAX35,
    "AcctSvcrRef": _MAX35,
    "EndToEndId": _MAX35,
    "TxId": _MAX35,
    "UETR": r"[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[89ab][a-f0-9]{3}-[a-f0-9]{12}",
    "SubFmlyCd": "BOOK|RRTN|FEES|OTHR",
    "Issr": _MAX35,
    "Ustrd": r"(?s).{1,140}",
    "AddtlTxInf": r"(?s).{1,500}",
    "AddtlNtryInf": r"(?s).{1,500}",
    "AddtlStmtInf": r"(?s).{1,500}",
}
CODES = {
    "CdOrPrtry/Cd": {"OPBD", "CLBD", "ITBD"},
    "Sts/Cd": {"BOOK"},
    "Domn/Cd": {"PMNT"},
    "Fmly/Cd": {"RCDT", "ICDT", "MCOP", "MDOP"},
    "Prtry/Cd": {
        "payment",
        "reversal",
        "levy",
        "set-off",
        "settlement",
        "assignment",
        "opening",
        "residue",
    },
}


@pytest.fixture(scope="module")
def written(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("camt") / "localpay.sqlite"
    copyfile(sqlite_template, path)
    with disposed(make_engine(f"sqlite:///{path}")) as engine:
        write_history(engine)
        yield engine


def written_out(statement: Statement) -> ET.Element:
    return ET.fromstring(camt.message(statement, datetime.now(UTC)))  # noqa: S314 (our own)


def name_of(element: ET.Element) -> str:
    space, _, name = element.tag.rpartition("}")
    assert space == "{urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
    return name


def check(element: ET.Element, parent: str = "") -> Iterator[str]:
    """Tell where an element is not what the standard has in its place."""
    name = name_of(element)
    place = f"{parent}/{name}" if parent else name
    children = [name_of(child) for child in element]
    if not children:
        yield from check_leaf(element, parent, name)
        return
    allowed = ORDER.get(place)
    if allowed is None:
        yield f"{place} is not in the standard"
        return
    for child, (least, most) in allowed.items():
        if not least <= children.count(child) <= most:
            yield f"{place}/{child} stands {children.count(child)} times"
    known = list(allowed)
    if not set(children) <= set(known) or children != sorted(children, key=known.index):
        yield f"{place} has {children}"
    if place in CHOICES and len(children) != 1:
        yield f"{place} is a choice of one"
    for child_element in element:
        yield from check(child_element, name)


def check_leaf(element: ET.Element, parent: str, name: str) -> Iterator[str]:
    text = element.text or ""
    known = CODES.get(f"{parent}/{name}")
    if known is not None:
        if text not in known:
            yield f"{parent}/{name} has the code {text!r}"
    elif name not in FORMS or not re.fullmatch(FORMS[name], text):
        yield f"{parent}/{name} is {text!r}"
    wanted = {"Ccy": "XXX"} if name == "Amt" and parent != "TtlNetNtry" else {}
    if element.attrib != wanted:
        yield f"{parent}/{name} has the attributes {element.attrib}"


def all_of(element: ET.Element, way: str) -> list[ET.Element]:
    return element.findall("/".join(f"{{*}}{step}" for step in way.split("/")))


def signed(element: ET.Element) -> Decimal:
    amount, direction = all_of(element, "Amt")[0].text, all_of(element, "CdtDbtInd")[0].text
    return Decimal(amount or "") * (-1 if direction == "DBIT" else 1)


@pytest.mark.parametrize("group_id", ["barcelona", "ghent", "leeds"])
def test_the_message_is_as_the_standard_has_it(written: Engine, group_id: str) -> None:
    message = written_out(read(written, group_id))
    assert list(check(message)) == []


def test_a_message_in_another_order_or_with_other_words_is_told() -> None:
    """The check itself can fail, for each of what it checks."""
    space = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"
    header = ET.fromstring(  # noqa: S314 (our own)
        f'<GrpHdr xmlns="{space}"><CreDtTm>today</CreDtTm><MsgId>{"x" * 36}</MsgId></GrpHdr>'
    )
    assert len(list(check(header, "BkToCstmrStmt"))) == 3
    amount = ET.fromstring(f'<Amt xmlns="{space}">-1.0000</Amt>')  # noqa: S314 (our own)
    assert len(list(check(amount, "Ntry"))) == 2


def test_opening_and_entries_make_the_closing_balance(written: Engine) -> None:
    for page in pages(written, "leeds", BEGINNING, now(written), 2):
        message = written_out(page)
        assert list(check(message)) == []
        told = all_of(message, "BkToCstmrStmt/Stmt")[0]
        codes = [code.text for code in all_of(told, "Bal/Tp/CdOrPrtry/Cd")]
        first, last = page.page == 1, page.next_cursor is None
        assert codes == ["OPBD" if first else "ITBD", "CLBD" if last else "ITBD"]
        opening, closing = (signed(one) for one in all_of(told, "Bal"))
        entries = [signed(one) for one in all_of(told, "Ntry")]
        assert opening + sum(entries) == closing
        net = all_of(told, "TxsSummry/TtlNtries/TtlNetNtry")[0]
        assert signed(net) == sum(entries)
        counted = [one.text for one in all_of(told, "TxsSummry/TtlNtries/NbOfNtries")]
        assert counted == [str(len(page.lines))]


def test_texts_of_members_are_text_and_nothing_else(written: Engine) -> None:
    statement = read(written, "ghent")
    line = next(one for one in statement.lines if one.told.payment is not None)
    assert line.told.payment is not None
    payment = replace(
        line.told.payment,
        payer=f"ghent/{'m' * 100}",
        description="<Ntry>&amp;" + "\x00\x1b\ud800\ufffe" + "é" * 480,
    )
    hostile = replace(line, told=replace(line.told, payment=payment))
    message = written_out(replace(statement, lines=[hostile]))
    assert list(check(message)) == []
    texts = [one.text or "" for one in message.iter() if name_of(one) == "Ustrd"]
    assert [len(text) for text in texts] == [140, 140, 140, 75]
    assert "".join(texts) == "<Ntry>&amp;" + "\ufffd" * 4 + "é" * 480


def test_an_account_with_a_long_name_keeps_to_the_length(written: Engine) -> None:
    message = written_out(replace(read(written, "ghent"), account="g" * 40))
    assert list(check(message)) == []
