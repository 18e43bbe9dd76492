"""The hash chain's format, frozen: a chain that exists cannot be changed later."""

import hashlib
import hmac
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from clearing import chain
from clearing.chain import Row

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
ROW = Row(
    account="barcelona",
    version="1",
    journal="0190f5a0-0000-7000-8000-000000000001",
    kind="payment",
    counterparty="leeds",
    amount="-125000",
    balance="-125000",
    time="2026-03-02T12:00:00.000000Z",
    digest="00" * 32,
)


@given(st.builds(Row, **{field.name: TEXTS for field in fields(Row)}))
def test_a_row_is_hashed_in_its_canonical_form(row: Row) -> None:
    assert chain.canonical(asdict(row)) == rfc8785.dumps(asdict(row))


@given(st.lists(st.lists(TEXTS)))
def test_the_part_of_a_round_is_hashed_in_its_canonical_form(part: list[list[str]]) -> None:
    assert chain.canonical(part) == rfc8785.dumps(part)
    assert chain.digest(part) == hashlib.sha256(rfc8785.dumps(part)).hexdigest()


def test_the_first_hash_names_union_and_account() -> None:
    written = b'{"account":"barcelona","union":"main"}'
    assert chain.first_hash("main", "barcelona") == hashlib.sha256(written).hexdigest()


def test_a_row_is_hashed_after_the_one_before_byte_for_byte() -> None:
    first = hashlib.sha256(b'{"account":"barcelona","union":"main"}').digest()
    written = (
        b'{"account":"barcelona","amount":"-125000","balance":"-125000","counterparty":"leeds",'
        b'"digest":"0000000000000000000000000000000000000000000000000000000000000000",'
        b'"journal":"0190f5a0-0000-7000-8000-000000000001","kind":"payment",'
        b'"time":"2026-03-02T12:00:00.000000Z","version":"1"}'
    )
    head = chain.next_hash(chain.first_hash("main", "barcelona"), ROW)
    assert head == hashlib.sha256(first + written).hexdigest()
    # The same as a literal, so that no change of this test's own reckoning goes unseen.
    assert head == "3c5af1b7f6eff4f104a6436ddd905a71ba980ccb4a1082d8385fc91ad4e3456d"


@pytest.mark.parametrize("name", [field.name for field in fields(Row)])
def test_every_field_of_a_row_is_in_its_hash(name: str) -> None:
    start = chain.first_hash("main", "barcelona")
    changed = replace(ROW, **{name: getattr(ROW, name) + "0"})
    assert chain.next_hash(start, changed) != chain.next_hash(start, ROW)


def test_a_row_after_another_head_has_another_hash() -> None:
    heads = {chain.next_hash(chain.first_hash("main", name), ROW) for name in ("leeds", "ghent")}
    assert len(heads) == 2


def test_a_name_is_hidden_behind_its_key() -> None:
    expected = hmac.new(b"k" * 32, b"payer_member\0ines", hashlib.sha256).hexdigest()
    assert chain.keyed_digest(b"k" * 32, "payer_member", "ines") == expected
    assert chain.keyed_digest(b"x" * 32, "payer_member", "ines") != expected
    assert chain.keyed_digest(b"k" * 32, "payee_member", "ines") != expected


def test_a_moment_is_written_in_utc_to_the_microsecond() -> None:
    east = datetime(2026, 3, 2, 14, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert chain.time_text(east) == "2026-03-02T12:00:00.000005Z"
    assert chain.time_text(east.astimezone(UTC)) == chain.time_text(east)
