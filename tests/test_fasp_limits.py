"""How much is asked of servers that share, how often, and where nothing goes."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fasp_world import World, sharing
from internet import Internet
from sqlalchemy import Engine, func, select, update

from commons.database import now, transaction
from commons.errors import (
    AddressRefusedError,
    FetchError,
)
from commons.fetch import Door
from commons.settings import Settings
from crawler.fasp import looking
from crawler.fasp.rows import AnnouncedObject, FaspServer, FaspState
from crawler.fasp.sharing import CONTINUATIONS_MOST
from crawler.peers import Peer, PeerKind, PeerState


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from sharing(settings, engine)


@pytest.fixture
def active(world: World) -> World:
    world.activate()
    return world


def test_a_back_fill_goes_on_until_there_is_no_more(active: World) -> None:
    first, second = active.fedi.post(1), active.fedi.post(2)
    continuation = f"/data_sharing/v0/backfill_requests/{active.fedi.made('backfill_requests')}"
    assert active.fedi.fill_back(active.service, first["id"], more=True).status_code == 204
    active.hurry()
    active.service.work()
    assert active.fedi.paths().count(f"POST {continuation}/continuation") == 1
    active.fedi.fill_back(active.service, second["id"], more=False)
    active.hurry()
    active.service.work()
    assert active.fedi.paths().count(f"POST {continuation}/continuation") == 1
    assert active.shown() == ["Bicycle repair 1", "Bicycle repair 2"]


def test_a_back_fill_that_the_server_ends_is_over(active: World) -> None:
    active.fedi.more = False
    active.fedi.fill_back(active.service, active.fedi.post(1)["id"], more=True)
    active.service.work()
    server = active.server()
    assert (server.has_more, server.due_at, server.last_error) == (False, None, None)


def test_an_endless_back_fill_ends(active: World) -> None:
    with transaction(active.engine) as session:
        session.execute(update(FaspServer).values(continuations=CONTINUATIONS_MOST))
    calls = len(active.fedi.calls)
    active.fedi.fill_back(active.service, active.fedi.post(1)["id"], more=True)
    active.service.work()
    assert len(active.fedi.calls) == calls


def test_more_is_asked_for_when_there_is_room_again(active: World) -> None:
    uris = [f"{active.fedi.base}/notes/{number}" for number in range(400)]
    calls = len(active.fedi.calls)
    active.fedi.fill_back(active.service, *uris, more=True)
    active.service.work()
    assert len(active.fedi.calls) == calls
    due_at = active.server().due_at
    assert due_at is not None
    assert due_at > datetime.now(UTC) + timedelta(minutes=9)


@pytest.mark.parametrize(
    "uri",
    [
        "https://127.0.0.1/1",
        "https://10.0.0.1/1",
        "https://169.254.169.254/latest",
        "https://[::1]/1",
        "https://[::ffff:10.0.0.1]/1",
        "https://fedi.example:8443/1",
        "http://fedi.example/1",
        "https://root@fedi.example/1",
        "https://inside.example/1",
        "https://2130706433/1",
    ],
)
def test_no_packet_goes_to_an_address_that_is_not_public(
    sqlite_engine: Engine,
    tmp_path: Path,
    uri: str,
) -> None:
    settings = Settings(data_dir=tmp_path, base_url="https://localpay.example")
    internet = Internet(names={"inside.example": [["192.168.0.7"]]})
    with transaction(sqlite_engine) as session:
        row_id = _announced(session, uri)

    async def look() -> None:
        door = Door(settings, network=internet, resolve=internet.resolve, polite=False)
        try:
            await looking.look(sqlite_engine, door, row_id)
        finally:
            await door.aclose()

    with pytest.raises(FetchError) as refused:
        asyncio.run(look())
    assert isinstance(refused.value, AddressRefusedError) or "inside" in uri
    assert internet.connected == []
    with transaction(sqlite_engine) as session:
        looking.give_up(session, row_id, refused.value.detail)
        assert session.scalar(select(func.count()).select_from(AnnouncedObject)) == 0


def _announced(session: Any, uri: str) -> int:  # noqa: ANN401
    moment = now(session)
    base_url = "https://fedi.example/fasp"
    peer = Peer(actor_uri=base_url, kind=PeerKind.FASP, found_by="", state=PeerState.LIVE)
    peer.state_since, peer.attempts, peer.crawl_offset = moment, 0, 0
    session.add(peer)
    session.flush()
    server = FaspServer(address="https://fedi.example", server_id="x", state=FaspState.ACTIVE)
    server.state_since = server.requested_at = moment
    server.base_url, server.peer_id, server.attempts = base_url, peer.id, 0
    server.has_more, server.continuations = False, 0
    session.add(server)
    session.flush()
    row = AnnouncedObject(server_id=server.id, uri=uri, listing_uris=[], attempts=0, due_at=moment)
    session.add(row)
    session.flush()
    return row.id
