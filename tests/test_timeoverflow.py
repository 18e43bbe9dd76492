"""Reports of TimeOverflow: titles under their categories, without the names of members."""

import pytest

from commons.errors import InvalidError, MalformedError
from crawler.sources.timeoverflow import read_report
from crawler.vocabulary import Found
from marketplace.drafts import ListingType
from marketplace.payment import Payment, PaymentMeans
from marketplace.places import Precision

ADDRESS = "https://bank.example/report"
HEADER = ',Offer,Tags,User,"Created at"'
ROWS = (
    ",Teaching,,,",
    '41,Guitar lessons,"music, ""rock, pop""",Ines Mora (12),2015-03-01 10:22:33 UTC',
    ",-,,,",
    "42,Walking dogs,,Jan (13),2016-03-01 10:22:33 +0100",
)


def read(*rows: str, header: str = HEADER, address: str = ADDRESS) -> list[Found]:
    found, refused = read_report("\n".join([header, *rows]).encode(), address)
    assert refused == []
    return found


def test_titles_stand_under_their_categories_and_are_paid_in_time() -> None:
    guitar, dogs = (one.draft for one in read(*ROWS))
    assert guitar.uri == f"{ADDRESS}#offer-41"
    assert guitar.type is ListingType.OFFER
    assert guitar.title == "Guitar lessons"
    assert guitar.categories == ("Teaching", "music", "rock, pop")
    assert guitar.payments == (Payment(PaymentMeans.TIME),)
    assert guitar.precision is Precision.GROUP
    assert guitar.published is not None
    assert guitar.published.isoformat() == "2015-03-01T10:22:33+00:00"
    assert dogs.categories == ()
    assert dogs.published is not None
    assert dogs.published.isoformat() == "2016-03-01T09:22:33+00:00"


def test_nothing_of_a_member_is_read() -> None:
    for one in read(*ROWS):
        assert "Ines" not in repr(one)
        assert "Mora" not in repr(one)
        assert one.to is None
        assert not one.asks_author


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("Offer", "offer"), ("Oferta", "offer"), ("Offre", "offer"), ("Eskaintza", "offer"),
        ("Inquiry", "want"), ("Demanda", "want"), ("Demande", "want"), ("Eskaera", "want"),
    ],
)  # fmt: skip
def test_the_heading_says_in_the_banks_language_what_is_in_it(word: str, kind: str) -> None:
    guitar = read(*ROWS, header=f",{word},x,y,z")[0].draft
    assert guitar.type == kind
    assert guitar.uri == f"{ADDRESS}#{kind}-41"


def test_where_the_heading_does_not_the_name_says_it() -> None:
    strange = ",Xyz,x,y,z"
    (want,) = read("1,Bread,,,", header=strange, address="https://bank.example/inquiries.csv")
    assert want.draft.type is ListingType.WANT
    with pytest.raises(InvalidError, match="offers or wants"):
        read("1,Bread,,,", header=strange)


def test_an_offer_and_an_inquiry_of_one_number_are_two() -> None:
    offer = read("1,Bread,,,")[0].draft
    want = read("1,Bread,,,", header=",Demanda,x,y,z")[0].draft
    assert offer.uri != want.uri


def test_one_bad_row_among_good_is_refused_with_its_line() -> None:
    rows = [
        "1,Bread,,,",
        "1,Twice,,,",
        "x,No number,,,",
        "2,,,Jan,",
        "3,a,b",
        "4,Date,,,31/31",
        "5,Last,,,",
    ]
    found, refused = read_report("\n".join([HEADER, *rows]).encode(), ADDRESS)
    assert [one.draft.title for one in found] == ["Bread", "Last"]
    assert [reason.partition(":")[0] for _, reason in refused] == [
        "line 3", "line 4", "line 5", "line 6", "line 7",
    ]  # fmt: skip
    assert "Jan" not in str(refused)


@pytest.mark.parametrize(
    "body",
    [b"", b"id,title\n1,x", b"<html></html>", b'{"a":1}', b"uid,Offer,Tags,User,Created\n"],
)
def test_what_is_no_report_is_refused_whole(body: bytes) -> None:
    with pytest.raises(MalformedError):
        read_report(body, ADDRESS)


def test_a_list_of_members_is_refused_whole() -> None:
    with pytest.raises(InvalidError, match="members"):
        read_report(b",Member,Email,Phone,Registered\n1,Ines,i@x.example,1,2\n", ADDRESS)
