"""Signatures by draft-cavage: what Mastodon makes and takes, and what nobody may leave out."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st
from signed_by import PARTS, by_cavage

from commons import signatures
from commons.cavage import digest_of, key_id_of, required_parts, sign, verify
from commons.errors import MalformedError, UnauthenticatedError
from commons.signatures import Message, PrivateKey, generate_ed25519, generate_rsa

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY_ID = "https://hub.example/users/ines#main-key"
RSA = generate_rsa()
ED25519 = generate_ed25519()
BODY = b'{"type":"Create"}'
POST = Message("POST", "https://pay.example/inbox?x=1", [("Host", "pay.example")], BODY)
GET = Message("GET", "https://pay.example/actor?x=1", [("Host", "pay.example")])


def signed(message: Message = POST, key: PrivateKey = RSA, *, created: datetime = NOW) -> Message:
    added = sign(message, key, KEY_ID, created=created)
    return replace(message, headers=[*message.headers, *added.items()])


def made(
    parts: Sequence[str] = PARTS,
    *,
    message: Message = POST,
    key: PrivateKey = RSA,
    target: str = "post /inbox?x=1",
    algorithm: str | None = "rsa-sha256",
    **others: Any,  # noqa: ANN401 (passed on as it is)
) -> Message:
    """Sign as other software might; nothing that is tested here is used."""
    told = {"date": NOW, **others}
    return by_cavage(message, key, KEY_ID, parts=parts, target=target, algorithm=algorithm, **told)


def check(message: Message, key: PrivateKey = RSA, *, now: datetime = NOW) -> None:
    verified = verify(message, key.public_key(), now=now)
    assert (verified.key_id, verified.nonce) == (KEY_ID, None)


def unix(seconds: int) -> int:
    return int(NOW.timestamp()) + seconds


def changed(message: Message, name: str, change: Callable[[str], str]) -> Message:
    headers = [(key, change(text) if key == name else text) for key, text in message.headers]
    assert headers != list(message.headers)
    return replace(message, headers=headers)


@pytest.mark.parametrize("key", [RSA, ED25519], ids=["rsa", "ed25519"])
@pytest.mark.parametrize("message", [GET, POST], ids=["get", "post"])
def test_what_was_signed_is_verified(message: Message, key: PrivateKey) -> None:
    arrived = signed(message, key)
    assert key_id_of(arrived) == KEY_ID
    check(arrived, key)


def test_we_sign_as_mastodon_does() -> None:
    headers = dict(sign(POST, RSA, KEY_ID, created=NOW))
    assert headers["Date"] == "Sun, 01 Mar 2026 12:00:00 GMT"
    text = (
        "(request-target): post /inbox?x=1\nhost: pay.example\n"
        f"date: Sun, 01 Mar 2026 12:00:00 GMT\ndigest: {digest_of(BODY)}"
    )
    said = dict(field.split("=", 1) for field in headers["Signature"].replace('"', "").split(","))
    assert (said["keyId"], said["algorithm"]) == (KEY_ID, "rsa-sha256")
    assert said["headers"] == "(request-target) host date digest"
    signature = base64.b64decode(said["signature"])
    RSA.public_key().verify(signature, text.encode(), PKCS1v15(), SHA256())


def test_a_fetch_has_no_digest() -> None:
    assert set(sign(GET, RSA, KEY_ID, created=NOW)) == {"Date", "Signature"}
    assert required_parts(GET) == ("(request-target)", "host")
    assert required_parts(replace(GET, body=b"x"))[-1] == "digest"


TAKEN: dict[str, Callable[[], Message]] = {
    "the target with its query": made,
    "the target without its query": lambda: made(target="post /inbox"),
    "hs2019 with an RSA key": lambda: made(algorithm="hs2019"),
    "no algorithm named": lambda: made(algorithm=None),
    "created in place of the date": lambda: made(
        ("(request-target)", "host", "(created)", "digest"),
        algorithm="hs2019",
        said=f"created={unix(0)}",
        date=NOW - timedelta(days=9),
    ),
    "more than is needed": lambda: made(
        (*PARTS, "content-type"),
        message=replace(
            POST, headers=[*POST.headers, ("Content-Type", "application/activity+json")]
        ),
    ),
    "another digest beside ours": lambda: made(digest=f"MD5=abc=,{digest_of(BODY)}"),
    "the digest's name in small letters": lambda: made(
        digest=digest_of(BODY).replace("SHA-256", "sha-256")
    ),
    "the port of its scheme": lambda: made(
        message=replace(POST, headers=[("Host", "pay.example:443")])
    ),
    "an hour ahead": lambda: made(date=NOW + timedelta(hours=1)),
    "an hour and five minutes old": lambda: made(date=NOW - timedelta(hours=1, minutes=5)),
    "thirteen hours old, where it lasts that long": lambda: made(
        (*PARTS, "(created)", "(expires)"),
        algorithm="hs2019",
        said=f"created={unix(-13 * 3600)},expires={unix(9 * 3600)}",
    ),
}


@pytest.mark.parametrize("message", TAKEN.values(), ids=TAKEN.keys())
def test_a_signature_of_other_software_is_taken(message: Callable[[], Message]) -> None:
    check(message())


FAULTS: dict[str, Callable[[], Message]] = {
    "no signature": lambda: POST,
    "target not covered": lambda: made(("host", "date", "digest")),
    "host not covered": lambda: made(("(request-target)", "date", "digest")),
    "time not covered": lambda: made(("(request-target)", "host", "digest")),
    "digest not covered": lambda: made(("(request-target)", "host", "date")),
    "digest of a fetch not covered": lambda: made(
        ("(request-target)", "host", "date"), message=GET, target="get /actor?x=1"
    ),
    "no headers named": lambda: changed(
        made(), "Signature", lambda text: text.replace('headers="', 'hidden="')
    ),
    "a part covered that is not there": lambda: changed(
        made(), "Signature", lambda text: text.replace("digest", "digest content-type")
    ),
    "a part covered twice": lambda: changed(
        made(), "Signature", lambda text: text.replace("digest", "digest digest")
    ),
    "created that is covered and missing": lambda: changed(
        made(algorithm="hs2019"),
        "Signature",
        lambda text: text.replace(" date ", " (created) "),
    ),
    "created with rsa-sha256": lambda: made(
        ("(request-target)", "host", "(created)", "digest"), said=f"created={unix(0)}"
    ),
    "created that is not covered": lambda: made(
        algorithm="hs2019", said=f"created={unix(0)}", date=NOW - timedelta(hours=2)
    ),
    "expires that is not covered": lambda: made(
        algorithm="hs2019", said=f"expires={unix(9999)}", date=NOW - timedelta(hours=2)
    ),
    "a header of the name of a pseudo-header": lambda: made(
        ("(request-target)", "host", "(created)", "digest"),
        algorithm="hs2019",
        message=replace(POST, headers=[*POST.headers, ("(created)", str(unix(0)))]),
    ),
    "a second ahead of the hour": lambda: made(date=NOW + timedelta(hours=1, seconds=1)),
    "a second older": lambda: made(date=NOW - timedelta(hours=1, minutes=5, seconds=1)),
    "a second older, where it lasts long": lambda: made(
        (*PARTS, "(created)", "(expires)"),
        algorithm="hs2019",
        said=f"created={unix(-13 * 3600 - 1)},expires={unix(9 * 3600)}",
    ),
    "expired an hour ago": lambda: made(
        (*PARTS, "(expires)"), algorithm="hs2019", said=f"expires={unix(-3601)}"
    ),
    "created in the year 9999": lambda: made(
        (*PARTS, "(created)"), algorithm="hs2019", said="created=253402300799"
    ),
    "created beyond all years": lambda: made(
        (*PARTS, "(created)"), algorithm="hs2019", said="created=999999999999999"
    ),
    "no date": lambda: changed(made(), "Date", lambda _: "yesterday"),
    "another's host": lambda: made(message=replace(POST, headers=[("Host", "evil.example")])),
    "altered host": lambda: replace(signed(), target_uri="https://evil.example/inbox?x=1"),
    "altered path": lambda: replace(signed(), target_uri="https://pay.example/outbox?x=1"),
    "altered query": lambda: replace(signed(), target_uri="https://pay.example/inbox?x=2"),
    "altered method": lambda: replace(signed(), method="PUT"),
    "altered date": lambda: changed(signed(), "Date", lambda text: text.replace(":00 G", ":01 G")),
    "altered body": lambda: replace(signed(), body=BODY + b" "),
    "altered body with its own digest": lambda: changed(
        replace(signed(), body=b"x"), "Digest", lambda _: digest_of(b"x")
    ),
    "digest of another body": lambda: made(digest=digest_of(b"other")),
    "no digest": lambda: replace(
        signed(), headers=[header for header in signed().headers if header[0] != "Digest"]
    ),
    "digest by sha-512 alone": lambda: made(digest=digest_of(BODY).replace("256", "512")),
    "digest too short": lambda: made(digest="SHA-256=AAAA"),
    "two digests": lambda: made(digest=f"{digest_of(b'x')},{digest_of(BODY)}"),
    "by another key": lambda: signed(key=generate_rsa()),
    "by a key of another type": lambda: signed(key=ED25519),
    "another algorithm named": lambda: made(algorithm="rsa-sha512"),
    "HMAC named": lambda: made(algorithm="hmac-sha256"),
    "none named": lambda: made(algorithm="none"),
    "ed25519 named": lambda: made(algorithm="ed25519"),
    "signature cut short": lambda: changed(signed(), "Signature", lambda text: text[:-9] + '"'),
    "signature empty": lambda: changed(
        signed(), "Signature", lambda text: text.partition("signature=")[0] + 'signature=""'
    ),
    "signature no base64": lambda: changed(
        signed(), "Signature", lambda text: text.partition("signature=")[0] + 'signature="%%%%"'
    ),
    "two signatures": lambda: changed(signed(), "Signature", lambda text: f"{text},{text}"),
    "key id missing": lambda: changed(
        signed(), "Signature", lambda text: text.replace("keyId", "key")
    ),
    "key id endless": lambda: changed(
        signed(), "Signature", lambda text: text.replace("ines", "i" * 2100)
    ),
    "key id not ASCII": lambda: changed(
        signed(), "Signature", lambda text: text.replace("ines", "inés")
    ),
    "garbage": lambda: changed(signed(), "Signature", lambda _: "((("),
    **{
        f"two {name} headers": lambda name=name: replace(  # type: ignore[misc] # each its own name
            signed(), headers=[*signed().headers, *(h for h in signed().headers if h[0] == name)]
        )
        for name in ("Signature", "Digest", "Date", "Host")
    },
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_faulty_signature_is_refused(fault: Callable[[], Message]) -> None:
    with pytest.raises((UnauthenticatedError, MalformedError)):
        check(fault())


def test_an_ed25519_key_is_not_named_rsa() -> None:
    with pytest.raises(UnauthenticatedError, match="algorithm"):
        check(made(key=ED25519), ED25519)
    check(made(key=ED25519, algorithm="hs2019"), ED25519)


def test_no_signature_is_unauthenticated_and_an_unreadable_one_malformed() -> None:
    with pytest.raises(UnauthenticatedError):
        key_id_of(POST)
    for fault in ("garbage", "two Signature headers", "two signatures", "key id missing"):
        with pytest.raises(MalformedError):
            key_id_of(FAULTS[fault]())


@given(st.text(max_size=300) | st.text('keyIdheaderssignature="(),= 0', max_size=200))
def test_no_signature_header_breaks_the_reader(written: str) -> None:
    arrived = replace(POST, headers=[*POST.headers, ("Signature", written)])
    with pytest.raises((UnauthenticatedError, MalformedError)):
        check(arrived)


def test_with_both_schemes_neither_takes_the_others_signature() -> None:
    by_older = signed()
    added = signatures.sign(POST, RSA, KEY_ID, nonce=None, created=NOW)
    both = replace(by_older, headers=[*by_older.headers, *added.items()])
    with pytest.raises(MalformedError):
        signatures.key_id_of(both)
    with pytest.raises(MalformedError):
        key_id_of(both)
