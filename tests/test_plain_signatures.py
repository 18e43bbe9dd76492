"""The quick reader of signatures agrees with the general one, on what holds and what does not."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from commons import plain_signatures, signatures
from commons.errors import LocalPayError
from commons.signatures import Message, Verified, generate_ed25519, required_parts, sign, verify

NOW: Final = datetime(2026, 11, 20, 10, tzinfo=UTC)
KEY: Final = generate_ed25519()
KEY_ID: Final = "https://hub.example/group#key"
TARGET: Final = "https://pay.example/transfers/6f1c0e7e?x=1"

Headers = Sequence[tuple[str, str]]


def signed(method: str = "PUT", target: str = TARGET, body: bytes = b"{}", **how: Any) -> Message:  # noqa: ANN401 (what `sign` takes)
    message = Message(method, target, [("Content-Type", "application/json")], body)
    told = {"nonce": "n1", "created": NOW, **how}
    added = sign(message, told.pop("key", KEY), told.pop("key_id", KEY_ID), **told)
    return Message(method, target, [*message.headers, *added.items()], body)


def changed(message: Message, name: str, old: str, new: str) -> Message:
    headers = [(k, v.replace(old, new) if k == name else v) for k, v in message.headers]
    assert headers != list(message.headers)
    return Message(message.method, message.target_uri, headers, message.body)


MADE: Final = signed()
INPUT: Final = "Signature-Input"
MESSAGES: Final[dict[str, Message]] = {
    "as made": MADE,
    "without a body": signed("GET", body=b""),
    "with escapes": signed(target="https://pay.example/a%2Fb?c=%41"),
    "with a quote in the key's id": signed(key_id='https://hub.example/"g"'),
    "without a nonce": signed(nonce=None),
    "an empty nonce": signed(nonce=""),
    "a long nonce": signed(nonce="x" * 129),
    "a long key id": signed(key_id="x" * 2_049),
    "old": signed(created=NOW - timedelta(seconds=301)),
    "as old as may be": signed(created=NOW - timedelta(seconds=300)),
    "future": signed(created=NOW + timedelta(seconds=301)),
    "another key": signed(key=generate_ed25519()),
    "no digest": signed(covered=("@method", "@target-uri")),
    "more than is needed": signed(
        covered=("@method", "@target-uri", "content-digest", "content-type")
    ),
    "another order": signed(covered=("content-digest", "@target-uri", "@method")),
    "another method": Message("POST", MADE.target_uri, MADE.headers, MADE.body),
    "another target": Message("PUT", MADE.target_uri + "2", MADE.headers, MADE.body),
    "another body": Message("PUT", MADE.target_uri, MADE.headers, b"{ }"),
    "no body": Message("PUT", MADE.target_uri, MADE.headers, b""),
    "another nonce": changed(MADE, INPUT, "n1", "n2"),
    "twice the nonce": changed(MADE, INPUT, ';nonce="n1"', ';nonce="n0";nonce="n1"'),
    "twice a part": changed(MADE, INPUT, '("@method"', '("@method" "@method"'),
    "a part as text": changed(MADE, INPUT, '("@method"', '("@method";req'),
    "spaces": changed(MADE, INPUT, '("@method"', '( "@method"'),
    "created as text": changed(MADE, INPUT, "created=1", 'created="1"'),
    "created with zeros": changed(MADE, INPUT, "created=1", "created=01"),
    "expires": changed(MADE, INPUT, ";nonce", ";expires=1;nonce"),
    "an algorithm": changed(MADE, INPUT, ";nonce", ';alg="ed25519";nonce'),
    "two labels": changed(MADE, INPUT, "sig1=", 'sig0=("@method");created=1, sig1='),
    "another label": changed(MADE, INPUT, "sig1=", "sig2="),
    "no signature": changed(MADE, "Signature", "sig1=:", "sig1=:AA"),
    "two digests": Message(
        "PUT", TARGET, [*MADE.headers, ("content-digest", "sha-512=:AA==:")], MADE.body
    ),
    "two signatures": Message("PUT", TARGET, [*MADE.headers, *MADE.headers], MADE.body),
    "no ascii": Message("PUT", TARGET + "é", MADE.headers, MADE.body),
}


def outcome(message: Message) -> Verified | tuple[type[LocalPayError], str]:
    try:
        return verify(
            message,
            KEY.public_key(),
            required=required_parts(message),
            now=NOW,
            nonce_required=True,
        )
    except LocalPayError as error:
        return type(error), error.detail


@pytest.mark.parametrize("name", MESSAGES)
def test_both_readers_say_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = outcome(MESSAGES[name])
    monkeypatch.setattr(plain_signatures, "read", lambda *_: None)
    assert outcome(MESSAGES[name]) == quick


def test_the_quick_reader_reads_what_hubs_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "_Verifier", None)
    assert outcome(MADE) == Verified(KEY_ID, NOW, "n1")
    assert outcome(signed("GET", body=b"")) == Verified(KEY_ID, NOW, "n1")


@pytest.mark.parametrize(
    ("message", "how"),
    [
        (Message("PUT", TARGET, [("Content-Type", "x")], b"{}"), {"nonce": "n1"}),
        (Message("GET", TARGET, [], b""), {"nonce": None}),
        (Message("", "", [("content-type", "x")], b"{}", status=201), {"nonce": "a" * 64}),
        (Message("GET", "https://Pay.example:443", [], b""), {"nonce": "n1"}),
        (Message("GET", "https://pay.example:443/x", [], b""), {"nonce": "n1"}),
        (Message("GET", "https://pay.example/a%2fb", [], b""), {"nonce": 'a"b'}),
    ],
)
def test_both_writers_write_the_same(
    message: Message, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = sign(message, KEY, KEY_ID, created=NOW, **how)
    monkeypatch.setattr(plain_signatures, "sign", lambda *_: None)
    assert sign(message, KEY, KEY_ID, created=NOW, **how) == quick
