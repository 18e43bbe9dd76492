"""The reader of FEP-0837: outside documents in, drafts out."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from commons.errors import InvalidError
from crawler.terms import activity, types
from crawler.vocabulary import payment_links, read
from marketplace.drafts import ListingType, check
from marketplace.payment import PaymentMeans

PUBLIC = "https://www.w3.org/ns/activitystreams#Public"


def document(vectors: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((vectors / name).read_text())
    return found


def proposal(**more: object) -> dict[str, Any]:
    told = {
        "id": "https://hub.example/proposals/1",
        "type": "Proposal",
        "purpose": "offer",
        "name": "Bread",
        "attributedTo": "https://hub.example/members/ada",
        "to": PUBLIC,
    }
    return {**told, **more}


def test_the_minimal_proposal_is_read_and_has_no_title(vectors: Path) -> None:
    (found,) = read(document(vectors, "fep-0837/1-proposal-minimal.json"))

    assert found.draft.payments[0].means is PaymentMeans.GIFT
    with pytest.raises(InvalidError) as refused:
        check(found.draft)
    assert refused.value.field == "title"


def test_the_full_proposal_is_read_whole(vectors: Path) -> None:
    (found,) = read(document(vectors, "fep-0837/2-proposal-full.json"))
    draft = check(found.draft)

    assert (draft.title, draft.lat, draft.lon) == ("Offering used bike", 25.0, -71.0)
    assert draft.published == datetime(2023, 6, 18, 19, 22, 3, 918737, UTC)
    assert draft.payments[0].as_json() == {
        "means": "national",
        "currency": "USD",
        "amount": "30",
    }


def test_the_payment_links_of_an_actor_are_found(vectors: Path) -> None:
    actor = document(vectors, "fep-0837/3-actor-with-payment-link.json")

    assert payment_links(actor) == [
        "https://market.example/proposals/ddde9d6f-6f3b-4770-a966-3a18ef006930"
    ]
    assert read(actor) == []


@pytest.mark.parametrize(
    ("name", "kind", "about"),
    [
        ("4-offer-agreement.json", "Offer", {"Agreement"}),
        ("5-accept-agreement.json", "Accept", set()),
        ("6-reject.json", "Reject", set()),
        ("7-confirmation.json", "Create", {"Document"}),
    ],
)
def test_what_follows_a_proposal_is_read_as_what_it_is(
    vectors: Path, name: str, kind: str, about: set[str]
) -> None:
    told = document(vectors, f"fep-0837/{name}")

    assert read(told) == []
    assert activity(told).type == kind
    assert types(activity(told).object) == about


@pytest.mark.parametrize(
    "prefix", ["", "vf:", "ValueFlows:", "https://w3id.org/valueflows/ont/vf#"]
)
def test_a_prefixed_type_is_the_same_type(prefix: str) -> None:
    (found,) = read(proposal(type=[f"{prefix}Proposal"]))

    assert found.draft.title == "Bread"


def test_strings_arrays_and_objects_are_read_alike() -> None:
    alone = read(proposal(audience="https://hub.example/group"))
    wrapped = read(
        proposal(
            to=[PUBLIC],
            name=["Bread"],
            attributedTo=[{"id": "https://hub.example/members/ada", "type": "Person"}],
            audience=[{"id": "https://hub.example/group"}],
        )
    )

    assert alone == wrapped


def test_prefixed_terms_and_unit_objects_are_read() -> None:
    quantity = {"om2:hasUnit": {"label": "hour"}, "om2:hasNumericalValue": {"@value": "1.50"}}
    reciprocal = {"vf:resourceQuantity": quantity}

    (found,) = read(proposal(**{"vf:reciprocal": [reciprocal]}))

    assert found.draft.payments[0].as_json() == {"means": "time", "amount": "1.50"}


@pytest.mark.parametrize(
    ("written", "amount"), [("12.50", "12.50"), (12, "12"), (0.1, "0.1"), (1e-7, "0.0000001")]
)
def test_an_amount_stays_as_it_was_written(written: object, amount: str) -> None:
    reciprocal = {"resourceQuantity": {"hasUnit": "EUR", "hasNumericalValue": written}}

    (found,) = read(proposal(reciprocal=reciprocal))

    assert found.draft.payments[0].amount == amount


def test_a_thing_named_in_words_is_barter_and_an_unknown_unit_stays_text() -> None:
    quantity = {"hasUnit": "one", "hasNumericalValue": "1"}
    thing = {"resourceConformsTo": "a jar of honey", "resourceQuantity": quantity}
    unknown = {"resourceQuantity": {"hasUnit": "eggs", "hasNumericalValue": "6"}}

    (bartered,) = read(proposal(reciprocal=thing))
    (told,) = read(proposal(reciprocal=unknown))

    assert bartered.draft.payments[0].as_json() == {"means": "barter", "text": "a jar of honey"}
    assert told.draft.payments[0].as_json() == {
        "means": "unspecified",
        "amount": "6",
        "text": "eggs",
    }


@pytest.mark.parametrize(
    ("thing", "unit", "value", "payments"),
    [
        (None, "€", "1.50", [{"means": "national", "currency": "EUR", "amount": "1.50"}]),
        (None, "euros", "3", [{"means": "national", "currency": "EUR", "amount": "3"}]),
        (None, "EUR", "1,50", [{"means": "national", "currency": "EUR", "amount": "1.50"}]),
        (None, "EUR", "1.500", [{"means": "national", "currency": "EUR", "amount": "1.500"}]),
        (
            None,
            "EUR",
            "1,500",
            [{"means": "national", "currency": "EUR", "text": "1,500"}],
        ),
        (
            None,
            "€/kg",
            "3",
            [{"means": "national", "currency": "EUR", "amount": "3", "text": "3 €/kg"}],
        ),
        (None, "Stunden", "2", [{"means": "time", "amount": "2"}]),
        (None, "one", "2 h", [{"means": "time", "amount": "2"}]),
        (None, None, "gratis", [{"means": "gift"}]),
        ("gratis", "one", "1", [{"means": "gift"}]),
        ("2 h", "one", "1", [{"means": "time", "amount": "2"}]),
        ("Tausch", None, None, [{"means": "barter"}]),
        ("Request a quote", None, None, [{"means": "unspecified", "text": "Request a quote"}]),
        ("a jar of honey", "one", "2", [{"means": "barter", "text": "a jar of honey"}]),
        (
            "2 h oder 20 €",
            None,
            None,
            [
                {"means": "time", "amount": "2"},
                {"means": "national", "currency": "EUR", "amount": "20"},
            ],
        ),
        (None, "$", "5", [{"means": "unspecified", "amount": "5", "text": "$"}]),
        (None, "eggs", "a few", [{"means": "unspecified", "text": "a few eggs"}]),
        (
            "https://www.wikidata.org/entity/Q131723",
            "one",
            "0.01",
            [{"means": "crypto", "currency": "BTC", "amount": "0.01"}],
        ),
        (
            "eip155:1/slip44:60",
            "one",
            "0.000000000000000001",
            [
                {
                    "means": "crypto",
                    "currency": "caip:19:eip155:1/slip44:60",
                    "amount": "0.000000000000000001",
                }
            ],
        ),
        (
            "https://www.wikidata.org/wiki/Q11442",
            "one",
            "1",
            [
                {
                    "means": "unspecified",
                    "currency": "https://www.wikidata.org/wiki/Q11442",
                    "amount": "1",
                }
            ],
        ),
    ],
)
def test_a_price_in_words_is_read_where_it_can_be(
    thing: str | None, unit: str | None, value: str | None, payments: list[dict[str, str]]
) -> None:
    quantity = {"hasUnit": unit, "hasNumericalValue": value}
    reciprocal = {"resourceConformsTo": thing, "resourceQuantity": quantity}

    (found,) = read(proposal(reciprocal=reciprocal))

    assert [payment.as_json() for payment in check(found.draft).payments] == payments


def test_a_group_that_announces_gives_its_default_currency() -> None:
    announce = {"type": "Announce", "actor": "https://hub.example/group", "object": proposal()}

    (found,) = read(announce)

    assert found.draft.group_uri == "https://hub.example/group"
    assert found.draft.payments[0].means is PaymentMeans.GROUP_DEFAULT


def test_language_categories_image_and_page_are_read() -> None:
    (found,) = read(
        proposal(
            purpose="vf:request",
            contentMap={"ca": "Pa de pagès"},
            tag=[{"type": "Hashtag", "name": "#food"}],
            attachment=[
                {"type": "PropertyValue", "name": "category", "value": "Baking"},
                {"type": "Document", "mediaType": "image/png", "url": "https://hub.example/a.png"},
            ],
            url="https://hub.example/bread",
            searchableBy=PUBLIC,
        )
    )

    draft = check(found.draft)
    assert draft.type is ListingType.WANT
    assert (draft.body, draft.language) == ("Pa de pagès", "ca")
    assert draft.categories == ("food", "Baking")
    assert (draft.image, draft.url) == ("https://hub.example/a.png", "https://hub.example/bread")
    assert found.searchable_by == (PUBLIC,)


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("purpose", {"purpose": "gossip"}),
        ("published", {"published": "yesterday"}),
        ("lat", {"location": {"type": "Place", "latitude": "north", "longitude": 2}}),
        ("lat", {"location": {"type": "Place", "latitude": 95, "longitude": 2}}),
        ("lon", {"location": {"type": "Place", "latitude": 41, "longitude": 181}}),
        ("place", {"location": {"type": "Place", "latitude": 41}}),
        ("title", {"name": " "}),
        ("uri", {"id": "urn:x"}),
    ],
)
def test_what_breaks_a_rule_names_its_field(field: str, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as refused:
        check(read(proposal(**more))[0].draft)
    assert refused.value.field == field


def test_an_activity_inside_itself_ends() -> None:
    nested: dict[str, Any] = proposal()
    for _ in range(50):
        nested = {"type": "Announce", "actor": "https://hub.example/group", "object": nested}

    assert read(nested) == []
