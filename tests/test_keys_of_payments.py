"""Only a key that lives signs a payment, once, in its time; hubs change keys without a gap."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import httpx2
import pytest
from clearing_world import ledger
from every_table import everything
from hub_server import HubServer, Json
from operating import run
from paying_world import World, open_doors, payment, problem
from sqlalchemy import Engine, func, select, update
from statement_world import SEAL

from api import callers
from clearing import work
from commons import database, nonces
from commons.audit_log import Deed
from commons.database import reading, transaction
from commons.groups import Hub, HubKey, HubState, Nonce
from commons.settings import Settings
from commons.signatures import PrivateKey, encode_multikey, generate_ed25519, public_pem
from crawler.hub_keys import revoke_key

AGO: Final = timedelta(seconds=301)
KEPT: Final = nonces.KEPT


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, engine)


@pytest.fixture
def embedded(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    """The same on SQLite alone, for what does not depend on the database."""
    yield from open_doors(settings, sqlite_engine)


def calls(pending: str) -> list[tuple[str, str, Json | None]]:
    """Return a sound call of the hub of Leeds to each route that moves money."""
    back = {"payer": "leeds/moss", "payee": "barcelona/ines", "amount": "1.00"}
    create = {"do": "create", "id": str(uuid.uuid4()), **back}
    return [
        ("PUT", f"/transfers/{uuid.uuid4()}", back),
        ("POST", f"/transfers/{pending}/accept", None),
        ("POST", f"/transfers/{pending}/reject", {"reason": "no"}),
        ("POST", f"/transfers/{pending}/cancel", None),
        ("POST", f"/transfers/{pending}/reverse", {"id": str(uuid.uuid4())}),
        ("POST", "/transfers/batch", {"calls": [create]}),
    ]


def send(world: World, hub: HubServer, **how: Any) -> httpx2.Response:  # noqa: ANN401 (what `call` takes)
    sent = payment("1.00") | {"payer": f"{hub.name}/ines"}
    return world.service.call(hub, "PUT", f"/transfers/{uuid.uuid4()}", sent, **how)


Wrong = Callable[[World], dict[str, Any]]
WRONG: Final[dict[str, Wrong]] = {
    "another key": lambda _: {"key": generate_ed25519()},
    "another hub's key": lambda world: {"key": world.ghent.key},
    "an unknown key": lambda _: {"key_id": "https://elsewhere.example/group#key"},
    "old": lambda _: {"created": datetime.now(UTC) - AGO},
    "future": lambda _: {"created": datetime.now(UTC) + AGO},
    "no nonce": lambda _: {"nonce": None},
    "no digest": lambda _: {"covered": ("@method", "@target-uri")},
    "no address": lambda _: {"covered": ("@method", "content-digest")},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_signature_moves_no_money_on_any_route(embedded: World, wrong: str) -> None:
    pending = embedded.made()
    embedded.see(embedded.leeds, pending)  # the key is remembered
    before = everything(embedded.engine)
    for method, path, body in calls(pending):
        how = WRONG[wrong](embedded)
        answer = embedded.service.call(embedded.leeds, method, path, body, **how)
        problem(answer, 401, "unauthenticated")
        assert everything(embedded.engine) == before, (method, path)


def test_a_replayed_call_does_nothing_on_any_route(world: World) -> None:
    for place in range(len(calls(""))):
        method, path, body = calls(world.made("1.00"))[place]
        request = world.service.request(world.leeds, method, path, body)
        first = world.service.client.send(request)
        assert first.status_code != 401, (path, first.text)
        before = everything(world.engine)
        again = problem(world.service.client.send(request), 401, "unauthenticated")
        assert again["detail"] == nonces.USED_BEFORE
        assert everything(world.engine) == before, (method, path)


def revoke(world: World) -> None:
    with transaction(world.engine) as session:
        revoke_key(session, "leeds", world.leeds.key_id, "operator")


def suspend(world: World) -> None:
    with transaction(world.engine) as session:
        suspended = update(Hub).where(Hub.group_id == "leeds").values(state=HubState.SUSPENDED)
        session.execute(suspended)


def unconfirm(world: World) -> None:
    with transaction(world.engine) as session:
        waiting = update(HubKey).where(HubKey.group_id == "leeds").values(confirmed_at=None)
        session.execute(waiting)


@pytest.mark.parametrize(
    ("end", "said"), [(revoke, "revoked"), (suspend, "not admitted"), (unconfirm, "not confirmed")]
)
def test_a_key_that_ends_moves_no_money_from_then_on(
    world: World, end: Callable[[World], None], said: str
) -> None:
    pending = world.made()
    world.see(world.leeds, pending)  # the key is remembered in the process
    end(world)
    before = everything(world.engine)
    first = world.service.call(world.leeds, "POST", f"/transfers/{pending}/accept")
    assert said in problem(first, 401, "unauthenticated")["detail"]
    with reading(world.engine) as session:
        used = session.scalar(select(func.count()).select_from(Nonce))
    for method, path, body in calls(pending):
        answer = world.service.call(world.leeds, method, path, body)
        assert answer.status_code in {401, 403}, (path, answer.text)
        assert everything(world.engine) == before, (method, path)
    refused = world.service.call(world.leeds, "GET", f"/transfers/{pending}")
    assert refused.status_code in {401, 403}
    with reading(world.engine) as session:  # once it was refused, it is so before it may write
        assert session.scalar(select(func.count()).select_from(Nonce)) == used


def test_the_window_of_a_signature_is_by_the_databases_clock(
    embedded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr(database, "now", lambda _session: ahead)
    problem(send(embedded, embedded.barcelona), 401, "unauthenticated")
    assert send(embedded, embedded.barcelona, created=ahead).status_code == 201


def test_a_key_that_took_anothers_place_under_its_id_signs_from_then_on(
    embedded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "FRESH_SECONDS", 0)  # the remembered one is older than that
    hub, new = embedded.barcelona, generate_ed25519()
    assert send(embedded, hub).status_code == 201
    with transaction(embedded.engine) as session:
        replaced = update(HubKey).where(HubKey.key_id == hub.key_id)
        session.execute(replaced.values(public_key_pem=public_pem(new.public_key())))
    before = everything(embedded.engine)
    problem(send(embedded, hub), 401, "unauthenticated")  # though the process remembers it
    assert everything(embedded.engine) == before
    assert send(embedded, hub, key=new).status_code == 201
    problem(send(embedded, hub), 401, "unauthenticated")


def test_a_hub_that_was_admitted_meanwhile_pays_with_its_first_call(
    embedded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, keyring = embedded.barcelona, embedded.service.services.keyring
    for state in (HubState.SUSPENDED, HubState.ADMITTED):
        with transaction(embedded.engine) as session:
            session.execute(update(Hub).where(Hub.group_id == hub.name).values(state=state))
        known = asyncio.run(keyring.find(embedded.engine, hub.key_id))
        assert not known.clears  # as it was remembered while it was suspended
    monkeypatch.setattr(callers, "FRESH_SECONDS", 0)  # what is remembered is older than that
    assert send(embedded, hub).status_code == 201


def named(hub: HubServer, *keys: tuple[str, PrivateKey]) -> None:
    """Have the hub's actor name these keys beside or in place of its first."""
    methods = [
        {
            "id": key_id,
            "type": "Multikey",
            "controller": hub.actor_uri,
            "publicKeyMultibase": encode_multikey(key.public_key()),
        }
        for key_id, key in keys
    ]
    hub.publish_actor(assertionMethod=methods)


def deeds(engine: Engine) -> list[tuple[str, str, str]]:
    with reading(engine) as session:
        rows = session.scalars(select(Deed).order_by(Deed.number))
        return [(row.actor, row.action, row.subject) for row in rows]


def test_a_key_that_is_not_known_signs_nothing(sqlite_engine: Engine) -> None:
    """It may have been deleted since the signature was verified."""
    with transaction(sqlite_engine) as session:
        used = nonces.Used("https://nowhere.example/key", "n", database.now(session) + KEPT)
        for clearing in (True, False):
            one = replace(used, nonce=str(clearing))
            assert nonces.use(session, [one], clearing=clearing) == {0: nonces.REVOKED}


def test_the_worker_forgets_nonces_that_are_over(engine: Engine) -> None:
    with transaction(engine) as session:
        moment = database.now(session)
        left = {"over": -2 * KEPT, "just over": -timedelta(seconds=1), "valid": KEPT}
        used = [nonces.Used("k", name, moment + left[name]) for name in left]
        assert nonces.take(session, used) == set()
    forget = work.chores(engine, SEAL, lambda _: None)["nonces"]

    async def work_twice() -> list[int]:
        return [await forget(), await forget()]

    assert asyncio.run(work_twice()) == [2, 0]
    with transaction(engine) as session:
        assert nonces.take(session, used) == {2}  # what could still be replayed is kept


def test_a_hub_changes_its_key_without_a_gap(world: World) -> None:
    hub, new = world.barcelona, generate_ed25519()
    new_id = f"{hub.actor_uri}#key-2"
    path = f"/hubs/{hub.name}/keys"
    signed_anew = {"key": new, "key_id": new_id}
    asked = {"key_id": new_id}
    problem(world.service.call(hub, "POST", path, asked), 422, "invalid")  # not named yet
    named(hub, (hub.key_id, hub.key), (new_id, new))
    problem(world.service.call(hub, "POST", path, asked, **signed_anew), 401, "unauthenticated")
    problem(world.service.call(world.ghent, "POST", path, asked), 403, "forbidden")
    added = world.service.call(hub, "POST", path, asked)
    assert added.status_code == 201, added.text
    assert send(world, hub).status_code == 201
    assert send(world, hub, **signed_anew).status_code == 201
    third = f"{hub.actor_uri}#key-3"
    named(hub, (hub.key_id, hub.key), (new_id, new), (third, generate_ed25519()))
    problem(world.service.call(hub, "POST", path, {"key_id": third}), 409, "conflict")
    gone = f"{path}/{quote(hub.key_id, safe='')}"
    problem(world.service.call(world.ghent, "DELETE", gone), 403, "forbidden")
    assert world.service.call(hub, "DELETE", gone, **signed_anew).status_code == 200
    problem(send(world, hub), 401, "unauthenticated")
    assert send(world, hub, **signed_anew).status_code == 201
    # The actor names the revoked key yet, and registering again does not bring it back.
    again = world.service.call(hub, "POST", "/hubs", hub.registration(), **signed_anew)
    assert again.status_code == 200, again.text
    problem(send(world, hub), 401, "unauthenticated")
    wanted = [("hub:barcelona", f"key-{verb}", "barcelona") for verb in ("added", "revoked")]
    assert [deed for deed in deeds(world.engine) if "key" in deed[1]] == wanted


def test_a_new_key_that_no_known_one_vouches_for_waits_for_the_operator(
    embedded: World, settings: Settings
) -> None:
    hub, old, new = embedded.barcelona, embedded.barcelona.key, generate_ed25519()
    new_id = f"{hub.actor_uri}#stolen-server"
    signed_anew = {"key": new, "key_id": new_id}
    named(hub, (hub.key_id, old), (new_id, new))
    registered = embedded.service.call(hub, "POST", "/hubs", hub.registration(), **signed_anew)
    assert registered.status_code == 200, registered.text
    before = everything(embedded.engine)
    told = problem(send(embedded, hub, **signed_anew), 401, "unauthenticated")
    assert "operator" in told["detail"]
    assert everything(embedded.engine) == before
    assert send(embedded, hub).status_code == 201
    operator = settings.model_copy(
        update={"database_url": embedded.engine.url.render_as_string(hide_password=False)}
    )
    assert new_id in run(operator, "hub", "keys", "list", "barcelona").stdout
    confirmed = run(operator, "hub", "keys", "confirm", "barcelona", new_id)
    assert confirmed.exit_code == 0, confirmed.output
    assert send(embedded, hub, **signed_anew).status_code == 201
    revoked = run(operator, "hub", "keys", "revoke", "barcelona", new_id)
    assert revoked.exit_code == 0, revoked.output
    problem(send(embedded, hub, **signed_anew), 401, "unauthenticated")
    assert run(operator, "hub", "keys", "revoke", "barcelona", new_id).exit_code == 1
    assert deeds(embedded.engine)[-2:] == [
        ("operator", "key-confirmed", "barcelona"),
        ("operator", "key-revoked", "barcelona"),
    ]


def test_another_key_under_the_known_id_waits_too(embedded: World) -> None:
    hub = embedded.barcelona
    new = generate_ed25519()
    named(hub, (hub.key_id, new))
    embedded.service.call(hub, "POST", "/hubs", hub.registration(), key=new)
    problem(send(embedded, hub, key=new), 401, "unauthenticated")


def test_a_new_key_that_a_known_one_vouches_for_lives_at_once(embedded: World) -> None:
    hub, new = embedded.barcelona, generate_ed25519()
    new_id = f"{hub.actor_uri}#key-2"
    named(hub, (hub.key_id, hub.key), (new_id, new))
    assert embedded.service.register(hub).status_code == 200
    assert send(embedded, hub, key=new, key_id=new_id).status_code == 201


def test_a_key_that_a_person_revoked_never_lives_again(embedded: World) -> None:
    hub, old, new, fresh = embedded.barcelona, embedded.barcelona.key, *two_keys()
    new_id, third = f"{hub.actor_uri}#key-2", f"{hub.actor_uri}#key-3"
    signed_anew: Json = {"key": new, "key_id": new_id}
    keys = f"/hubs/{hub.name}/keys"
    named(hub, (hub.key_id, old), (new_id, new))
    assert embedded.service.register(hub).status_code == 200
    gone = f"{keys}/{quote(hub.key_id, safe='')}"
    assert embedded.service.call(hub, "DELETE", gone, **signed_anew).status_code == 200
    before = ledger(embedded.engine)
    # Another key under its id, then the old one there again; then the old one under another id.
    for key_id, key in ((hub.key_id, fresh), (hub.key_id, old), (third, old)):
        named(hub, (key_id, key), (new_id, new))
        asked = embedded.service.call(hub, "POST", keys, {"key_id": key_id}, **signed_anew)
        assert "revoked" in problem(asked, 409, "conflict")["detail"]
        again = embedded.service.call(hub, "POST", "/hubs", hub.registration(), **signed_anew)
        assert again.status_code == 200, again.text
        for signed in ({"key_id": key_id, "key": key}, {"key": old}):
            refused = problem(send(embedded, hub, **signed), 401, "unauthenticated")
            assert "revoked" in refused["detail"]
    assert ledger(embedded.engine) == before
    named(hub, (f"{hub.actor_uri}#key-4", fresh), (new_id, new))
    again = embedded.service.call(hub, "POST", "/hubs", hub.registration(), **signed_anew)
    assert again.status_code == 200, again.text
    lives = {"key": fresh, "key_id": f"{hub.actor_uri}#key-4"}
    assert send(embedded, hub, **lives).status_code == 201


def two_keys() -> tuple[PrivateKey, PrivateKey]:
    return generate_ed25519(), generate_ed25519()


def test_a_key_under_two_ids_is_revoked_under_both(embedded: World) -> None:
    hub, twin = embedded.barcelona, f"{embedded.barcelona.actor_uri}#twin"
    named(hub, (hub.key_id, hub.key), (twin, hub.key))
    assert embedded.service.register(hub).status_code == 200
    assert send(embedded, hub, key_id=twin).status_code == 201
    with transaction(embedded.engine) as session:
        revoke_key(session, "barcelona", hub.key_id, "operator")
    before = ledger(embedded.engine)
    problem(send(embedded, hub, key_id=twin), 401, "unauthenticated")
    assert ledger(embedded.engine) == before


def replace_key(world: World) -> None:
    other = update(HubKey).where(HubKey.group_id == "leeds")
    with transaction(world.engine) as session:
        pem = public_pem(generate_ed25519().public_key())
        session.execute(other.values(public_key_pem=pem))


@pytest.mark.parametrize("end", [revoke, replace_key])
def test_a_key_that_ends_reads_and_shares_nothing_from_then_on(
    world: World, end: Callable[[World], None]
) -> None:
    pending = world.made()
    asked = [
        ("GET", "/accounts/leeds", None),
        ("GET", f"/transfers/{pending}", None),
        ("GET", "/hubs/leeds", None),
        ("PUT", "/hubs/leeds/listings/bread", {"type": "offer", "title": "Bread"}),
        ("PUT", f"/transfers/{uuid.uuid4()}", payment("1.00")),
    ]
    for method, path, body in asked[:-1]:
        answer = world.service.call(world.leeds, method, path, body)
        assert answer.status_code != 401, (path, answer.text)  # the key is remembered
    end(world)
    before = everything(world.engine)
    for method, path, body in asked:
        answer = world.service.call(world.leeds, method, path, body)
        problem(answer, 401, "unauthenticated")
        assert everything(world.engine) == before, (method, path)
