"""Proofs kept with listings: checked again from the hashes, without positions, gone with them."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hub_server import HubServer, Json
from hypothesis import given
from hypothesis import strategies as st
from served import Served, served
from sqlalchemy import Engine, func, select, update

from commons import proofs
from commons.database import reading, transaction
from commons.key_formats import (
    decode_base58,
    decode_multikey,
    encode_base58,
    encode_multikey,
    generate_ed25519,
)
from commons.settings import Settings
from crawler.proofs import OPTIONS_MAX_BYTES, ListingProof, names_position
from marketplace.listings import Listing

KEY: Ed25519PrivateKey = generate_ed25519()
CONTEXT = ["https://www.w3.org/ns/activitystreams", "https://w3id.org/security/data-integrity/v2"]
PLACE = {"type": "Place", "name": "Gràcia", "latitude": 41.40312, "longitude": 2.15767}


@pytest.fixture
def service(settings: Settings, engine: Engine) -> Iterator[Served]:
    with served(settings, engine) as service:
        yield service


@pytest.fixture
def hub(service: Served) -> Iterator[HubServer]:
    with HubServer().serving() as hub:
        service.register(hub)
        service.admit(hub.name)
        owner = f"{hub.base}/members/ines"
        described = {
            "id": f"{owner}#ed25519-key",
            "type": "Multikey",
            "controller": owner,
            "publicKeyMultibase": encode_multikey(KEY.public_key()),
        }
        hub.member("ines", assertionMethod=[described])
        yield hub


def proven(hub: HubServer, document: Json) -> Json:
    method = f"{hub.base}/members/ines#ed25519-key"
    return proofs.create({"@context": CONTEXT, **document}, KEY, method, created=datetime.now(UTC))


def push(service: Served, hub: HubServer, thing: Json, kind: str = "Create") -> str:
    """Push a listing that its origin has as well, and return its short id."""
    hub.serve(thing)
    assert service.push(hub, hub.activity(kind, thing)).status_code == 202
    service.work()
    with reading(service.services.engine) as session:
        return session.scalars(select(Listing.id).where(Listing.uri == thing["id"])).one()


def kept(service: Served) -> int:
    with reading(service.services.engine) as session:
        return session.scalar(select(func.count()).select_from(ListingProof)) or 0


def proof_of(service: Served, listing_id: str) -> dict[str, Any]:
    answer = service.get(f"/listings/{listing_id}/proof")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def checks_out(told: dict[str, Any]) -> bool:
    """Do what `how` says, by hand."""
    options = {name: value for name, value in told["proof"].items() if name != "proofValue"}
    key = decode_multikey(told["public_key_multibase"])
    assert isinstance(key, Ed25519PublicKey)
    hashes = hashlib.sha256(rfc8785.dumps(options)).digest() + bytes.fromhex(
        told["document_sha256"]
    )
    try:
        key.verify(decode_base58(told["proof"]["proofValue"]), hashes)
    except InvalidSignature:
        return False
    return True


def test_a_listings_proof_can_be_checked_without_us(service: Served, hub: HubServer) -> None:
    document = proven(hub, hub.proposal(1))
    told = proof_of(service, push(service, hub, document))
    assert told["verified"] is True
    assert told["listing"] == told["document_uri"] == document["id"]
    assert told["proof"] == document["proof"]
    assert told["verification_method"] == f"{hub.base}/members/ines#ed25519-key"
    unsecured = {name: value for name, value in document.items() if name != "proof"}
    assert told["document"] == unsecured
    assert hashlib.sha256(rfc8785.dumps(unsecured)).hexdigest() == told["document_sha256"]
    assert checks_out(told)
    assert "document_sha256" in told["how"]


def test_a_document_that_names_a_position_is_not_kept_and_checked_from_its_hash(
    service: Served, hub: HubServer
) -> None:
    document = proven(hub, hub.proposal(1, location=PLACE))
    listing_id = push(service, hub, document)
    told = proof_of(service, listing_id)
    assert (told["verified"], told["document"]) == (True, None)
    assert checks_out(told)
    assert document["id"] in told["how"]
    with reading(service.services.engine) as session:
        row = session.get_one(ListingProof, listing_id)
        written = json.dumps([row.document, row.proof, row.document_uri])
    assert "41.40312" not in written
    assert "2.15767" not in written


def test_the_proof_of_an_activity_is_that_of_the_listing_in_it(
    service: Served, hub: HubServer
) -> None:
    create = proven(hub, hub.activity("Create", hub.serve(hub.proposal(1))))
    assert service.push(hub, create).status_code == 202
    for _ in range(3):  # looked at again at its origin, where it stands without the proof
        service.work()
    told = proof_of(service, told_id(service))
    assert (told["document_uri"], told["verified"]) == (create["id"], True)
    assert told["document"]["object"]["name"] == "Bicycle repair 1"


def test_a_listing_without_a_proof_or_with_a_false_one_has_none(
    service: Served, hub: HubServer
) -> None:
    bare = push(service, hub, hub.proposal(1))
    false = push(service, hub, {**proven(hub, hub.proposal(2)), "name": "Altered"})
    for listing_id in (bare, false, "nosuchlisting"):
        answer = service.get(f"/listings/{listing_id}/proof")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert service.get(f"/listings/{false}").status_code == 200
    assert kept(service) == 0


def test_a_version_without_a_proof_drops_the_one_before(service: Served, hub: HubServer) -> None:
    listing_id = push(service, hub, proven(hub, hub.proposal(1)))
    assert kept(service) == 1
    push(service, hub, hub.proposal(1, hours=1, name="Edited"), "Update")
    assert service.get(f"/listings/{listing_id}/proof").status_code == 404
    assert kept(service) == 0


def test_a_newer_proof_takes_the_place_of_the_one_before(service: Served, hub: HubServer) -> None:
    push(service, hub, proven(hub, hub.proposal(1)))
    newer = proven(hub, hub.proposal(1, hours=1, name="Newer"))
    told = proof_of(service, push(service, hub, newer, "Update"))
    assert told["document"]["name"] == "Newer"
    # An older version changes neither.
    service.push(hub, hub.activity("Update", hub.proposal(1, name="Older")))
    service.work()
    assert proof_of(service, told_id(service))["document"]["name"] == "Newer"
    assert kept(service) == 1


def told_id(service: Served) -> str:
    with reading(service.services.engine) as session:
        return session.scalars(select(Listing.id)).one()


def test_a_withdrawn_listing_has_no_proof(service: Served, hub: HubServer) -> None:
    document = proven(hub, hub.proposal(1))
    listing_id = push(service, hub, document)
    service.push(hub, hub.delete(document, 3))
    service.work()
    assert service.get(f"/listings/{listing_id}/proof").status_code == 404
    assert kept(service) == 0


def test_an_author_who_refuses_takes_the_proof_along(service: Served, hub: HubServer) -> None:
    push(service, hub, proven(hub, hub.proposal(1)))
    member = hub.member("ines", indexable=False)
    service.push(hub, hub.activity("Update", {"id": member, "type": "Person"}, by=member))
    service.work()
    assert kept(service) == 0


def test_an_expired_listing_shows_no_proof(service: Served, hub: HubServer) -> None:
    listing_id = push(service, hub, proven(hub, hub.proposal(1)))
    with transaction(service.services.engine) as session:
        session.execute(update(Listing).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert service.get(f"/listings/{listing_id}/proof").status_code == 404


@pytest.mark.parametrize("field", ["document_sha256", "public_key_multibase", "document", "proof"])
def test_what_was_changed_here_is_told_to_be_not_verified(
    service: Served, hub: HubServer, field: str
) -> None:
    listing_id = push(service, hub, proven(hub, hub.proposal(1)))
    changed: dict[str, Any] = {
        "document_sha256": "0" * 64,
        "public_key_multibase": encode_multikey(generate_ed25519().public_key()),
        "document": {"id": "other"},
        "proof": {**proof_of(service, listing_id)["proof"], "created": "2020-01-01T00:00:00Z"},
    }
    with transaction(service.services.engine) as session:
        setattr(session.get_one(ListingProof, listing_id), field, changed[field])
    assert proof_of(service, listing_id)["verified"] is False


def test_a_proof_that_says_where_somebody_is_or_too_much_is_not_kept(
    service: Served, hub: HubServer
) -> None:
    for number, more in enumerate(({"geo": "41.4,2.1"}, {"note": "x" * OPTIONS_MAX_BYTES})):
        document = {"@context": CONTEXT, **hub.proposal(number)}
        options = {**proven(hub, document)["proof"], **more}
        options.pop("proofValue")
        signature = KEY.sign(proofs.hash_of(options) + proofs.hash_of(document))
        proof = {**options, "proofValue": encode_base58(signature)}
        push(service, hub, {**document, "proof": proof})
    assert kept(service) == 0


@pytest.mark.parametrize(
    "document",
    [
        {"location": None},
        {"as:latitude": 41.4},
        {"a": [{"b": {"https://schema.org/longitude": 2.1}}]},
        {"lat": 1},
        {"geo:lng": 1},
        {"availableAtOrFrom": {"type": "Place"}},
        {"streetAddress": "Carrer 1"},
        {"x": {"@type": "schema:PostalAddress"}},
        {"x": {"type": "GeoCoordinates"}},
        {"attachment": [{"type": "PropertyValue", "name": "Location", "value": "41.4, 2.1"}]},
        {"url": "geo:41.4,2.1"},
    ],
)
def test_terms_that_tell_a_position_are_known(document: Json) -> None:
    assert names_position(document)


def test_a_common_proposal_names_no_position() -> None:
    with HubServer().serving() as hub:
        proposal = hub.proposal(1, contentMap={"en": "x"}, tag=[{"type": "Hashtag", "name": "#a"}])
        assert not names_position({"@context": CONTEXT, **proposal})


@given(st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5))
def test_a_position_is_found_however_deep(value: object) -> None:
    assert names_position({"x": [value, {"y": {"vf:atLocation": value}}]})
