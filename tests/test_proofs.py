"""Integrity proofs: one that holds stands in for the origin, any other is as if there were none."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hub_server import Crawling, HubServer, Json
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine
from test_relays import RelayServer, followed

from commons import proofs
from commons.errors import MalformedError, UnauthenticatedError
from commons.key_formats import encode_base58, encode_multikey, generate_ed25519, public_pem
from commons.settings import Settings
from crawler.peers import Peer
from crawler.proofs import ListingProof
from crawler.relays import RelayStyle

KEY: Ed25519PrivateKey = generate_ed25519()
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
METHOD = "https://hub.example/members/ines#ed25519-key"
CONTEXT = ["https://www.w3.org/ns/activitystreams", "https://w3id.org/security/data-integrity/v2"]
DOCUMENT = {"@context": CONTEXT, "id": "https://hub.example/1", "type": "Note", "content": "é"}


def signed(**more: object) -> Json:
    return proofs.create({**DOCUMENT, **more}, KEY, METHOD, created=NOW)


def with_proof(**changes: object) -> Json:
    made = signed()
    proof = {**made["proof"], **changes}
    return {**made, "proof": {name: value for name, value in proof.items() if value is not None}}


def holds(document: Json, now: datetime = NOW) -> bool:
    proof = proofs.read(document)
    if proof is None:
        return False
    try:
        proofs.verify(proof, KEY.public_key(), now=now)
    except UnauthenticatedError:
        return False
    return True


def test_a_proof_holds_however_the_document_is_written() -> None:
    document = signed()
    assert holds(document)
    assert holds(json.loads(json.dumps(document, sort_keys=True, indent=3)))
    assert holds(signed(many=[1, 2.5, True, None, {"a": "\u20ac"}]))
    assert holds(proofs.create({"id": "x"}, KEY, METHOD, created=NOW))


def test_an_older_signature_beside_the_proof_is_taken_away_first() -> None:
    assert holds({**signed(), "signature": {"type": "RsaSignature2017"}})


def test_the_documents_context_may_go_on_after_the_proofs() -> None:
    assert holds({**signed(), "@context": [*CONTEXT, "https://hub.example/context"]})
    assert not holds({**signed(), "@context": [*reversed(CONTEXT)]})
    assert not holds({**signed(), "@context": CONTEXT[:1]})
    assert not holds({name: value for name, value in signed().items() if name != "@context"})


PROOF: dict[str, Any] = signed()["proof"]
FAULTS: dict[str, Callable[[], Json]] = {
    "no proof": lambda: DOCUMENT,
    "altered": lambda: {**signed(), "content": "e"},
    "a term more": lambda: {**signed(), "to": "x"},
    "a term less": lambda: {k: v for k, v in signed().items() if k != "content"},
    "another cryptosuite": lambda: with_proof(cryptosuite="eddsa-rdfc-2022"),
    "no cryptosuite": lambda: with_proof(cryptosuite=None),
    "another type": lambda: with_proof(type="Ed25519Signature2020"),
    "another purpose": lambda: with_proof(proofPurpose="authentication"),
    "several proofs": lambda: {**signed(), "proof": [PROOF, PROOF]},
    "a list of one": lambda: {**signed(), "proof": [PROOF]},
    "created altered": lambda: with_proof(created="2026-03-01T11:59:59Z"),
    "created missing": lambda: with_proof(created=None),
    "created without a zone": lambda: with_proof(created="2026-03-01T12:00:00"),
    "created no time": lambda: with_proof(created="yesterday"),
    "method altered": lambda: with_proof(verificationMethod=METHOD + "2"),
    "method missing": lambda: with_proof(verificationMethod=None),
    "value missing": lambda: with_proof(proofValue=None),
    "value no text": lambda: with_proof(proofValue=1),
    "value in base64": lambda: with_proof(proofValue="uAAAA"),
    "value too short": lambda: with_proof(proofValue="z2HnFSSPPB"),
    "value too long": lambda: with_proof(proofValue=PROOF["proofValue"] * 3),
    "an option more": lambda: with_proof(domain="hub.example"),
    "a number beyond canonical form": lambda: {**signed(), "many": 2**60},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_faulty_proof_is_none(fault: Callable[[], Json]) -> None:
    assert not holds(fault())


def test_a_proof_may_be_old_and_not_of_the_future() -> None:
    assert holds(signed(), NOW + timedelta(days=3650))
    assert holds(signed(), NOW - proofs.SKEW)
    assert not holds(signed(), NOW - proofs.SKEW - timedelta(seconds=1))


def test_a_proof_by_another_key_does_not_hold() -> None:
    proof = proofs.read(signed())
    assert proof is not None
    with pytest.raises(UnauthenticatedError):
        proofs.verify(proof, generate_ed25519().public_key(), now=NOW)


@pytest.mark.parametrize("expires", ["2026-03-01T11:59:59Z", "never", 1])
def test_an_expired_proof_does_not_hold(expires: object) -> None:
    options = {**PROOF, "expires": expires}
    options.pop("proofValue")
    value = encode_base58(KEY.sign(proofs.hash_of(options) + proofs.hash_of(DOCUMENT)))
    document = {**DOCUMENT, "proof": {**options, "proofValue": value}}
    assert not holds(document)
    if expires == "2026-03-01T11:59:59Z":
        assert holds(document, NOW - timedelta(seconds=1))


def test_what_has_no_canonical_form_is_malformed() -> None:
    for value in (2**60, float("nan")):
        with pytest.raises(MalformedError):
            proofs.canonical({"value": value})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)


@given(st.dictionaries(st.text(max_size=9), _JSON))
def test_no_proof_breaks_the_reader(proof: Json) -> None:
    proofs.read({**DOCUMENT, "proof": proof})
    proofs.read({**DOCUMENT, "proof": {**PROOF, **proof}})
    assert not holds({**DOCUMENT, **proof, "proof": proof})


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.follow(serving)
        yield serving


@pytest.fixture
def origin() -> Iterator[HubServer]:
    """The server of an author who agreed; it is not registered."""
    with HubServer("leeds").serving() as serving:
        publish(serving)
        yield serving


def publish(server: HubServer, key: Ed25519PrivateKey = KEY, **changes: object) -> None:
    """Publish a member who agreed, with a key for proofs; `changes` are to the key."""
    owner = f"{server.base}/members/ines"
    described = {
        "id": f"{owner}#ed25519-key",
        "type": "Multikey",
        "controller": owner,
        "publicKeyMultibase": encode_multikey(key.public_key()),
        **changes,
    }
    server.member("ines", indexable=True, assertionMethod=[described])


def proven(
    server: HubServer,
    document: Json,
    key: Ed25519PrivateKey = KEY,
    **how: Any,  # noqa: ANN401 (passed on)
) -> Json:
    told = {"created": datetime.now(UTC), **how}
    method = f"{server.base}/members/ines#ed25519-key"
    return proofs.create({"@context": CONTEXT, **document}, key, method, **told)


def recent(server: HubServer, number: int = 1, **more: Any) -> Json:  # noqa: ANN401 (passed on)
    """Return a proposal of just now, since one without a date could be an old one."""
    return server.proposal(number, updated=datetime.now(UTC).isoformat(), **more)


def announced(crawling: Crawling, hub: HubServer, document: Json) -> None:
    crawling.push_and_work(hub, hub.activity("Announce", document, by=hub.actor_uri))


def asked_for_it(origin: HubServer) -> bool:
    """Tell whether a listing or an activity was fetched at its origin."""
    return any(path.startswith(("/proposals/", "/activities/")) for path in origin.asked)


def test_an_announced_activity_with_a_proof_is_not_asked_for(
    crawling: Crawling, hub: HubServer, origin: HubServer
) -> None:
    create = proven(origin, origin.activity("Create", recent(origin)))
    announced(crawling, hub, create)
    assert crawling.titles() == ["Bicycle repair 1"]
    assert not asked_for_it(origin)
    # For the key, and for the author's word.
    assert origin.asked.count("/members/ines") == 2


def test_an_announced_listing_with_a_proof_is_not_asked_for(
    crawling: Crawling, hub: HubServer, origin: HubServer
) -> None:
    announced(crawling, hub, proven(origin, recent(origin)))
    assert crawling.titles() == ["Bicycle repair 1"]
    assert not asked_for_it(origin)


def test_an_embedded_listing_of_another_origin_with_a_proof_is_not_asked_for(
    crawling: Crawling, hub: HubServer, origin: HubServer
) -> None:
    embedded = proven(origin, recent(origin))
    crawling.push_and_work(hub, hub.activity("Create", embedded, by=hub.actor_uri))
    assert crawling.titles() == ["Bicycle repair 1"]
    assert not asked_for_it(origin)


def test_what_an_outbox_announces_with_a_proof_is_not_asked_for(
    crawling: Crawling, hub: HubServer, origin: HubServer
) -> None:
    create = proven(origin, origin.activity("Create", recent(origin)))
    hub.publish_outbox([hub.activity("Announce", create, by=hub.actor_uri)])
    crawling.make_due(Peer)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]
    assert not asked_for_it(origin)


@pytest.mark.parametrize("style", RelayStyle)
def test_what_a_relay_passes_on_with_a_proof_is_not_asked_for(
    crawling: Crawling, origin: HubServer, style: RelayStyle
) -> None:
    create = proven(origin, origin.activity("Create", recent(origin, audience=None)))
    with RelayServer().serving() as relay:
        followed(crawling, relay, style)
        is_forwarded = style is RelayStyle.MASTODON
        passed_on = relay.activity("Announce", create, by=relay.actor_uri)
        crawling.push_and_work(relay, create if is_forwarded else passed_on)
    assert crawling.titles() == ["Bicycle repair 1"]
    assert not asked_for_it(origin)


def test_the_author_is_asked_for_consent_all_the_same(
    crawling: Crawling, hub: HubServer, origin: HubServer
) -> None:
    described = origin.documents["/members/ines"][1]
    assert isinstance(described, dict)
    origin.put("/members/ines", {**described, "indexable": False})
    announced(crawling, hub, proven(origin, recent(origin)))
    assert crawling.titles() == []


def thief(server: HubServer) -> Json:
    """Return a listing proven by a good key of another member's."""
    owner = f"{server.base}/members/ada"
    described = {
        "id": f"{server.base}/members/ines#ed25519-key",
        "type": "Multikey",
        "controller": owner,
        "publicKeyMultibase": encode_multikey(KEY.public_key()),
    }
    server.member("ines", indexable=True)
    server.member("ada", assertionMethod=[described])
    return proven(server, recent(server))


def neighbour(server: HubServer) -> Json:
    """Return a listing of one member proven by the good key of another one's."""
    owner = f"{server.base}/members/ada"
    method = f"{owner}#ed25519-key"
    described = {
        "id": method,
        "type": "Multikey",
        "controller": owner,
        "publicKeyMultibase": encode_multikey(KEY.public_key()),
    }
    server.member("ada", assertionMethod=[described])
    document = {"@context": CONTEXT, **recent(server)}
    return proofs.create(document, KEY, method, created=datetime.now(UTC))


def as_pem(server: HubServer) -> Json:
    """Return a listing proven by a key that signs requests, and is named for nothing else."""
    owner = f"{server.base}/members/ines"
    key = {
        "id": f"{owner}#ed25519-key",
        "owner": owner,
        "publicKeyPem": public_pem(KEY.public_key()),
    }
    server.member("ines", indexable=True, publicKey=key)
    return proven(server, recent(server))


def with_key(server: HubServer, **changes: object) -> Json:
    publish(server, KEY, **changes)
    return proven(server, recent(server))


UNPROVEN: dict[str, Callable[[HubServer], Json]] = {
    "no proof": recent,
    "altered": lambda o: {**proven(o, recent(o)), "name": "Told"},
    "by another key": lambda o: proven(o, recent(o), generate_ed25519()),
    "two weeks old": lambda o: proven(o, recent(o), created=datetime.now(UTC) - timedelta(days=14)),
    "of tomorrow": lambda o: proven(o, recent(o), created=datetime.now(UTC) + timedelta(days=1)),
    "without a date": lambda o: proven(o, o.proposal(1, updated=None, published=None)),
    "another's key": thief,
    "another's good key": neighbour,
    "a key for requests alone": as_pem,
    "another controller": lambda o: with_key(o, controller=f"{o.base}/members/ada"),
    "a key that is no Multikey": lambda o: with_key(o, type="JsonWebKey"),
    "a key of another origin": lambda o: proofs.create(
        {"@context": CONTEXT, **recent(o)},
        KEY,
        "https://evil.example/members/ines#ed25519-key",
        created=datetime.now(UTC),
    ),
    "an author of another origin": lambda o: proven(
        o, {**recent(o), "attributedTo": "https://evil.example/members/ines"}
    ),
    "two authors": lambda o: proven(o, {**recent(o), "actor": f"{o.base}/members/ada"}),
}


@pytest.mark.parametrize("case", UNPROVEN)
def test_what_is_not_proven_is_asked_for_at_its_origin(
    crawling: Crawling, hub: HubServer, origin: HubServer, case: str
) -> None:
    document = UNPROVEN[case](origin)
    origin.serve(recent(origin, name="Asked for"))
    announced(crawling, hub, document)
    assert asked_for_it(origin)
    assert crawling.titles() == ["Asked for"]
    assert crawling.count(ListingProof) == 0


def test_an_old_version_does_not_bring_back_what_was_withdrawn(
    crawling: Crawling, hub: HubServer, origin: HubServer
) -> None:
    public = proven(origin, recent(origin))
    announced(crawling, hub, public)
    origin.serve(recent(origin, searchableBy=[f"{origin.base}/followers"]))
    announced(crawling, hub, {"id": public["id"]})
    assert crawling.titles() == []
    assert crawling.count(ListingProof) == 0
    announced(crawling, hub, public)
    assert crawling.titles() == []
