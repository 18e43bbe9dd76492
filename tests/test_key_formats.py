"""Keys are read strictly: no other kinds, no other sizes, no other spellings."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from commons.errors import LocalPayError, MalformedError
from commons.key_formats import (
    PrivateKey,
    decode_multikey,
    encode_base58,
    encode_multikey,
    generate_ed25519,
    generate_rsa,
    load_private_pem,
    load_public_pem,
    private_pem,
    public_pem,
)
from commons.signatures import algorithm_of

ED25519 = generate_ed25519()
RSA = generate_rsa()


@pytest.mark.parametrize("key", [ED25519, RSA], ids=["ed25519", "rsa"])
def test_keys_survive_being_written_and_read(key: PrivateKey) -> None:
    assert private_pem(load_private_pem(private_pem(key))) == private_pem(key)
    text = public_pem(key.public_key())
    assert public_pem(load_public_pem(text)) == text
    assert algorithm_of(load_public_pem(text)) == algorithm_of(key)


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no key",
        private_pem(ED25519),
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        pem_of(ec.generate_private_key(ec.SECP256R1())),
        pem_of(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - what is refused
        "\ud800",
        public_pem(ED25519.public_key()) + " " * 5000,
    ],
    ids=["empty", "text", "private", "garbage", "elliptic", "short rsa", "surrogate", "long"],
)
def test_a_key_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        load_public_pem(text)


def test_an_unknown_kind_of_key_has_no_algorithm() -> None:
    with pytest.raises(MalformedError):
        algorithm_of(ec.generate_private_key(ec.SECP256R1()))


def test_a_multikey_is_read_as_the_standard_writes_it() -> None:
    text = "z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2"
    assert encode_multikey(decode_multikey(text)) == text
    own = ED25519.public_key()
    assert decode_multikey(encode_multikey(own)) == own


def test_an_rsa_multikey_is_read_and_only_in_its_one_form() -> None:
    key = RSA.public_key()
    text = encode_multikey(key)
    assert decode_multikey(text) == key
    prefix = b"\x85\x24"
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    small = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - what is refused
    for raw in (
        prefix + spki,
        prefix + small.public_bytes(Encoding.DER, PublicFormat.PKCS1),
        prefix + ED25519.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        prefix,
    ):
        with pytest.raises(MalformedError):
            decode_multikey(encode_base58(raw))


@given(st.text(max_size=80) | st.text("z123456789ABCabc", max_size=70).map("z".__add__))
def test_what_is_no_multikey_is_refused(text: str) -> None:
    with pytest.raises(LocalPayError):
        decode_multikey(text)
