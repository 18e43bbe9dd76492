"""Hubs without ActivityPub push their listings as JSON: taken, replaced, withdrawn."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hub_server import HubServer, at
from paying_world import problem
from pushing_world import Pushing, StaticHub, pushing_hub, repair
from served import served
from sqlalchemy import Engine, func, select, update

from commons.database import now, reading, transaction
from commons.settings import Settings
from crawler.peers import GONE_AFTER, Peer, PeerKind, PeerState
from marketplace.drafts import listing_id


@pytest.fixture
def pushing(settings: Settings, engine: Engine) -> Iterator[Pushing]:
    yield from pushing_hub(settings, engine)


def test_an_actor_that_is_but_a_file_registers_and_is_neither_followed_nor_read(
    pushing: Pushing,
) -> None:
    pushing.service.work()
    peer = pushing.peer()
    assert (peer.kind, peer.state) == (PeerKind.PUSH, PeerState.CONSENTED)
    assert pushing.hub.taken == []
    assert "/outbox" not in pushing.hub.asked
    assert pushing.service.get("/hubs/barcelona/health").status_code == 200


def test_without_pushes_an_actor_needs_its_inbox(settings: Settings, engine: Engine) -> None:
    with served(settings, engine) as service, StaticHub("barcelona").serving() as hub:
        wanted = hub.registration(pushes=False)
        problem(service.call(hub, "POST", "/hubs", wanted), 422, "invalid")
        with reading(engine) as session:
            assert session.scalar(select(func.count()).select_from(Peer)) == 0


def test_a_pushed_listing_is_found(pushing: Pushing) -> None:
    answer = pushing.put(
        language="ca",
        categories=["repair"],
        url=f"{pushing.hub.base}/offers/7",
        place={"name": "Gràcia", "lat": 41.40123, "lon": 2.15456},
        payments=[{"means": "time", "amount": "1"}, {"means": "national", "currency": "EUR"}],
        updated=at(1),
        expires_at="2199-01-01T00:00:00Z",
    )
    assert answer.status_code == 201, answer.text
    uri = f"{pushing.service.url}/hubs/barcelona/listings/7"
    assert answer.json() == {
        "id": "7",
        "uri": uri,
        "outcome": "inserted",
        "field": None,
        "reason": None,
    }
    pushing.service.work()
    found = pushing.service.get("/listings", q="bicycle").json()
    assert [one["id"] for one in found["hits"]] == [listing_id(uri)]
    row = pushing.listing(uri)
    assert row.body == "<p>Brakes</p><p>and gears</p>"
    assert row.payments == [
        {"means": "time", "amount": "1"},
        {"means": "national", "currency": "EUR"},
    ]
    assert (row.group_id, row.author_uri) == ("barcelona", pushing.hub.actor_uri)
    assert (row.consent_basis, row.consented_by) == ("hub", pushing.hub.actor_uri)
    why = pushing.service.get(f"/listings/{row.id}/why").json()
    assert (why["basis"], why["asked_by"]["how"]) == ("hub", "sent")
    assert row.lat is not None
    assert row.lat != pytest.approx(41.40123, abs=1e-5)  # the middle of its cell


def test_its_made_up_address_leads_to_the_listing(pushing: Pushing) -> None:
    uri = pushing.put().json()["uri"]
    unsigned = pushing.service.get(pushing.path("7"))
    assert unsigned.status_code == 303
    assert unsigned.headers["location"] == f"/listings/{listing_id(uri)}"
    assert pushing.stands()["state"] == "shown"
    assert pushing.stands()["listing"] == listing_id(uri)
    pushing.delete()
    problem(pushing.service.get(pushing.path("7")), 404, "not-found")
    assert (pushing.stands()["state"], pushing.stands()["reason"]) == ("withdrawn", "deleted")


def test_the_same_again_changes_nothing(pushing: Pushing) -> None:
    assert pushing.put(updated=at(1)).status_code == 201
    uri = pushing.stands()["uri"]
    revision = pushing.listing(uri).revision
    again = pushing.put(updated=at(1))
    assert (again.status_code, again.json()["outcome"]) == (200, "unchanged")
    assert pushing.listing(uri).revision == revision


def test_a_newer_version_replaces_and_an_older_never_does(pushing: Pushing) -> None:
    pushing.put(updated=at(1))
    newer = pushing.put(title="Bicycle care", updated=at(2))
    assert (newer.status_code, newer.json()["outcome"]) == (200, "updated")
    problem(pushing.put(title="Bicycle sale", updated=at(1)), 409, "conflict")
    assert pushing.shown() == ["Bicycle care"]


def test_without_updated_each_call_is_a_newer_version(pushing: Pushing) -> None:
    pushing.put()
    assert pushing.put(title="Bicycle care").json()["outcome"] == "updated"
    assert pushing.delete().status_code == 204
    assert pushing.put(title="Bicycle sale").json()["outcome"] == "updated"
    assert pushing.shown() == ["Bicycle sale"]


def test_what_is_deleted_stays_deleted_for_versions_before(pushing: Pushing) -> None:
    pushing.put(updated=at(1))
    assert pushing.delete().status_code == 204
    assert pushing.delete().status_code == 204
    assert pushing.shown() == []
    problem(pushing.put(updated=at(2)), 409, "conflict")
    assert pushing.shown() == []


def test_a_delete_before_its_put_is_remembered(pushing: Pushing) -> None:
    assert pushing.delete("9").status_code == 204
    problem(pushing.put("9", updated=at(1)), 409, "conflict")
    assert pushing.shown() == []


def test_the_authors_no_keeps_a_listing_out_and_takes_it_away(pushing: Pushing) -> None:
    refused = pushing.put(searchable=False)
    assert (refused.status_code, refused.json()["outcome"]) == (200, "refused")
    assert pushing.kept() == 0
    pushing.put("8", updated=at(1))
    pushing.put("8", updated=at(2), searchable=False)
    assert pushing.shown() == []
    assert pushing.stands("8")["reason"] == "consent"
    pushing.put("8", updated=at(3), searchable=True)
    assert pushing.listing(pushing.stands("8")["uri"]).consent_basis == "object-searchable-by"


def test_the_hubs_own_address_is_kept_as_it_is(pushing: Pushing) -> None:
    uri = f"{pushing.hub.base}/offers/7"
    assert pushing.put(uri=uri).json()["uri"] == uri
    assert pushing.shown() == ["Bicycle repair"]
    problem(pushing.put(uri=f"{pushing.hub.base}/offers/8"), 422, "invalid")
    assert problem(pushing.put("8", uri=uri), 422, "invalid")["field"] == "uri"
    assert pushing.kept() == 2
    assert pushing.delete().status_code == 204
    assert pushing.shown() == []


def test_a_bad_one_among_many_does_not_spoil_the_others(pushing: Pushing) -> None:
    many = [
        {"id": "1", **repair(title="One")},
        {"id": "2", **repair(title="")},
        {"id": "3", **repair(title="Three")},
        {"id": "3", **repair(title="Three again")},
        {"id": "4", **repair(title="Four"), "uri": "https://other.example/4"},
        {"id": "5", **repair(title="Five"), "searchable": False},
    ]
    answer = pushing.post(*many)
    assert answer.status_code == 200, answer.text
    told = [(one["id"], one["outcome"], one["field"]) for one in answer.json()["listings"]]
    assert told == [
        ("1", "inserted", None),
        ("2", "refused", "title"),
        ("3", "inserted", None),
        ("3", "refused", "id"),
        ("4", "refused", "uri"),
        ("5", "refused", None),
    ]
    assert pushing.shown() == ["One", "Three"]


def test_a_complete_list_withdraws_what_it_does_not_name(pushing: Pushing) -> None:
    first = [{"id": str(number), **repair(title=f"No. {number}")} for number in range(4)]
    assert pushing.post(*first).json()["withdrawn"] == 0
    bad = {"id": "1", **repair(title="")}
    told = pushing.post(first[0], bad, complete=True).json()
    assert told["withdrawn"] == 2
    assert pushing.shown() == ["No. 0", "No. 1"]  # named, if wrongly, so it stays
    assert pushing.stands("2")["reason"] == "missing"
    assert pushing.post(first[2]).json()["listings"][0]["outcome"] == "updated"
    assert pushing.shown() == ["No. 0", "No. 1", "No. 2"]
    assert pushing.post(complete=True).json()["withdrawn"] == 3
    assert pushing.shown() == []


def test_a_list_with_a_nameless_listing_changes_nothing(pushing: Pushing) -> None:
    pushing.put("1")
    told = problem(pushing.post({"id": "2", **repair()}, repair(), complete=True), 422, "invalid")
    assert told["field"] == "listings.1.id"
    assert pushing.shown() == ["Bicycle repair"]


def test_a_thousand_at_once_are_taken_and_one_more_is_refused(pushing: Pushing) -> None:
    many = [{"id": str(n), **repair(title=f"No. {n}")} for n in range(1001)]
    problem(pushing.post(*many), 422, "invalid")
    assert pushing.kept() == 0
    told = pushing.post(*many[:1000], complete=True).json()["listings"]
    assert [one["id"] for one in told] == [str(n) for n in range(1000)]
    assert {one["outcome"] for one in told} == {"inserted"}


def test_a_hub_silent_for_thirty_days_is_gone_and_comes_back_with_its_next_call(
    pushing: Pushing,
) -> None:
    pushing.put(updated=at(1))
    assert pushing.peer().state is PeerState.LIVE
    with transaction(pushing.engine) as session:
        long_ago = now(session) - GONE_AFTER - timedelta(minutes=1)
        session.execute(update(Peer).values(last_heard_at=long_ago, due_at=now(session)))
    pushing.service.work()
    assert pushing.shown() == []
    assert pushing.peer().state is PeerState.GONE
    assert pushing.stands()["reason"] == "hub-gone"
    assert pushing.put(updated=at(1)).json()["outcome"] == "updated"
    assert pushing.shown() == ["Bicycle repair"]


def test_a_hub_that_is_not_silent_stays(pushing: Pushing) -> None:
    pushing.put(updated=at(1))
    with transaction(pushing.engine) as session:
        session.execute(update(Peer).values(due_at=now(session)))
    pushing.service.work()
    assert pushing.shown() == ["Bicycle repair"]
    assert pushing.peer().due_at is not None


def test_a_hub_that_learns_activitypub_is_followed_from_then_on(pushing: Pushing) -> None:
    pushing.put(updated=at(1))
    HubServer.publish_actor(pushing.hub)
    wanted = pushing.hub.registration(pushes=False)
    assert pushing.service.call(pushing.hub, "POST", "/hubs", wanted).status_code == 200
    assert pushing.peer().kind is PeerKind.ACTIVITYPUB
    pushing.service.work()  # the peer, which puts a Follow on its way,
    pushing.service.work()  # and then the delivery
    assert [activity["type"] for activity in pushing.hub.taken] == ["Follow"]
    problem(pushing.put(updated=at(2)), 403, "forbidden")


def test_the_page_of_the_interface_describes_a_listing(pushing: Pushing) -> None:
    described = pushing.service.get("/openapi.json").json()
    body = described["paths"]["/hubs/{group_id}/listings/{name}"]["put"]["requestBody"]
    assert "payments" in json.dumps(body)
