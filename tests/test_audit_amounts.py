"""What a journal moved is held against its transfer: a payment without its residue is found."""

from dataclasses import replace
from operator import itemgetter
from uuid import UUID

import pytest
from clearing_world import accept, assert_sound, call, made, open_world, push
from sqlalchemy import Engine
from tampering import problems

from clearing.audit.merging import side_by_side
from clearing.calls import posting
from clearing.calls.desk import Desk
from clearing.ledger import Draft
from clearing.transfers import HeldTransfer
from commons.database import reading

FIRST = itemgetter(0)


def test_a_payment_posted_without_its_residue_is_found(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else of the book fits: only the transfer says what should have been moved."""
    open_world(sqlite_engine)
    whole = posting._journal  # noqa: SLF001 (which a defect is put into)

    def lossy(desk: Desk, one: HeldTransfer, about: UUID | None) -> Draft:
        right = whole(desk, one, about)
        draft = whole(desk, replace(one, payer_clearing=one.payee_clearing), about)
        digest = right.lines[0].digest
        return replace(draft, lines=[replace(line, digest=digest) for line in draft.lines])

    good = made(sqlite_engine, push("leeds", "ghent", "9.3057"))
    posted = call(sqlite_engine, accept(good)).transfer
    assert posted is not None
    assert posted.residue != "0.0000"
    assert_sound(sqlite_engine)
    bad = made(sqlite_engine, push("leeds", "ghent", "9.3057"))
    with monkeypatch.context() as patched:
        patched.setattr(posting, "_journal", lossy)
        assert call(sqlite_engine, accept(bad)).error is None
    with reading(sqlite_engine) as session:
        found = problems(session)
    assert found == [f"journal {bad.id} moved other amounts than its transfer says"]


@pytest.mark.parametrize(
    ("left", "right", "told"),
    [
        ([], [], []),
        ([(1, "a")], [], [(1, [(1, "a")], [])]),
        ([], [(1, "x")], [(1, [], [(1, "x")])]),
        (
            [(1, "a"), (1, "b"), (3, "c")],
            [(2, "x"), (3, "y"), (3, "z"), (4, "w")],
            [
                (1, [(1, "a"), (1, "b")], []),
                (2, [], [(2, "x")]),
                (3, [(3, "c")], [(3, "y"), (3, "z")]),
                (4, [], [(4, "w")]),
            ],
        ),
    ],
)
def test_both_sides_of_every_key_are_seen_once(
    left: list[tuple[int, str]],
    right: list[tuple[int, str]],
    told: list[tuple[int, list[tuple[int, str]], list[tuple[int, str]]]],
) -> None:
    assert list(side_by_side(left, right, FIRST, FIRST)) == told
