"""HTTP message signatures: the standard's own numbers, and every fault refused."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commons.errors import MalformedError, UnauthenticatedError
from commons.signatures import (
    REQUEST,
    REQUEST_WITH_BODY,
    RESPONSE,
    Message,
    PrivateKey,
    content_digest,
    generate_ed25519,
    generate_rsa,
    key_id_of,
    load_private_pem,
    load_public_pem,
    required_parts,
    sign,
    verify,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY_ID = "https://hub.example/actor#key"
ED25519 = generate_ed25519()
RSA = generate_rsa()
POST = Message(
    "POST",
    "https://pay.example/transfers?dry=1",
    [("Host", "pay.example"), ("Content-Type", "application/json")],
    b'{"amount":"12.50"}',
)
GET = Message("GET", "https://pay.example/accounts/oak", [("Host", "pay.example")])
ANSWER = Message("", "", [("Content-Type", "application/json")], b'{"state":"posted"}', 201)


def signed(
    message: Message,
    key: PrivateKey = ED25519,
    *,
    covered: tuple[str, ...] | None = None,
    created: datetime = NOW,
    nonce: str | None = "n-1",
) -> Message:
    added = sign(message, key, KEY_ID, nonce=nonce, created=created, covered=covered)
    return replace(message, headers=[*message.headers, *added.items()])


def with_header(message: Message, name: str, change: Callable[[str], str]) -> Message:
    headers = [(key, change(text) if key == name else text) for key, text in message.headers]
    assert headers != list(message.headers)
    return replace(message, headers=headers)


def without_header(message: Message, name: str) -> Message:
    return replace(message, headers=[line for line in message.headers if line[0] != name])


def doubled(message: Message, name: str) -> Message:
    return replace(
        message, headers=[*message.headers, *(line for line in message.headers if line[0] == name)]
    )


def digest_by_sha512(body: bytes) -> str:
    return f"sha-512=:{base64.b64encode(hashlib.sha512(body).digest()).decode()}:"


def check(message: Message, key: PrivateKey = ED25519, *, nonce_required: bool = True) -> None:
    verify(
        message,
        key.public_key(),
        required=required_parts(message),
        now=NOW,
        nonce_required=nonce_required,
    )


@pytest.mark.parametrize("key", [ED25519, RSA], ids=["ed25519", "rsa"])
@pytest.mark.parametrize("message", [GET, POST, ANSWER], ids=["get", "post", "response"])
def test_what_was_signed_is_verified_and_names_its_key(message: Message, key: PrivateKey) -> None:
    arrived = signed(message, key)
    assert key_id_of(arrived) == KEY_ID
    verified = verify(
        arrived, key.public_key(), required=required_parts(message), now=NOW, nonce_required=True
    )
    assert (verified.key_id, verified.created, verified.nonce) == (KEY_ID, NOW, "n-1")


def test_the_required_parts_follow_from_the_message_alone() -> None:
    assert required_parts(GET) == REQUEST == ("@method", "@target-uri")
    assert required_parts(POST) == REQUEST_WITH_BODY == (*REQUEST, "content-digest")
    assert required_parts(replace(POST, body=b"")) == REQUEST_WITH_BODY
    assert required_parts(replace(GET, body=b"x")) == REQUEST_WITH_BODY
    assert required_parts(ANSWER) == RESPONSE == ("@status", "content-digest")


def test_a_delivery_without_content_is_signed_over_the_digest_of_nothing() -> None:
    arrived = signed(replace(POST, body=b""))
    assert ("Content-Digest", content_digest(b"")) in arrived.headers
    check(arrived)


FAULTS: dict[str, Callable[[], Message]] = {
    "no signature at all": lambda: POST,
    "no Signature": lambda: without_header(signed(POST), "Signature"),
    "no Signature-Input": lambda: without_header(signed(POST), "Signature-Input"),
    "no Content-Digest": lambda: without_header(signed(POST), "Content-Digest"),
    "method not covered": lambda: signed(POST, covered=("@target-uri", "content-digest")),
    "target not covered": lambda: signed(POST, covered=("@method", "content-digest")),
    "digest not covered": lambda: signed(POST, covered=("@method", "@target-uri")),
    "status not covered": lambda: signed(ANSWER, covered=("content-digest",)),
    "response digest not covered": lambda: signed(ANSWER, covered=("@status",)),
    "nothing covered": lambda: signed(GET, covered=()),
    "path in place of the target": lambda: signed(GET, covered=("@method", "@path")),
    "member of the digest only": lambda: signed(
        replace(POST, headers=[("Content-Digest", content_digest(POST.body))]),
        covered=("@method", "@target-uri", '"content-digest";key="sha-256"'),
    ),
    "uncovered body of a GET": lambda: replace(signed(GET), body=b"x"),
    "uncovered digest of a GET": lambda: replace(
        signed(GET), headers=[*signed(GET).headers, ("Content-Digest", content_digest(b""))]
    ),
    "altered body": lambda: replace(signed(POST), body=b'{"amount":"99.50"}'),
    "altered body with its own digest": lambda: with_header(
        replace(signed(POST), body=b"other"), "Content-Digest", lambda _: content_digest(b"other")
    ),
    "signed digest of another body": lambda: signed(
        replace(POST, headers=[("Content-Digest", content_digest(b"other"))])
    ),
    "digest by sha-512 alone": lambda: signed(
        replace(POST, headers=[("Content-Digest", digest_by_sha512(POST.body))])
    ),
    "digest by md5": lambda: signed(
        replace(POST, headers=[("Content-Digest", "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:")])
    ),
    "altered method": lambda: replace(signed(POST), method="PUT"),
    "altered host": lambda: replace(signed(GET), target_uri="https://evil.example/accounts/oak"),
    "altered path": lambda: replace(signed(GET), target_uri="https://pay.example/accounts/elm"),
    "altered query": lambda: replace(signed(POST), target_uri="https://pay.example/transfers"),
    "altered status": lambda: replace(signed(ANSWER), status=200),
    "a request's signature on a response": lambda: replace(signed(POST), status=200),
    "two Signature headers": lambda: doubled(signed(POST), "Signature"),
    "two Signature-Input headers": lambda: doubled(signed(POST), "Signature-Input"),
    "two Content-Digest headers": lambda: doubled(signed(POST), "Content-Digest"),
    "two Host headers": lambda: doubled(signed(POST), "Host"),
    "two Digest headers": lambda: replace(
        signed(GET), headers=[*signed(GET).headers, ("Digest", "a"), ("digest", "b")]
    ),
    "two Date headers": lambda: replace(
        signed(GET), headers=[*signed(GET).headers, ("Date", "a"), ("date", "b")]
    ),
    "two signatures": lambda: with_header(
        with_header(signed(GET), "Signature", lambda text: f"{text}, b=:AA==:"),
        "Signature-Input",
        lambda text: f'{text}, b=("@method");created=1;keyid="k"',
    ),
    "one label twice": lambda: with_header(
        signed(GET), "Signature", lambda text: f"{text}, {text}"
    ),
    "labels that differ": lambda: with_header(
        signed(GET), "Signature", lambda text: text.replace("sig1=", "sig2=")
    ),
    "another algorithm named": lambda: with_header(
        signed(GET), "Signature-Input", lambda text: f'{text};alg="rsa-v1_5-sha256"'
    ),
    "the algorithm named afterwards": lambda: with_header(
        signed(GET), "Signature-Input", lambda text: f'{text};alg="ed25519"'
    ),
    "HMAC named": lambda: with_header(
        signed(GET), "Signature-Input", lambda text: f'{text};alg="hmac-sha256"'
    ),
    "made too long ago": lambda: signed(GET, created=NOW - timedelta(seconds=301)),
    "made in the future": lambda: signed(GET, created=NOW + timedelta(seconds=301)),
    "created left out": lambda: with_header(
        signed(GET), "Signature-Input", lambda text: re.sub(r";created=\d+", "", text)
    ),
    "created moved": lambda: with_header(
        signed(GET, created=NOW - timedelta(hours=1)),
        "Signature-Input",
        lambda text: re.sub(r"created=\d+", f"created={int(NOW.timestamp())}", text),
    ),
    "created is no integer": lambda: with_header(
        signed(GET), "Signature-Input", lambda text: re.sub(r"created=\d+", 'created="1"', text)
    ),
    "created is astronomical": lambda: with_header(
        signed(GET),
        "Signature-Input",
        lambda text: re.sub(r"created=\d+", "created=999999999999999", text),
    ),
    "nonce missing": lambda: signed(GET, nonce=None),
    "nonce empty": lambda: signed(GET, nonce=""),
    "nonce endless": lambda: signed(GET, nonce="n" * 129),
    "nonce changed": lambda: with_header(
        signed(GET), "Signature-Input", lambda text: text.replace("n-1", "n-2")
    ),
    "unknown parameter": lambda: with_header(
        signed(GET), "Signature-Input", lambda text: f"{text};trust=1"
    ),
    "key id missing": lambda: with_header(
        signed(GET), "Signature-Input", lambda text: re.sub(r';keyid="[^"]+"', "", text)
    ),
    "key id endless": lambda: with_header(
        signed(GET), "Signature-Input", lambda text: text.replace("actor", "a" * 2100)
    ),
    "signature is a string": lambda: with_header(signed(GET), "Signature", lambda _: 'sig1="AAAA"'),
    "signature of zeros": lambda: with_header(
        signed(GET), "Signature", lambda _: f"sig1=:{'A' * 86}==:"
    ),
    "signature too short": lambda: with_header(signed(GET), "Signature", lambda _: "sig1=:AAAA:"),
    "input is no list": lambda: with_header(
        signed(GET), "Signature-Input", lambda _: 'sig1="@method";keyid="k"'
    ),
    "input is garbage": lambda: with_header(signed(GET), "Signature-Input", lambda _: "sig1=((("),
    "input is not ASCII": lambda: with_header(
        signed(GET), "Signature-Input", lambda text: text.replace("key", "kéy")
    ),
    "a part covered twice": lambda: with_header(
        signed(GET), "Signature-Input", lambda text: text.replace('"@m', '"@method" "@m')
    ),
    "parts of another message": lambda: with_header(
        signed(ANSWER), "Signature-Input", lambda text: text.replace("digest", "digest;req")
    ),
    "by another key": lambda: signed(GET, generate_ed25519()),
    "by a key of another type": lambda: signed(GET, RSA),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_faulty_signature_is_refused(fault: Callable[[], Message]) -> None:
    with pytest.raises((UnauthenticatedError, MalformedError)):
        check(fault())


def test_an_expired_signature_is_refused_and_an_unexpired_one_is_not() -> None:
    def expiring(seconds: int) -> Message:
        moment = int(NOW.timestamp()) + seconds
        base = (
            f'"@method": GET\n"@target-uri": {GET.target_uri}\n"@signature-params": '
            f'("@method" "@target-uri");created={int(NOW.timestamp())};keyid="k";expires={moment}'
        )
        encoded = base64.b64encode(ED25519.sign(base.encode())).decode()
        params = base.partition('"@signature-params": ')[2]
        lines = [("Signature-Input", f"a={params}"), ("Signature", f"a=:{encoded}:")]
        return replace(GET, headers=lines)

    check(expiring(10), nonce_required=False)
    with pytest.raises(UnauthenticatedError, match="expired"):
        check(expiring(-10), nonce_required=False)


def test_no_signature_is_unauthenticated_and_an_unreadable_one_malformed() -> None:
    with pytest.raises(UnauthenticatedError):
        key_id_of(POST)
    with pytest.raises(MalformedError):
        key_id_of(FAULTS["input is garbage"]())
    with pytest.raises(MalformedError):
        key_id_of(FAULTS["two Signature headers"]())


def test_the_window_holds_on_both_sides_to_the_second() -> None:
    for seconds in (-300, 300):
        check(signed(GET, created=NOW + timedelta(seconds=seconds)))


def test_two_signings_in_one_second_differ_by_their_nonce() -> None:
    first, second = (sign(GET, ED25519, KEY_ID, nonce=nonce, created=NOW) for nonce in ("a", "b"))
    assert first["Signature"] != second["Signature"]


def test_a_message_that_lacks_a_part_is_not_signed() -> None:
    with pytest.raises(MalformedError):
        sign(GET, ED25519, KEY_ID, nonce=None, created=NOW, covered=("date",))


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_signature_header_breaks_the_reader(given_input: str, signature: str) -> None:
    arrived = replace(GET, headers=[("Signature-Input", given_input), ("Signature", signature)])
    with pytest.raises((UnauthenticatedError, MalformedError)):
        check(arrived)


def vector_of(vectors: Path) -> dict[str, Any]:
    text = (vectors / "rfc9421" / "ed25519-b26.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def vector_message(vector: dict[str, Any]) -> Message:
    request = vector["request"]
    headers = list(request["headers"].items())
    return Message(request["method"], request["url"], headers, request["body"].encode())


VECTOR_PARTS = ("date", "@method", "@path", "@authority", "content-type", "content-length")
VECTOR_TIME = datetime.fromtimestamp(1618884473, UTC)


def test_signing_reproduces_the_standards_signature_byte_for_byte(vectors: Path) -> None:
    vector = vector_of(vectors)
    key = load_private_pem(vector["private_key_pem"])
    added = sign(
        vector_message(vector),
        key,
        "test-key-ed25519",
        nonce=None,
        created=VECTOR_TIME,
        covered=VECTOR_PARTS,
    )
    assert set(added) == {"Signature-Input", "Signature"}
    ours = {name: text.removeprefix("sig1=") for name, text in added.items()}
    assert ours["Signature-Input"] == vector["signature_input"].removeprefix("sig-b26=")
    assert ours["Signature"] == vector["signature"].removeprefix("sig-b26=")


def test_the_standards_signature_verifies_but_does_not_cover_what_we_require(
    vectors: Path,
) -> None:
    vector = vector_of(vectors)
    key = load_public_pem(vector["public_key_pem"])
    message = vector_message(vector)
    lines = [
        ("Signature-Input", vector["signature_input"]),
        ("Signature", vector["signature"]),
    ]
    whole = replace(message, headers=[*message.headers, *lines])
    with pytest.raises(UnauthenticatedError, match="was not covered"):
        verify(whole, key, required=REQUEST_WITH_BODY, now=VECTOR_TIME)
    # Its body is not signed; what it does cover is right.
    bare = without_header(replace(whole, body=b""), "Content-Digest")
    verified = verify(bare, key, required=VECTOR_PARTS, now=VECTOR_TIME)
    assert (verified.key_id, verified.created) == ("test-key-ed25519", VECTOR_TIME)
    later = with_header(bare, "Date", lambda text: text.replace("02:07:55", "02:07:56"))
    with pytest.raises(UnauthenticatedError):
        verify(later, key, required=VECTOR_PARTS, now=VECTOR_TIME)
