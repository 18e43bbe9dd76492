"""Hubs register and call, signed; whoever is not who they say gets nothing done."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hub_server import HubServer
from served import Served, served, verified_by_our_key
from sqlalchemy import Engine, func, select

from commons.database import reading, transaction
from commons.groups import Group, Hub, HubKey, HubState, Nonce
from commons.settings import Settings
from commons.signatures import generate_ed25519, generate_rsa, public_pem


@pytest.fixture
def service(settings: Settings, engine: Engine) -> Iterator[Served]:
    with served(settings, engine) as service:
        yield service


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as hub:
        yield hub


def count(service: Served, table: type) -> int:
    with reading(service.services.engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def admitted(service: Served, hub: HubServer) -> None:
    assert service.register(hub).status_code == 201
    service.admit(hub.name)


def test_a_hub_registers_and_waits_for_the_operator(service: Served, hub: HubServer) -> None:
    answer = service.register(hub)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["id"], told["state"], told["actor"]) == ("barcelona", "registered", hub.actor_uri)
    assert told["peer"]["state"] == "consented"
    assert service.get("/hubs/barcelona").json() == told


def test_registering_again_changes_nothing(service: Served, hub: HubServer) -> None:
    service.register(hub)
    again = service.register(hub)
    assert again.status_code == 200
    assert again.json()["id"] == "barcelona"
    assert count(service, Group) == 1


def test_a_group_is_shown_once_its_hub_has_agreed(service: Served, hub: HubServer) -> None:
    service.call(hub, "POST", "/hubs", hub.registration(listings=False))
    assert service.get("/groups").json() == {"groups": []}
    assert service.get("/groups/barcelona").status_code == 404
    service.register(hub)
    assert service.get("/groups").json()["groups"][0]["currency"]["code"] == "HORA"
    assert service.get("/groups/barcelona").json()["place_name"] == "Gràcia"


@pytest.mark.parametrize("fault", ["unsigned", "other key", "other body"])
def test_a_forged_registration_stores_nothing(service: Served, hub: HubServer, fault: str) -> None:
    if fault == "unsigned":
        answer = service.client.post("/hubs", json=hub.registration())
    elif fault == "other key":
        answer = service.call(hub, "POST", "/hubs", hub.registration(), key=generate_ed25519())
    else:
        request = service.request(hub, "POST", "/hubs", hub.registration())
        changed = request.content.replace(b"HORA", b"OROH")
        answer = service.client.post("/hubs", content=changed, headers=request.headers)
    assert answer.status_code == 401, answer.text
    assert (count(service, Hub), count(service, HubKey), count(service, Nonce)) == (0, 0, 0)


def test_a_hub_cannot_register_another_actor(service: Served, hub: HubServer) -> None:
    with HubServer("leeds").serving() as other:
        answer = service.call(hub, "POST", "/hubs", other.registration())
    assert answer.status_code == 403
    assert count(service, Hub) == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"group": "Barcelona!"}, "group"),
        ({"colour": "red"}, "colour"),
        ({"listings": "yes"}, "listings"),
        ({"currency": {"uri": "https://hub.example/c"}}, "currency.code"),
        ({"actor": 7}, "actor"),
    ],
)
def test_a_broken_registration_names_its_field(
    service: Served, hub: HubServer, change: dict[str, object], field: str
) -> None:
    answer = service.call(hub, "POST", "/hubs", hub.registration(**change))
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field
    assert count(service, Hub) == 0


def test_an_admitted_hub_reads_its_own_account_only(service: Served, hub: HubServer) -> None:
    admitted(service, hub)
    assert service.call(hub, "GET", "/accounts/barcelona").json()["balance"] == "0.0000"
    assert service.call(hub, "GET", "/accounts/leeds").status_code == 404


def test_a_hub_that_is_not_admitted_may_not_call(service: Served, hub: HubServer) -> None:
    service.register(hub)
    assert service.call(hub, "GET", "/accounts/barcelona").status_code == 403
    service.admit("barcelona")
    with transaction(service.services.engine) as session:
        session.get_one(Hub, "barcelona").state = HubState.SUSPENDED
    assert service.call(hub, "GET", "/accounts/barcelona").status_code == 403


def test_an_unsigned_call_is_not_answered(service: Served, hub: HubServer) -> None:
    admitted(service, hub)
    assert service.get("/accounts/barcelona").status_code == 401


@pytest.mark.parametrize(
    "said",
    [
        {"nonce": None},
        {"created": datetime.now(UTC) - timedelta(hours=1)},
        {"created": datetime.now(UTC) + timedelta(hours=1)},
        {"covered": ("@method",)},
        {"covered": ("@target-uri",)},
        {"key": generate_ed25519()},
        {"key_id": "https://elsewhere.example/group#key"},
    ],
)
def test_a_signature_that_does_not_hold_is_refused(
    service: Served, hub: HubServer, said: dict[str, object]
) -> None:
    admitted(service, hub)
    answer = service.call(hub, "GET", "/accounts/barcelona", **said)
    assert answer.status_code == 401, answer.text


def test_a_repeated_call_is_refused(service: Served, hub: HubServer) -> None:
    admitted(service, hub)
    request = service.request(hub, "GET", "/accounts/barcelona")
    assert service.client.send(request).status_code == 200
    assert service.client.send(request).status_code == 401


def test_a_signature_for_one_address_does_not_serve_another(
    service: Served, hub: HubServer
) -> None:
    admitted(service, hub)
    request = service.request(hub, "GET", "/obligations")
    answer = service.client.get("/accounts/barcelona", headers=request.headers)
    assert answer.status_code == 401
    answer = service.client.get("/obligations?of=leeds", headers=request.headers)
    assert answer.status_code == 401
    assert service.client.send(request).status_code == 200


def test_a_call_meant_for_another_host_is_refused(service: Served, hub: HubServer) -> None:
    admitted(service, hub)
    request = service.request(hub, "GET", "/accounts/barcelona")
    request.headers["Host"] = "elsewhere.example"
    assert service.client.send(request).status_code == 400


def test_a_revoked_key_opens_nothing(service: Served, hub: HubServer) -> None:
    admitted(service, hub)
    with transaction(service.services.engine) as session:
        session.get_one(HubKey, hub.key_id).revoked_at = datetime.now(UTC)
    assert service.call(hub, "GET", "/accounts/barcelona").status_code == 401


def test_an_rsa_key_signs_no_call(service: Served, hub: HubServer) -> None:
    rsa, rsa_id = generate_rsa(), f"{hub.actor_uri}#main-key"
    described = {"id": rsa_id, "owner": hub.actor_uri, "publicKeyPem": public_pem(rsa.public_key())}
    hub.publish_actor(publicKey=described)
    admitted(service, hub)
    assert count(service, HubKey) == 2
    answer = service.call(hub, "GET", "/accounts/barcelona", key=rsa, key_id=rsa_id)
    assert answer.status_code == 401
    assert "Ed25519" in answer.json()["detail"]


def test_answers_to_hubs_are_signed_problems_too(service: Served, hub: HubServer) -> None:
    admitted(service, hub)
    good = service.call(hub, "GET", "/accounts/barcelona")
    assert good.status_code == 200
    assert verified_by_our_key(service, good)
    for path in ("/accounts/leeds", "/nowhere", "/transfers?limit=many"):
        bad = service.call(hub, "GET", path)
        assert bad.status_code in {404, 422}
        assert verified_by_our_key(service, bad)


def test_an_answer_to_nobody_is_not_signed(service: Served) -> None:
    assert "signature" not in service.get("/groups").headers
