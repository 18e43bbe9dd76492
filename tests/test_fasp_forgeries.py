"""What a server, or somebody in its name, sends amiss has no effect."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fasp_world import ACTIVATION, World, sharing
from hub_server import Json
from paying_world import problem
from sqlalchemy import Engine, update

from commons.database import transaction
from commons.errors import (
    UnavailableError,
)
from commons.settings import Settings
from commons.signatures import generate_ed25519
from crawler.fasp.rows import FaspServer, FaspState
from crawler.fasp.sharing import URIS_MOST

_ONE = ["https://fedi.example/1"]


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from sharing(settings, engine)


@pytest.fixture
def active(world: World) -> World:
    world.activate()
    return world


def _spoilt(name: str) -> Callable[[int, list[tuple[str, str]], bytes], Any]:
    def spoil(status: int, headers: list[tuple[str, str]], body: bytes) -> Any:  # noqa: ANN401
        kept = dict(headers)
        if name == "body":
            body = body.replace(b'"id": ', b'"id": 1')
        elif name == "status":
            status = 200
        elif name == "covered":
            kept["Signature-Input"] = kept["Signature-Input"].replace('"@status" ', "")
        elif name == "twice":
            return status, [*headers, ("Signature", kept["Signature"])], body
        else:
            del kept[name]
        return status, list(kept.items()), body

    return spoil


@pytest.mark.parametrize(
    "spoilt",
    [
        "body",
        "status",
        "covered",
        "twice",
        "Signature",
        "Signature-Input",
        "Content-Digest",
    ],
)
def test_an_answer_that_the_server_did_not_sign_so_is_not_believed(
    world: World, spoilt: str
) -> None:
    world.accept()
    world.fedi.call(world.service, "POST", ACTIVATION)
    world.fedi.spoil = _spoilt(spoilt)
    world.service.work()
    server = world.server()
    assert server.last_error
    assert (server.subscription_id, server.attempts) == (None, 1)


@pytest.mark.parametrize("minutes", [-6, 6])
@pytest.mark.parametrize("names_key", [True, False])
def test_an_answer_signed_at_another_time_is_not_believed(
    world: World, minutes: int, *, names_key: bool
) -> None:
    world.accept()
    world.fedi.call(world.service, "POST", ACTIVATION)
    world.fedi.names_key = names_key
    world.fedi.signed_at = datetime.now(UTC) + timedelta(minutes=minutes)
    world.service.work()
    assert world.server().subscription_id is None
    assert "just now" in (world.server().last_error or "")


def test_a_registration_answered_unsigned_or_by_another_key_is_none(world: World) -> None:
    world.fedi.spoil = _spoilt("Signature")
    with pytest.raises(UnavailableError):
        world.accept()
    world.fedi.spoil = lambda status, headers, body: (
        status,
        headers,
        body.replace(b'"faspId": "d', b'"faspId": "e'),
    )
    with pytest.raises(UnavailableError):
        world.accept()
    assert world.server().state is FaspState.REQUESTED


@pytest.mark.parametrize(
    "fault", ["key", "id", "digest", "old", "method", "address", "body", "unsigned", "not yet"]
)
def test_a_forged_announcement_has_no_effect(active: World, fault: str) -> None:
    post = active.fedi.post(1)
    source = {"subscription": {"id": active.fedi.made("event_subscriptions")}}
    said = {"source": source, "category": "content", "eventType": "new", "objectUris": [post["id"]]}
    hows: dict[str, dict[str, Any]] = {
        "key": {"key": generate_ed25519()},
        "id": {"key_id": "somebody"},
        "digest": {"covered": ("@method", "@target-uri")},
        "method": {"covered": ("@target-uri", "content-digest")},
        "address": {"covered": ("@method", "content-digest")},
        "old": {"created": datetime.now(UTC) - timedelta(minutes=6)},
    }
    path = "/data_sharing/v0/announcements"
    request = active.fedi.request(active.service, "POST", path, said, **hows.get(fault, {}))
    client = active.service.client
    if fault == "body":
        body = request.content.replace(b"proposals/1", b"proposals/2")
        request = client.build_request("POST", request.url, content=body, headers=request.headers)
    elif fault == "unsigned":
        request = client.build_request("POST", request.url, json=said)
    elif fault == "not yet":
        with transaction(active.engine) as session:
            session.execute(update(FaspServer).values(public_key=None))
    problem(client.send(request), 401, "unauthenticated")
    active.service.work()
    assert (active.waiting(), active.listings()) == (0, 0)
    assert "/proposals/1" not in active.fedi.asked


def test_a_call_without_body_must_cover_its_digest_too(world: World) -> None:
    world.accept()
    answer = world.fedi.call(world.service, "POST", ACTIVATION, covered=("@method", "@target-uri"))
    problem(answer, 401, "unauthenticated")
    assert world.server().state is FaspState.REGISTERED


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"source": {"subscription": {"id": "1"}}, "objectUris": _ONE}, 404),
        ({"source": {"backfillRequest": {"id": "1"}}, "eventType": None, "objectUris": _ONE}, 404),
        ({"source": {}, "objectUris": _ONE}, 422),
        ({"category": "account", "objectUris": _ONE}, 422),
        ({"eventType": "trending", "objectUris": _ONE}, 422),
        ({"eventType": None, "objectUris": _ONE}, 422),
        ({"objectUris": []}, 422),
        ({"objectUris": ["nonsense"]}, 422),
        ({"objectUris": ["https://fedi.example/\u0000"]}, 400),
        ({"objectUris": ["https://fedi.example/\u0007"]}, 422),
        ({"objectUris": ["https://fedi.example/" + "x" * 2048]}, 422),
        ({"objectUris": [7]}, 422),
        ({"objectUris": [f"https://fedi.example/{n}" for n in range(URIS_MOST + 1)]}, 413),
        ({"objectUris": [f"https://fedi.example/{n}" for n in range(10_000)]}, 413),
    ],
)
def test_what_we_did_not_ask_for_has_no_effect(active: World, change: Json, status: int) -> None:
    answer = active.fedi.announce(active.service, **change)
    assert answer.status_code == status, answer.text
    assert active.fedi.is_ours(answer)
    assert active.waiting() == 0


def test_what_answers_a_call_that_is_still_under_way_is_asked_for_again(world: World) -> None:
    world.accept()
    world.fedi.call(world.service, "POST", ACTIVATION)
    world.fedi.ids["event_subscriptions"] = 3446
    answer = world.fedi.announce(world.service, "https://fedi.example/1")
    problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) == 30
