"""JSON from outside: what is read, and what is refused before anybody works with it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commons.errors import MalformedError
from commons.json_reading import read_json


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


REFUSED = {
    "nothing": b"",
    "text": b"hello",
    "trailing comma": b'{"a":1,}',
    "two documents": b"{}{}",
    "latin-1": '{"a":"é"}'.encode("latin-1"),
    "utf-16": '{"a":1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "overlong utf-8": b'"\xc0\xaf"',
    "same key twice": b'{"id":1,"id":2}',
    "same key twice, spelt differently": b'{"id":1,"\\u0069d":2}',
    "same key twice, deep": b'{"a":[{"b":{"c":1,"c":1}}]}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "-Infinity": b"[-Infinity]",
    "infinite by size": b"[1e999]",
    "integer of 65 bits": b"[9223372036854775808]",
    "integer of 5000 digits": b"1" * 5000,
    "NUL": b'{"a":"x\\u0000"}',
    "NUL in a key": b'{"\\u0000":1}',
    "bare NUL": b'"\0"',
    "half a surrogate pair": b'["\\ud800"]',
    "half a pair in a key": b'{"\\udc00":1}',
    "halves the wrong way round": b'"\\udc00\\ud800"',
    "too deep": nested(101),
    "too deep by objects": b'{"a":' * 101 + b"1" + b"}" * 101,
    "too deep beside": b'[[],{"a":1},' + nested(100) + b"]",
    "too wide": b"[" + b",".join([b"[]"] * 40_000) + b"]",
    "too many members": b"{" + b",".join(b'"%x":0' % number for number in range(45_001)) + b"}",
    "bomb": nested(100_000),
    "open bomb": b"[" * 1_000_000,
    "open bomb of objects": b'{"a":' * 200_000,
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_trusted_to_mean_one_thing_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        read_json(body)


def test_a_hundred_levels_are_read() -> None:
    assert json.dumps(read_json(nested(100))).encode() == nested(100)
    leaf = read_json(b"[" * 100 + b'"x"' + b"]" * 100)
    assert "x" in json.dumps(leaf)


def test_wide_documents_are_read() -> None:
    assert len(read_json(b"[" + b",".join([b"[]"] * 22_000) + b"]")) == 22_000


def test_both_ends_of_64_bits_and_whole_pairs_are_read() -> None:
    assert read_json(b'[9223372036854775807,-9223372036854775807,"\\ud83c\\udf33"]') == [
        2**63 - 1,
        -(2**63) + 1,
        "🌳",
    ]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="ascii")), inner),
)


@given(JSON)
def test_whatever_json_holds_is_read_as_it_was_written(value: object) -> None:
    body = json.dumps(value).encode()
    try:
        assert read_json(body) == value
    except MalformedError:
        assert b"\\u0000" in body


@given(st.binary(max_size=100))
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    try:
        value = read_json(body)
    except MalformedError:
        return
    assert value == json.loads(body)
