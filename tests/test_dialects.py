"""Every shape in which hubs publish offers and wants, as ActivityPub carries it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from proposals import (
    ADA,
    FOLLOWERS,
    GROUP,
    flea_market,
    intent,
    note,
    one,
    payments,
    proposal,
    reciprocal,
)

from commons.errors import InvalidError
from crawler.terms import PUBLIC
from crawler.vocabulary import finished, is_finished, payment_links, read
from marketplace.drafts import Draft, ListingType, check
from marketplace.payment import PaymentMeans
from marketplace.places import Precision

DIALECTS = (
    "announce-create-proposal.json",
    "proposal-caip19.json",
    "proposal-wanted.json",
    "note-embedded-proposal.json",
    "note-flohmarkt.json",
    "intent-bonfire.json",
    "timebank-request.json",
)


def told_of(draft: Draft) -> dict[str, Any]:
    """Everything that the expectations may name, in their words."""
    expires = draft.expires_at
    return {
        "id": draft.uri,
        "same_as": list(draft.same_as),
        "type": str(draft.type),
        "title": draft.title,
        "author": draft.author_uri,
        "group": draft.group_uri,
        "lat": draft.lat,
        "lon": draft.lon,
        "location_precision": "hub" if draft.precision is Precision.GROUP else "own",
        "place_name": draft.place_name,
        "category": ", ".join(draft.categories),
        "language": draft.language,
        "expires": expires.isoformat().replace("+00:00", "Z") if expires else None,
        "payment": [payment.as_json() for payment in draft.payments],
    }


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("is_pushed", [False, True], ids=["bare", "in its Create"])
def test_a_dialect_gives_exactly_what_is_expected(
    vectors: Path, name: str, *, is_pushed: bool
) -> None:
    expected = json.loads((vectors / "dialects/expected.json").read_text())[name]
    document = json.loads((vectors / "dialects" / name).read_text())
    if is_pushed and document["type"] != "Announce":
        document = {"id": f"{document['id']}/activity", "type": "Create", "object": document}

    found = read(document)

    drafts = [told_of(check(reading.draft)) for reading in found]
    shown = [
        {key: draft[key] for key in wanted} for draft, wanted in zip(drafts, expected, strict=True)
    ]
    assert shown == expected
    assert all(reading.to == (PUBLIC,) and reading.asks_author for reading in found)


def test_every_dialect_of_activitypub_is_among_those_that_are_read(vectors: Path) -> None:
    expected = json.loads((vectors / "dialects/expected.json").read_text())
    others = {"murmurations-offer.json", "komunitin-offers.json", "ces-offers.csv"}

    assert set(DIALECTS) == set(expected) - others


# Intents of ValueFlows, and proposals of Bonfire.


@pytest.mark.parametrize(
    ("more", "side"),
    [
        ({}, ListingType.WANT),
        ({"receiver": None, "provider": ADA}, ListingType.OFFER),
        (
            {"receiver": "https://hub.example/members/bo", "provider": {"id": ADA}},
            ListingType.OFFER,
        ),
        ({"receiver": [ADA], "provider": "https://hub.example/members/bo"}, ListingType.WANT),
        ({"receiver": None, "provider": GROUP}, ListingType.OFFER),
        ({"type": "ValueFlows:Offer", "receiver": None}, ListingType.OFFER),
        ({"type": "vf:Need", "receiver": None}, ListingType.WANT),
    ],
)
def test_who_gives_and_who_takes_tells_an_offer_from_a_want(
    more: dict[str, Any], side: ListingType
) -> None:
    assert one(intent(**more)).draft.type is side


@pytest.mark.parametrize("more", [{"receiver": None}, {"provider": ADA}])
def test_an_intent_of_no_plain_side_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as refused:
        read(intent(**more))
    assert refused.value.field == "provider"


def test_an_intent_in_a_group_is_paid_as_the_group_does() -> None:
    assert payments(intent(inScopeOf=[GROUP])) == [{"means": "group-default"}]
    (found,) = read(intent(), group_uri=GROUP)
    assert found.draft.payments[0].means is PaymentMeans.GROUP_DEFAULT


def test_an_intent_that_is_the_price_of_another_is_no_listing() -> None:
    asked = {"type": "ValueFlows:ProposedIntent", "reciprocal": True}

    assert read(intent(publishedIn=[asked])) == []
    assert len(read(intent(publishedIn=[{**asked, "reciprocal": False}]))) == 1


def test_an_activity_named_offer_is_no_offer() -> None:
    assert read({**proposal(type="Offer"), "actor": ADA, "object": {"type": "Agreement"}}) == []


def test_a_proposal_of_bonfire_is_read_through_its_proposed_intents() -> None:
    def proposed(*, is_price: bool, **told: object) -> dict[str, Any]:
        about = {"type": "ValueFlows:Intent", "attributedTo": ADA, **told}
        return {"type": "ValueFlows:ProposedIntent", "reciprocal": is_price, "publishes": about}

    work = proposed(
        is_price=False,
        id="https://hub.example/objects/2",
        provider=ADA,
        due="2027-01-01T00:00:00Z",
        resourceClassifiedAs=["gardening"],
    )
    price = proposed(is_price=True, **reciprocal("hour", 2))
    bonfire = proposal(
        type="ValueFlows:Proposal",
        purpose=None,
        eligibleLocation={"type": "Place", "name": "Kent", "latitude": 51.2, "longitude": 0.7},
        publishes=[work, price],
    )

    draft = check(one(bonfire).draft)

    assert (draft.type, draft.title, draft.lat) == (ListingType.OFFER, "Bread", 51.2)
    assert draft.categories == ("gardening",)
    assert draft.same_as == ("https://hub.example/objects/2",)
    assert draft.expires_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert payments(bonfire) == [{"means": "time", "amount": "2"}]


def test_what_is_finished_is_no_listing_and_is_told_apart() -> None:
    done = intent(finished=True)
    half = proposal(publishes=[{"type": "Intent", "finished": True}, {"type": "Intent"}])
    whole = proposal(publishes={"type": "Intent", "vf:finished": {"@value": "true"}})

    for document, uri in ((done, done["id"]), (whole, whole["id"]), (note(whole), whole["id"])):
        carried = {"type": "Update", "id": "https://hub.example/a/1", "object": document}
        assert (read(document), finished(document)) == ([], [uri])
        assert (read(carried), finished(carried)) == ([], [uri])
    assert is_finished(done)
    assert is_finished(whole)
    assert (len(read(half)), finished(half)) == (1, [])
    assert finished(intent(finished=False)) == []


# Notes and others that carry.


@pytest.mark.parametrize("kind", ["Note", "Article", "Page", "Event", ["Note", "Article"], None])
def test_what_carries_a_proposal_says_what_that_does_not(kind: object) -> None:
    bare = {
        "type": "vf:Proposal",
        "purpose": "offer",
        "name": "Bread",
        "id": "https://hub.example/p/1",
    }
    carrier = note(
        bare,
        type=kind,
        audience=GROUP,
        tag=[{"type": "Hashtag", "name": "#food"}],
        url="https://hub.example/bread",
        image={"type": "Image", "url": "https://hub.example/bread.png"},
        published="2026-11-01T00:00:00Z",
        contentMap={"en": "Bread, baked today"},
        location={"type": "Place", "name": "Vic", "latitude": 41.9, "longitude": 2.3},
    )

    found = one({"type": "Create", "actor": ADA, "object": carrier})
    draft = check(found.draft)

    assert (draft.uri, draft.same_as) == ("https://hub.example/p/1", (carrier["id"],))
    assert (draft.author_uri, draft.group_uri, found.to) == (ADA, GROUP, (PUBLIC,))
    assert (draft.title, draft.body, draft.language) == ("Bread", "Bread, baked today", "en")
    assert (draft.categories, draft.url) == (("food",), "https://hub.example/bread")
    assert (draft.image, draft.lat) == ("https://hub.example/bread.png", 41.9)
    assert draft.published == datetime(2026, 11, 1, tzinfo=UTC)
    assert draft.payments[0].means is PaymentMeans.GROUP_DEFAULT


def test_an_attached_proposal_without_id_has_that_of_its_note() -> None:
    draft = check(one(note(proposal(id=None))).draft)

    assert (draft.uri, draft.same_as) == ("https://hub.example/notes/1", ())


def test_of_two_that_speak_of_consent_the_no_is_heard() -> None:
    quiet = one(note(proposal(), to=[FOLLOWERS]))
    silent = one(note(proposal(searchableBy=PUBLIC), searchableBy=[ADA]))
    robots = one(note(proposal(), xRobotsTag="noindex"))

    assert quiet.to == (FOLLOWERS,)
    assert silent.searchable_by == (ADA,)
    assert robots.noindex
    assert one(note(proposal(to=[FOLLOWERS]))).to == (FOLLOWERS,)


def test_a_proposal_of_another_origin_is_not_read_from_a_note() -> None:
    theirs = proposal(id="https://other.example/p/1", attributedTo="https://other.example/bo")

    assert read(note(theirs)) == []
    assert [found.draft.uri for found in read(note(theirs, proposal()))] == [proposal()["id"]]


def test_nobody_attaches_the_proposal_of_another() -> None:
    with pytest.raises(InvalidError) as refused:
        read(note(proposal(attributedTo="https://hub.example/members/bo")))
    assert refused.value.field == "attributedTo"


def test_of_several_attached_proposals_each_is_a_listing_of_its_own() -> None:
    second = proposal(id="https://hub.example/proposals/2", name="Cake")

    found = read(note(proposal(), second))

    assert [reading.draft.title for reading in found] == ["Bread", "Cake"]
    assert [reading.draft.same_as for reading in found] == [(), ()]
    with pytest.raises(InvalidError) as refused:
        read(note(*[proposal()] * 51))
    assert refused.value.field == "attachment"


def test_nothing_of_another_origin_is_said_to_be_the_same() -> None:
    theirs = {"type": "Intent", "id": "https://other.example/objects/1"}

    assert one(proposal(publishes=theirs)).draft.same_as == ()


@pytest.mark.parametrize("key", ["flohmarkt:data", "https://codeberg.org/flohmarkt/ns#data"])
@pytest.mark.parametrize(
    ("told", "payment"),
    [
        ({}, {"means": "national", "currency": "EUR", "amount": "30"}),
        (
            {"price": "25", "currency": "CAD"},
            {"means": "national", "currency": "CAD", "amount": "25"},
        ),
        ({"price": 25}, {"means": "unspecified", "amount": "25"}),
        ({"price": "zu verschenken"}, {"means": "gift"}),
        ({"price": "VB 50"}, {"means": "unspecified", "text": "VB 50"}),
        ({"price": "x" * 600}, {"means": "unspecified", "text": "x" * 500}),
        ({"price": None}, {"means": "unspecified"}),
    ],
)
def test_a_price_of_flohmarkt_is_read_where_it_can_be(
    key: str, told: dict[str, Any], payment: dict[str, str]
) -> None:
    assert payments(flea_market(key, **told)) == [payment]


def test_a_place_of_flohmarkt_is_that_of_its_instance() -> None:
    draft = check(one(flea_market(coordinates={"lat": "52.5", "lng": 13.4})).draft)

    assert (draft.lat, draft.lon, draft.precision) == (52.5, 13.4, Precision.GROUP)
    with pytest.raises(InvalidError) as refused:
        read(flea_market(coordinates={"lat": 52.5, "lng": "east"}))
    assert refused.value.field == "lon"


def test_an_attached_proposal_goes_before_what_flohmarkt_says() -> None:
    both = {**flea_market(), "attachment": [proposal()]}

    assert one(both).draft.title == "Bread"


@pytest.mark.parametrize(
    "document",
    [
        note(),
        note({"type": "Image", "url": "https://hub.example/a.png"}),
        {**note(), "data": {"name": "Radio", "price": "30 €"}},
        {"type": "Tombstone", "id": "https://hub.example/proposals/1"},
        proposal(type=["Proposal", "Tombstone"]),
        {"type": "Person", "id": ADA, "inbox": f"{ADA}/inbox", "attachment": [proposal(id=None)]},
        {"type": "OrderedCollectionPage", "orderedItems": [proposal()]},
        {"type": "Create", "object": "https://hub.example/proposals/1"},
        {"type": "Like", "object": proposal()},
        {},
    ],
)
def test_what_is_no_listing_gives_none_and_no_error(document: dict[str, Any]) -> None:
    assert (read(document), finished(document)) == ([], [])


@pytest.mark.parametrize(
    "rel",
    [
        ["payment", "https://w3id.org/valueflows/ont/vf#Proposal"],
        ["vf:Proposal", "payment"],
        "payment https://w3id.org/valueflows/ont/vf#Proposal",
    ],
)
def test_payment_links_are_found_in_each_form(rel: object) -> None:
    href = "https://hub.example/proposals/1"
    links = [
        {"type": "Link", "rel": rel, "href": href},
        {"type": "Link", "rel": rel, "href": href},
        {"type": "Link", "rel": rel, "href": "payto://iban/DE75512108001245126199"},
        {"type": "Link", "rel": "payment", "href": "https://hub.example/donate"},
        {"type": "PropertyValue", "name": "Site", "value": "https://hub.example"},
    ]

    assert payment_links({"type": "Person", "attachment": links}) == [href]
    assert payment_links({"type": "Article", "attachment": links[0]}) == [href]


def test_a_page_is_a_link_for_people() -> None:
    video = {"type": "Link", "mediaType": "video/mp4", "href": "https://hub.example/v.mp4"}
    page = {
        "type": "Link",
        "mediaType": "text/html; charset=utf-8",
        "href": "https://hub.example/p",
    }

    assert one(proposal(url=[video, page])).draft.url == "https://hub.example/p"
    assert one(proposal(url=video)).draft.url is None
