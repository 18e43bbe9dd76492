"""What is pushed by whom it should not, or breaks a rule, is named and has no effect."""

from collections.abc import Iterator
from typing import Any

import pytest
from hub_server import HubServer, Json, at
from paying_world import problem
from pushing_world import Pushing, StaticHub, pushing_hub, repair
from sqlalchemy import Engine, update

from commons.database import transaction
from commons.groups import Hub, HubState
from commons.settings import Settings
from commons.signatures import generate_ed25519
from crawler.sources.push import PushedListing
from marketplace.listings import Listing


@pytest.fixture
def pushing(settings: Settings, engine: Engine) -> Iterator[Pushing]:
    yield from pushing_hub(settings, engine)


@pytest.mark.parametrize("field", ["uri", "author"])
def test_nobody_speaks_for_another_origin(pushing: Pushing, field: str) -> None:
    more: dict[str, Any] = {field: "https://other.example/offers/7"}
    answer = pushing.put(**more)
    assert problem(answer, 422, "invalid")["field"] == field
    assert pushing.kept() == 0


@pytest.mark.parametrize(
    ("more", "field", "rule"),
    [
        (
            {"type": "request"},
            "type",
            "must be 'offer' or 'want', which ActivityPub calls a request",
        ),
        ({"type": "gift"}, "type", "must be 'offer' or 'want'"),
        ({"title": ""}, "title", "must have at least 1 character"),
        ({"color": "red"}, "color", "is not known here, so it must not be there"),
    ],
)
def test_a_refusal_says_its_rule_in_our_words(
    pushing: Pushing, more: dict[str, Any], field: str, rule: str
) -> None:
    told = problem(pushing.put(**more), 422, "invalid")
    assert (told["field"], told["rule"]) == (field, rule)
    assert pushing.kept() == 0


def test_local_money_without_a_name_is_the_groups(pushing: Pushing) -> None:
    uri = pushing.put(payments=[{"means": "local", "amount": "3"}]).json()["uri"]
    assert pushing.listing(uri).payments == [{"means": "group-default", "amount": "3"}]


def test_another_groups_listing_at_the_same_origin_is_not_taken_over(pushing: Pushing) -> None:
    uri = f"{pushing.hub.base}/offers/7"
    pushing.put(uri=uri, updated=at(1))
    with transaction(pushing.engine) as session:
        session.execute(update(PushedListing).values(uri="http://elsewhere.example/"))
        session.execute(update(Listing).values(group_id=None))
    with StaticHub("leeds").serving() as other:
        assert pushing.service.register(other).status_code == 201
        with transaction(pushing.engine) as session:
            session.execute(update(Listing).values(group_id="leeds"))
    told = problem(pushing.put("8", uri=uri, title="Taken over", updated=at(2)), 422, "invalid")
    assert told["rule"] == "must not be that of another hub's listing"
    assert pushing.shown() == ["Bicycle repair"]


def test_a_hub_pushes_for_its_own_group_alone(pushing: Pushing) -> None:
    with StaticHub("leeds").serving() as other:
        assert pushing.service.register(other).status_code == 201
        problem(pushing.put(hub=other), 403, "forbidden")
        answer = pushing.service.call(other, "DELETE", "/hubs/nobody/listings/7")
        problem(answer, 403, "forbidden")
        problem(pushing.service.call(other, "GET", pushing.path("7")), 403, "forbidden")
        post = pushing.service.call(
            other, "POST", "/hubs/barcelona/listings", {"listings": [], "complete": True}
        )
        problem(post, 403, "forbidden")
    assert pushing.kept() == 0


def test_who_is_followed_does_not_push(pushing: Pushing) -> None:
    with HubServer("leeds").serving() as other:
        assert pushing.service.register(other).status_code == 201
        answer = pushing.service.call(other, "PUT", "/hubs/leeds/listings/7", repair())
        assert "register with pushes true" in problem(answer, 403, "forbidden")["detail"]
    assert pushing.kept() == 0


@pytest.mark.parametrize("reason", ["suspended", "no longer agreed", "revoked key", "other key"])
def test_who_may_not_push_changes_nothing(pushing: Pushing, reason: str) -> None:
    pushing.put("6", updated=at(1))
    status = 403
    if reason == "suspended":
        with transaction(pushing.engine) as session:
            session.execute(update(Hub).values(state=HubState.SUSPENDED))
    elif reason == "no longer agreed":
        wanted = pushing.hub.registration(listings=False)
        assert pushing.service.call(pushing.hub, "POST", "/hubs", wanted).status_code == 200
    else:
        status = 401
        pushing.hub.key = generate_ed25519()
    before = pushing.kept()
    for answer in (pushing.put(), pushing.delete("6"), pushing.post({"id": "7", **repair()})):
        problem(answer, status, "forbidden" if status == 403 else "unauthenticated")
    assert pushing.kept() == before


def test_unsigned_or_replayed_calls_change_nothing(pushing: Pushing) -> None:
    unsigned = pushing.service.client.put(pushing.path("7"), json=repair())
    problem(unsigned, 401, "unauthenticated")
    without = pushing.service.call(pushing.hub, "PUT", pushing.path("7"), repair(), nonce=None)
    problem(without, 401, "unauthenticated")
    request = pushing.service.request(pushing.hub, "PUT", pushing.path("7"), repair())
    request.headers["content-type"] = "application/json"
    assert pushing.service.client.send(request).status_code == 201
    pushing.delete()
    problem(pushing.service.client.send(request), 401, "unauthenticated")
    assert pushing.shown() == []


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("type", {"type": "gift"}),
        ("title", {"title": ""}),
        ("title", {"title": " \u2800 "}),
        ("title", {"title": "x" * 301}),
        ("title", {"title": 7}),
        ("body", {"body": "x" * 65_537}),
        ("language", {"language": "Catalan, mostly"}),
        ("image", {"image": "javascript:alert(1)"}),
        ("url", {"url": "ftp://hub.example/7"}),
        ("place.lat", {"place": {"lat": 91, "lon": 2}}),
        ("place", {"place": {"lat": 41}}),
        ("precision", {"precision": "exact"}),
        ("remote", {"remote": "yes"}),
        ("payments.0.means", {"payments": [{"means": "cheque"}]}),
        ("payments.0.amount", {"payments": [{"means": "time", "amount": "1,5"}]}),
        ("payments.0.currency", {"payments": [{"means": "national"}]}),
        ("payments.0.currency", {"payments": [{"means": "national", "currency": "BTC"}]}),
        ("updated", {"updated": "yesterday"}),
        ("updated", {"updated": "2026-05-02T10:00:00"}),
        ("searchable", {"searchable": "true"}),
        ("colour", {"colour": "red"}),
        ("categories", {"categories": ["x"] * 51}),
    ],
)
def test_what_breaks_a_rule_is_named_and_has_no_effect(
    pushing: Pushing, field: str, change: Json
) -> None:
    told = problem(pushing.put(**change), 422, "invalid")
    assert told["field"] == field
    assert told["rule"]
    assert pushing.kept() == 0
    (outcome,) = pushing.post({"id": "7", **repair(), **change}).json()["listings"]
    assert (outcome["outcome"], outcome["field"]) == ("refused", field)
    assert pushing.kept() == 0


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b'{"type": "offer", "type": "want"}', "application/json", 400),
        (b'{"type": NaN}', "application/json", 400),
        (b"[" * 200, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{" + b" " * 1024 * 1024, "application/json", 413),
    ],
)
def test_what_cannot_be_read_has_no_effect(
    pushing: Pushing, body: bytes, media_type: str, status: int
) -> None:
    for method, path in (("PUT", pushing.path("7")), ("POST", "/hubs/barcelona/listings")):
        answer = pushing.service.call(pushing.hub, method, path, body, media_type=media_type)
        assert answer.status_code == status
    assert pushing.kept() == 0


def test_a_listing_of_no_name_is_not_there(pushing: Pushing) -> None:
    for name in ("%20", "x" * 101, ".hidden", "a%2Fb"):
        assert pushing.put(name).status_code in {404, 422}, name
    assert pushing.kept() == 0


def test_calls_are_counted_by_hub(pushing: Pushing) -> None:
    with StaticHub("leeds").serving() as other:
        assert pushing.service.register(other).status_code == 201
        for _ in range(30):
            assert pushing.post().status_code == 200
        answer = pushing.post({"id": "1", **repair()})
        problem(answer, 429, "too-many")
        assert int(answer.headers["retry-after"]) > 0
        theirs = pushing.service.call(other, "POST", "/hubs/leeds/listings", {"listings": []})
        assert theirs.status_code == 200
    for _ in range(600):
        pushing.service.services.allowances.pushes.take("", "barcelona")
    problem(pushing.put(), 429, "too-many")
    problem(pushing.delete(), 429, "too-many")
    assert pushing.kept() == 0
