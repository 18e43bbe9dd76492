"""Canonical JSON (RFC 8785): the standard's pairs, and the shortcut that the chain relies on."""

import json
from pathlib import Path

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

NAMES = ("arrays", "french", "structures", "unicode", "values", "weird")
ASCII_KEYS = st.text(st.characters(max_codepoint=127))
VALID_UNICODE = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("name", NAMES)
def test_an_input_becomes_its_canonical_form_byte_for_byte(vectors: Path, name: str) -> None:
    given_text = (vectors / "jcs" / "input" / f"{name}.json").read_bytes()
    expected = (vectors / "jcs" / "output" / f"{name}.json").read_bytes()
    assert rfc8785.dumps(json.loads(given_text)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_canonical_form_is_its_own(vectors: Path, name: str) -> None:
    expected = (vectors / "jcs" / "output" / f"{name}.json").read_bytes()
    assert rfc8785.dumps(json.loads(expected)) == expected


def test_all_pairs_of_the_standard_are_read(vectors: Path) -> None:
    assert {path.stem for path in (vectors / "jcs" / "input").iterdir()} == set(NAMES)


@given(st.dictionaries(ASCII_KEYS, VALID_UNICODE))
def test_a_row_of_strings_dumped_sorted_is_canonical(row: dict[str, str]) -> None:
    assert orjson.dumps(row, option=orjson.OPT_SORT_KEYS) == rfc8785.dumps(row)


def test_every_character_of_the_basic_plane_is_escaped_alike() -> None:
    row = {"text": "".join(chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000)}
    assert orjson.dumps(row, option=orjson.OPT_SORT_KEYS) == rfc8785.dumps(row)
