"""Integrity proofs and Multikeys: the standards' own documents, byte for byte."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from commons import proofs
from commons.errors import UnauthenticatedError
from commons.key_formats import (
    PublicKey,
    decode_base58,
    decode_multikey,
    encode_base58,
    encode_multikey,
)

MADE_AT = datetime(2023, 2, 24, 23, 36, 38, tzinfo=UTC)
_SECRET_PREFIX = b"\x80\x26"
_STEP = re.compile(
    r"^\s+(?:Given|And|When|Then) (.+?)"  # what is said
    r"(?: \"([^\"]*)\")?$"  # in quotes
    r"(?:\n\s+\"\"\"\n([\s\S]+?)\"\"\")?",  # or below
    re.IGNORECASE | re.MULTILINE,
)


def secret_key(multibase: str) -> Ed25519PrivateKey:
    raw = decode_base58(multibase)
    assert raw.startswith(_SECRET_PREFIX)
    return Ed25519PrivateKey.from_private_bytes(raw[len(_SECRET_PREFIX) :])


def ed25519(multibase: str) -> Ed25519PublicKey:
    key = decode_multikey(multibase)
    assert isinstance(key, Ed25519PublicKey)
    return key


@pytest.fixture
def w3c(vectors: Path) -> dict[str, str]:
    """The files of the W3C's vector, by their names without their endings."""
    folder = vectors / "vc-di-eddsa"
    return {path.stem: path.read_text(encoding="utf-8").strip() for path in folder.iterdir()}


def test_each_step_of_the_w3c_comes_out_byte_for_byte(w3c: dict[str, str]) -> None:
    unsigned, options = json.loads(w3c["unsigned"]), json.loads(w3c["proofConfigJCS"])
    assert proofs.canonical(unsigned).decode() == w3c["canonDocJCS"]
    assert proofs.hash_of(unsigned).hex() == w3c["docHashJCS"]
    assert proofs.canonical(options).decode() == w3c["proofCanonJCS"]
    assert proofs.hash_of(options).hex() == w3c["proofHashJCS"]
    both = proofs.hash_of(options) + proofs.hash_of(unsigned)
    assert both.hex() == w3c["combinedHashJCS"]
    signature = secret_key(json.loads(w3c["keyPair"])["privateKeyMultibase"]).sign(both)
    assert signature.hex() == w3c["sigHexJCS"]
    assert encode_base58(signature) == w3c["sigBTC58JCS"]
    assert decode_base58(w3c["sigBTC58JCS"]) == signature


def test_signing_as_the_w3c_does_gives_its_signed_document(w3c: dict[str, str]) -> None:
    pair, expected = json.loads(w3c["keyPair"]), json.loads(w3c["signedJCS"])
    method = expected["proof"]["verificationMethod"]
    made = proofs.create(
        json.loads(w3c["unsigned"]),
        secret_key(pair["privateKeyMultibase"]),
        method,
        created=MADE_AT,
    )
    assert made == expected


def test_the_w3cs_signed_document_is_verified_whole_and_from_its_hashes(
    w3c: dict[str, str],
) -> None:
    key = ed25519(json.loads(w3c["keyPair"])["publicKeyMultibase"])
    proof = proofs.read(json.loads(w3c["signedJCS"]))
    assert proof is not None
    proofs.verify(proof, key, now=MADE_AT)
    assert proof.document_hash.hex() == w3c["docHashJCS"]
    first, second = bytes.fromhex(w3c["proofHashJCS"]), bytes.fromhex(w3c["docHashJCS"])
    assert proofs.holds(first, second, proof.signature, key)
    assert not proofs.holds(second, first, proof.signature, key)


def scenarios(path: Path) -> dict[str, dict[str, Any]]:
    """Read a Gherkin file: by scenario, what stands in each step's quotes or below it."""
    found: dict[str, dict[str, Any]] = {}
    text = path.read_text(encoding="utf-8")
    for name, body in re.findall(r"Scenario: (.+)\n((?:(?!\s+@|\s+Scenario:).*\n?)*)", text):
        found[name] = {
            words.lower(): json.loads(document) if document else quoted
            for words, quoted, document in _STEP.findall(body)
        }
    return found


def test_every_scenario_of_the_feps_is_read(vectors: Path) -> None:
    names = [
        name
        for fep in ("8b32", "521a")
        for name in scenarios(vectors / f"fep-{fep}" / f"fep-{fep}.feature")
    ]
    assert names == [
        "Signing document",
        "Verifying a signature",
        "Representing Ed25519 public key",
        "Representing RSA public key",
    ]


def test_signing_a_document_as_fep_8b32_does(vectors: Path) -> None:
    told = scenarios(vectors / "fep-8b32" / "fep-8b32.feature")["Signing document"]
    made = proofs.create(
        told["document"],
        secret_key(told["ed25519 secret key"]),
        told["signing the document for key"],
        created=datetime.fromisoformat(told["current time"]),
    )
    assert made == told["the signed document is"]


def test_verifying_a_document_as_fep_8b32_does(vectors: Path) -> None:
    told = scenarios(vectors / "fep-8b32" / "fep-8b32.feature")["Verifying a signature"]
    signed, actor = told["the signed document is"], told["the actor"]
    assert "the document is valid" in told
    proof = proofs.read(signed)
    assert proof is not None
    named = {key["id"]: key for key in actor["assertionMethod"]}
    described = named[proof.verification_method]
    assert described["controller"] == actor["id"] == signed["actor"]
    key = ed25519(described["publicKeyMultibase"])
    proofs.verify(proof, key, now=MADE_AT)
    altered = proofs.read({**signed, "type": "Update"})
    assert altered is not None
    with pytest.raises(UnauthenticatedError):
        proofs.verify(altered, key, now=MADE_AT)


def multikey_object(actor_uri: str, name: str, key: PublicKey) -> dict[str, str]:
    return {
        "id": f"{actor_uri}#{name}",
        "type": "Multikey",
        "controller": actor_uri,
        "publicKeyMultibase": encode_multikey(key),
    }


def test_keys_are_represented_as_fep_521a_does(vectors: Path) -> None:
    told = scenarios(vectors / "fep-521a" / "fep-521a.feature")
    first, second = told["Representing Ed25519 public key"], told["Representing RSA public key"]
    raw = bytes.fromhex(first["the ed25519 public key as a hex string"])
    key = Ed25519PublicKey.from_public_bytes(raw)
    expected = first["multikey object is"]
    assert multikey_object(first["actor id"], "ed25519-key", key) == expected
    assert ed25519(expected["publicKeyMultibase"]).public_bytes_raw() == raw

    der = bytes.fromhex(second["the rsa public key in pkcs#1 der format as a hex string"])
    rsa = load_der_public_key(der)
    expected = second["multikey object is"]
    read = decode_multikey(expected["publicKeyMultibase"])
    assert read == rsa
    assert multikey_object(second["actor id"], "rsa-key", read) == expected
