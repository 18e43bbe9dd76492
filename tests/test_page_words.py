"""What a member reads on the pages: prices, who allowed a listing, what cannot be had, ways on."""

from collections.abc import Iterator

import pytest
from market import draft, publish
from pages_world import Outline, address, open_pages, page, questions, titles
from served import Served
from sqlalchemy import Engine

from api.routes.pages import payment_words
from commons.settings import Settings
from marketplace.drafts import ListingType
from marketplace.payment import Payment, PaymentMeans

BITCOIN = "caip:19:bip122:000000000019d6689c085ae165831e93/slip44:0"


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    with open_pages(settings, sqlite_engine) as service:
        yield service


@pytest.mark.parametrize(
    ("payment", "words"),
    [
        (Payment(PaymentMeans.NATIONAL, "EUR", "3", "3 €/kg"), "3 €/kg"),
        (Payment(PaymentMeans.NATIONAL, "EUR", "1.5", "1,50 € das Stück"), "1,50 € das Stück"),
        (Payment(PaymentMeans.UNSPECIFIED, None, "2", "cups"), "2 cups"),
        (Payment(PaymentMeans.UNSPECIFIED, None, None, "ask me"), "ask me"),
        (Payment(PaymentMeans.BARTER, text="a jar of jam"), "Barter: a jar of jam"),
        (Payment(PaymentMeans.CRYPTO, BITCOIN, "0.001"), "0.001 BTC"),
        (Payment(PaymentMeans.NATIONAL, "EUR", "12.50"), "12.50 EUR"),
        (Payment(PaymentMeans.LOCAL, "https://river.example/currency", "2"), "2 RIV"),
        (Payment(PaymentMeans.TIME, None, "2"), "2 h"),
        (Payment(PaymentMeans.TIME), "Time"),
        (Payment(PaymentMeans.GIFT), "Gift"),
    ],
)
def test_a_price_is_read_once(payment: Payment, words: str) -> None:
    assert payment_words(payment.as_json(), {"https://river.example/currency": "RIV"}) == words


def test_every_search_shows_its_feeds(service: Served) -> None:
    for q in ("bicycle", "submarine"):
        text = page(service, "/", q=q, pay="local")
        for words, kind in (("RSS", "application/rss+xml"), ("GeoJSON", "application/geo+json")):
            link = address(text, words)
            assert questions(link) == {"q": [q], "pay": ["local"]}
            assert service.get(link).headers["content-type"].startswith(kind)


def test_what_is_given_or_wanted_is_not_payable(service: Served) -> None:
    engine = service.services.engine
    price = (Payment(PaymentMeans.GROUP_DEFAULT, amount="1"),)
    publish(
        engine,
        draft("given", "Kite given", payments=(Payment(PaymentMeans.GIFT),)),
        draft("wanted", "Kite wanted", type=ListingType.WANT, payments=price),
        draft("sold", "Kite sold", payments=price),
        group_id="river",
    )
    service.work()
    for title, told in (("given", False), ("wanted", False), ("sold", True)):
        text = page(service, "/", q=f'"kite {title}"', payer_group="river")
        assert ("Payable within your group" in text) is told
    assert titles(page(service, "/", q='"kite given"', payer_group="river")) == ["Kite given"]


def test_a_listing_leads_back_to_the_question_that_found_it(service: Served) -> None:
    found = page(service, "/", q="bicycle", pay=["local", "time"])
    listing = page(service, next(address(found, title) for title in titles(found)))
    back = address(listing, "Back to the search")
    assert questions(back) == {"q": ["bicycle"], "pay": ["local", "time"]}
    assert titles(page(service, back)) == titles(found)
    (canonical,) = [one for one in Outline(listing).all("link") if one["rel"] == "canonical"]
    alone = str(canonical["href"])
    assert "?" not in alone
    assert address(page(service, alone), "Back to the search") == "/"


def test_a_listing_tells_who_allowed_it_and_leads_to_its_like(service: Served) -> None:
    publish(
        service.services.engine,
        draft("jars", "Jars", categories=("jam & honey",)),
        draft("pots", "Pots", categories=("jam & honey",)),
    )
    service.work()
    text = page(service, address(page(service, "/", q="jars"), "Jars"))
    assert "<dd>The author&#39;s group, for what its members publish to everybody</dd>" in text
    like = address(text, "jam &amp; honey")
    assert questions(like) == {"category": ["jam & honey"]}
    assert set(titles(page(service, like))) == {"Jars", "Pots"}


def test_a_broken_cursor_is_told_in_a_sentence(service: Served) -> None:
    text = page(service, "/", 422, q="jam", cursor="x")
    assert "This page of the results is not there any more. Please search once more." in text
    assert "cursor" not in text.partition("<form")[0]


def test_an_index_that_does_not_answer_is_told_in_a_sentence(
    service: Served, settings: Settings
) -> None:
    (settings.data_dir / "index" / "current").write_text("nothing")
    text = page(service, "/", 503, q="jam")
    assert "Searching is not possible right now. Please come back a little later." in text
    assert "For the operator: the index is damaged" in text
