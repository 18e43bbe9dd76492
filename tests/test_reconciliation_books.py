"""A hub's book as a file: read however it is written, and each error told by row and column."""

import pytest

from clearing.reconciliation import read_book
from clearing.transfers import TransferState
from commons.errors import InvalidError, MalformedError

ID = "6f1c0e7e-3a51-4c3e-9d0a-2f8f6f1b7c11"
GOOD = f"id,payer,payee,amount,state\n{ID},barcelona/ines,leeds,12.50,posted\n"


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace(",", ";").encode(),
        GOOD.replace("12.50", ' "12.50" ').replace(' "', '"').replace('" ', '"').encode(),
        (GOOD + "\n\n").encode(),
        GOOD.replace(ID, ID.upper()).encode(),
    ],
)
def test_a_csv_book_is_read_however_a_spreadsheet_writes_it(content: bytes) -> None:
    (row,) = read_book(content, is_json=False)
    assert (row.number, str(row.id), row.payee) == (1, ID, "leeds")
    assert (row.amounts, row.state) == ({"amount": "12.50"}, TransferState.POSTED)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "header"),
        (b"\n", "header"),
        (b"id,state\n", "header"),
        (b"amount\n1\n", "header"),
        (b"id,amount,colour\n", "header"),
        (b"id,amount,id\n", "header"),
        (f"id,amount\n{ID}\n".encode(), "line 2"),
        (f"id,amount\n{ID},1,2\n".encode(), "line 2"),
        (f"id,amount\n{ID},1\n{ID},1\n".encode(), "transfers.2.id"),
        (b"id,amount\n7,1\n", "transfers.1.id"),
        (f"id,amount\n{{{ID}}},1\n".encode(), "transfers.1.id"),
        (f"id,amount\n{ID},\n".encode(), "transfers.1.amount"),
        *(
            (f'id,amount\n{ID},"{amount}"\n'.encode(), "transfers.1.amount")
            for amount in ("0", "-1", "1e2", "1_0", "01", "NaN", "1,5", "9" * 17, ".5", "\u0665")
        ),
        (f"id,amount,state\n{ID},1,done\n".encode(), "transfers.1.state"),
        (f"id,amount,unit\n{ID},1,hours\n".encode(), "transfers.1.unit"),
        (f"id,amount,rate\n{ID},1,0.5\n".encode(), "transfers.1.rate"),
        (f"id,amount,payer\n{ID},1,a b\n".encode(), "transfers.1.payer"),
        (f"id,amount,direction\n{ID},1,up\n".encode(), "transfers.1.direction"),
        (f"id,amount,date\n{ID},1,20.11.2026\n".encode(), "transfers.1.date"),
        (f"id,amount,date\n{ID},1,2026-11-20T10:00:00\n".encode(), "transfers.1.date"),
        (f"id,amount,date\n{ID},1,9999-12-31\n".encode(), "transfers.1.date"),
        (f"id,amount,currency\n{ID},1,{'E' * 201}\n".encode(), "transfers.1.currency"),
    ],
)
def test_a_bad_row_is_named_with_its_column(content: bytes, field: str) -> None:
    with pytest.raises(InvalidError) as told:
        read_book(content, is_json=False)
    assert told.value.field == field
    assert told.value.rule


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode("utf-16"),
        GOOD.replace("ines", "in\u00e8s").encode("latin-1"),
        GOOD.encode() + b"\0",
        b'id,amount\n"7,1\n',
        b'id,amount\n"7"x,1\n',
    ],
)
def test_what_is_no_csv_in_utf_8_is_told(content: bytes) -> None:
    with pytest.raises(MalformedError):
        read_book(content, is_json=False)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"[]", "transfers"),
        (b"{}", "transfers"),
        (b'{"transfers": {}}', "transfers"),
        (b'{"transfers": [], "from": "x"}', "from"),
        (b'{"transfers": [7]}', "transfers.1"),
        (b'{"transfers": [{"id": 7}]}', "transfers.1.id"),
        (f'{{"transfers": [{{"id": "{ID}", "amount": 7}}]}}'.encode(), "transfers.1.amount"),
        (f'{{"transfers": [{{"id": "{ID}", "x": "7"}}]}}'.encode(), "transfers.1.x"),
        (f'{{"transfers": [{{"id": "{ID}", "amount": null}}]}}'.encode(), "transfers.1.amount"),
    ],
)
def test_a_bad_json_book_is_named_with_its_member(content: bytes, field: str) -> None:
    with pytest.raises(InvalidError) as told:
        read_book(content, is_json=True)
    assert told.value.field == field
