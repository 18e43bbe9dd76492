"""The examples of docs/client.md do what they say, as they stand there."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from between import Pauses
from clearing_world import assert_sound
from client_world import client_of, pay, posted
from house import REPOSITORY
from paying_world import World, open_doors
from sqlalchemy import Engine
from test_keys_of_payments import named

from clearing.client import Client, Signer
from commons.settings import Settings
from commons.signatures import generate_ed25519


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def examples() -> str:
    """Return all code below "Calls by example", of groups that the tests have."""
    page = (REPOSITORY / "docs" / "client.md").read_text(encoding="utf-8")
    section = page.partition("## Calls by example")[2].partition("\n## ")[0]
    blocks = [part.partition("```")[0] for part in section.split("```python\n")[1:]]
    assert len(blocks) > 3
    return "\n".join(blocks).replace("gracia", "barcelona")


def test_every_example_of_the_page_is_carried_out(world: World) -> None:
    hub, new = world.leeds, generate_ed25519()
    new_id = f"{hub.actor_uri}#key-2"
    with (
        client_of(world, world.barcelona, Pauses()) as barcelona,
        client_of(world, hub, Pauses()) as leeds,
    ):
        first = posted(barcelona, leeds)
        owed = leeds.create(uuid.uuid4(), "leeds/moss", "barcelona/ines", "20.00")
        barcelona.accept(uuid.UUID(owed["id"]))
        theirs, others = pay(barcelona, "1.00"), pay(barcelona, "2.00")
        named(hub, (hub.key_id, hub.key), (new_id, new))
        told: dict[str, Any] = {
            "localpay": leeds,
            "Client": Client,
            "Signer": Signer,
            "url": world.service.url,
            "posted": first,
            "theirs": theirs,
            "others": others,
            "payment_id": uuid.uuid4(),
            "new_key_id": new_id,
            "new_key": new,
            "old_key_id": hub.key_id,
        }
        exec(examples(), told)  # noqa: S102 (our own page)
        assert barcelona.transfer(theirs)["state"] == "posted"
        assert barcelona.transfer(others)["reason_code"] == "unknown-member"
        assert barcelona.transfer(told["payment_id"])["state"] == "cancelled"
    assert {one["up_to"] for one in told["policy"]["accepts"]} == {"20.00", "5.00"}
    assert world.service.call(hub, "GET", f"/transfers/{first}").status_code == 401
    signed_anew = {"key": new, "key_id": new_id}
    assert world.service.call(hub, "GET", f"/transfers/{first}", **signed_anew).status_code == 200
    assert_sound(world.engine)
