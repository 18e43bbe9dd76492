"""Exports of CES: what all may see becomes listings, and members' lists are never read."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commons.errors import InvalidError, MalformedError
from crawler.sources.ces import read_export
from crawler.sources.csv_files import Dates, expand, refuse_members
from crawler.vocabulary import Found
from marketplace.drafts import ListingType
from marketplace.payment import Payment, PaymentMeans
from marketplace.places import Precision

ADDRESS = "https://ces.example/export/offers.csv"
HEADER = "ces_uid,title,categories,body,created,changed,expires,scope"


def read(*rows: str, header: str = HEADER, address: str = ADDRESS) -> list[Found]:
    found, refused = read_export("\n".join([header, *rows]).encode(), address)
    assert refused == []
    return found


def one(row: str, header: str = HEADER) -> Found:
    (found,) = read(row, header=header)
    return found


def refused(*rows: str) -> list[tuple[str, str]]:
    return read_export("\n".join([HEADER, *rows]).encode(), ADDRESS)[1]


def title(text: str, **more: str) -> str:
    cells = {"created": "2026-03-01", "changed": "2026-09-01", "expires": "", "scope": "3", **more}
    return f"GRIN0012,{text},Arts,,{','.join(cells.values())}"


def test_the_vector_comes_out_as_expected(vectors: Path) -> None:
    folder = vectors / "dialects"
    expected = json.loads((folder / "expected.json").read_text())["ces-offers.csv"]
    found, refused = read_export((folder / "ces-offers.csv").read_bytes(), ADDRESS)

    assert refused == []
    assert [
        {
            "type": one.draft.type,
            "title": one.draft.title,
            "category": one.draft.categories[0],
            "expires": one.draft.expires_at and f"{one.draft.expires_at:%Y-%m-%dT%H:%M:%SZ}",
            "payment": [payment.as_json() for payment in one.draft.payments],
        }
        for one in found
    ] == expected


def test_a_row_tells_when_it_changed_and_takes_its_groups_place() -> None:
    draft = one(title("Guitar lessons")).draft
    assert draft.published == datetime(2026, 3, 1, tzinfo=UTC)
    assert draft.updated == datetime(2026, 9, 1, tzinfo=UTC)
    assert draft.precision is Precision.GROUP
    assert draft.payments == (Payment(PaymentMeans.GROUP_DEFAULT),)


def test_a_row_is_known_by_its_member_and_title_and_tells_neither_number() -> None:
    first = one(title("Guitar lessons")).draft.uri
    assert first == one(title("guitar   LESSONS", changed="2026-10-01")).draft.uri
    assert first != one(title("Guitar repair")).draft.uri
    assert first.startswith(f"{ADDRESS}#offer-")
    assert "GRIN0012" not in first
    wants = ADDRESS.replace("offers", "WANTS")
    (want,) = read(title("Guitar lessons"), address=wants)
    assert want.draft.type is ListingType.WANT
    assert want.draft.uri.startswith(f"{wants}#want-")


@pytest.mark.parametrize("scope", ["0", "1", "2", "", "33", "3 and 0", "null", "-3"])
def test_what_is_not_for_everybody_leaves_no_word_behind(scope: str) -> None:
    found, refused = read_export(
        f"{HEADER}\n{title('Members only', scope=scope)}\n".encode(), ADDRESS
    )
    assert (found, refused) == ([], [])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"{HEADER}\n{title('Übersetzen')}".encode("utf-8-sig"), "Übersetzen"),
        (f"{HEADER}\n{title('Übersetzen')}".encode("windows-1252"), "Übersetzen"),
        (f"{HEADER}\n{title('Übersetzen')}".encode("utf-16"), "Übersetzen"),
        (f"{HEADER}\n{title('A;B')}".replace(",", "\t").encode(), "A;B"),
        (f"{HEADER}\r\n{title('Bread')}\r\n\r\n".replace(",", ";").encode(), "Bread"),
        (f"{HEADER.upper()}\n{title('Bread')}".replace(",", "|").encode(), "Bread"),
    ],
)
def test_encodings_and_separators_are_told_apart(body: bytes, expected: str) -> None:
    found, refused = read_export(body, ADDRESS)
    assert refused == []
    assert [one.draft.title for one in found] == [expected]


def test_lines_within_quotes_are_one_cell() -> None:
    row = 'GRIN0012,"Bread, ""fresh""",Food,"On Fridays\r\n\r\nAsk <first> & bring a bag",,,,3'
    draft = one(row).draft
    assert draft.title == 'Bread, "fresh"'
    assert draft.body == "<p>On Fridays</p><p>Ask &lt;first&gt; &amp; bring a bag</p>"


def test_a_formula_is_but_a_text_and_a_script_is_taken_out() -> None:
    cell = "<script>alert(1)</script><b>ok</b>"
    draft = one(f'GRIN1,"=HYPERLINK(""http://x"")",Food,{cell},,,,3').draft
    assert draft.title == '=HYPERLINK("http://x")'
    assert draft.body == "<b>ok</b>"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-12-31", "2026-12-31T00:00:00+00:00"),
        ("2026-12-31 23:59:00", "2026-12-31T23:59:00+00:00"),
        ("2026-12-31T23:59:00+01:00", "2026-12-31T22:59:00+00:00"),
        ("2015-03-01 10:22:33 UTC", "2015-03-01T10:22:33+00:00"),
        ("2015-03-01 10:22:33 +0100", "2015-03-01T09:22:33+00:00"),
        ("31/12/2026", "2026-12-31T00:00:00+00:00"),
        ("12/31/2026", "2026-12-31T00:00:00+00:00"),
        ("01.02.2026", "2026-02-01T00:00:00+00:00"),
        ("31 Dec 2026", "2026-12-31T00:00:00+00:00"),
        ("December 31, 2026", "2026-12-31T00:00:00+00:00"),
        ("0000-00-00 00:00:00", None),
        ("", None),
    ],
)
def test_dates_are_read_in_their_forms(written: str, expected: str | None) -> None:
    read = Dates([written]).read("expires", written)
    assert (read and read.isoformat()) == expected


def test_a_date_that_may_be_two_is_told_by_the_others_of_its_file_or_refused() -> None:
    assert Dates(["01/02/2026", "25/02/2026"]).read("x", "01/02/2026") == datetime(
        2026, 2, 1, tzinfo=UTC
    )
    assert Dates(["01/02/2026", "02/25/2026"]).read("x", "01/02/2026") == datetime(
        2026, 1, 2, tzinfo=UTC
    )
    for written in ("01/02/2026", "31/31/2026", "tomorrow", "2026-02-30", "9" * 400):
        with pytest.raises(InvalidError):
            Dates([written]).read("expires", written)


def test_one_bad_row_among_good_is_refused_with_its_line_and_reason() -> None:
    found, refused = read_export(
        "\n".join(
            [
                HEADER,
                title("Bread"),
                "GRIN1,,Food,no title,,,,3",
                title("Date", expires="soon"),
                "GRIN1,too few,3",
                title("Nul\0"),
                title("Bread"),
                title("x" * 301),
                title("Last"),
            ]
        ).encode(),
        ADDRESS,
    )
    assert [one.draft.title for one in found] == ["Bread", "Last"]
    assert [reason.partition(":")[0] for _, reason in refused] == [
        "line 3", "line 4", "line 5", "line 6", "line 7", "line 8",
    ]  # fmt: skip
    assert "must not be empty" in refused[0][1]
    assert "8 columns, not 3" in refused[2][1]
    assert "same member" in refused[4][1]


def test_what_is_refused_repeats_nothing_of_the_row() -> None:
    rows = [title("secret words", expires="my street 5"), "a,secret words", title("secret\0")]
    told = " ".join(f"{uri} {reason}" for uri, reason in refused(*rows))
    assert "secret" not in told
    assert "street" not in told


@pytest.mark.parametrize(
    "header",
    [
        "uid,firstname,surname,email,phone,password",
        "ces_uid,title,scope,Password",
        "ces_uid,title,scope,pass_word",
        "ces_uid,title,scope,passwd",
        "ces_uid,title,scope,PWD",
        "ces_uid,title,scope,contraseña",
        "ces_uid,title,scope,Mot de passe",
        "ces_uid,title,scope,Passwort",
        "uid,name,email,birthday",
    ],
)
def test_a_list_of_members_is_refused_whole(header: str) -> None:
    body = f"{header}\nGRIN1,Bread,3,hunter2,x,y\n".encode()
    with pytest.raises(InvalidError, match="members") as refused:
        read_export(body, ADDRESS)
    assert "hunter2" not in refused.value.detail


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b"\x81\x8d",
        b"<html><body>Sign in</body></html>",
        b"a,b,c\n1,2,3\n",
        b"\xff\xfe1",
    ],
)
def test_what_is_no_export_is_refused_whole(body: bytes) -> None:
    with pytest.raises(MalformedError):
        read_export(body, ADDRESS)


def test_a_file_that_does_not_say_what_it_holds_is_refused() -> None:
    for address in ("https://ces.example/export.csv", "https://ces.example/offers-wants.csv"):
        with pytest.raises(InvalidError, match="offers or wants"):
            read(title("Bread"), address=address)


def test_ten_megabytes_and_a_quote_that_never_closes_are_read_in_good_time() -> None:
    rows = [f"GRIN{n},Bread {n},Food,{'x' * 500},,,,3" for n in range(20_000)]
    rows[500] = f'GRIN500,"Bread,Food,{"y" * 10},,,,3'
    body = "\n".join([HEADER, *rows]).encode()
    assert len(body) > 10_000_000
    found, refused = read_export(body, ADDRESS)
    assert [reason for _, reason in refused if "quote" in reason]
    assert len(found) > 19_000


def test_addresses_stand_for_files_and_those_of_members_for_none() -> None:
    assert expand("https://x.example/{OFFERS,WANTS}.csv?a=1") == (
        "https://x.example/OFFERS.csv?a=1",
        "https://x.example/WANTS.csv?a=1",
    )
    assert expand(ADDRESS) == (ADDRESS,)
    for name in ("MEMBERS.csv", "export?table=Members", "member_list.csv", "passwords.csv"):
        with pytest.raises(InvalidError, match="members"):
            refuse_members(f"https://ces.example/{name}")
    refuse_members("https://ces.example/members/offers.csv")
    refuse_members("https://ces.example/remembering.csv")
