"""Small rounds with their prices, and the certificates that a service, or a liar, makes of them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import strategies as st
from statement_world import KEY, SEAL, Json

from clearing import certificates
from clearing.certificates import Header, Price, Row, documents
from clearing.certificates.documents import FIRST_HASH, hash_of
from clearing.certificates.leaves import amount
from clearing.netting import Arcs, circulate
from clearing.verifying import Report

ROUND = "7a6d1c52-3f0e-4d2b-9c58-0a4f3f6f2b11"
HEADER = Header(
    round=ROUND,
    union="main",
    number=1,
    previous=FIRST_HASH,
    proposed_at="2026-11-20T10:00:00.000000Z",
    committed_at="2026-11-22T10:00:00.000000Z",
    credit_lines=True,
    amended=False,
    waiting=0,
    released=0,
    released_value=0,
    released_bound=0,
    released_exact=True,
)
SALTED_BY = bytes(range(32))


@dataclass(frozen=True)
class World:
    """A round as it was solved, or as a liar would have it."""

    rows: Sequence[Row]
    prices: Sequence[Price]
    header: Header = HEADER
    key: bytes = SALTED_BY

    @property
    def groups(self) -> list[str]:
        """The groups that have a row, each once."""
        return sorted({price.account.removeprefix("residue/") for price in self.prices})

    def public(self) -> Json:
        """The public document as the service signs it."""
        return self._signed(documents.build(self.header, self.rows, self.prices, self.key)[0])

    def slices(self, public: Json | None = None) -> dict[str, Json]:
        """Each group's slice."""
        told = public or self.public()
        tree = documents.tree(self.header.round, [*self.rows, *self.prices], self.key)
        return {
            group: certificates.slice_document(told, group, self.seen_by(group), self.key, tree)
            for group in self.groups
        }

    def full(self, public: Json | None = None) -> Json:
        """Everything."""
        leaves: list[Row | Price] = [*self.rows, *self.prices]
        return certificates.full_document(public or self.public(), leaves, self.key)

    def seen_by(self, group: str) -> list[Row | Price]:
        """What a group's slice is made of."""
        own = documents.accounts_of(group)
        rows = [row for row in self.rows if own & {row.debtor, row.creditor}]
        names = {name for row in rows for name in row[:2]}
        return [*rows, *(price for price in self.prices if price.account in names)]

    def lied(self, **claims: object) -> Json:
        """The public document of a liar, who signs whatever looks best for these rows."""
        tree = documents.tree(self.header.round, [*self.rows, *self.prices], self.key)
        honest = {price.account: 0 for price in self.prices}
        told = asdict(documents.totals(self.rows, honest))
        told["bound"] = max(0, told["cleared"] - told["drawn"])
        document = documents.build(self.header, [], [], self.key)[0]
        document |= {name: amount(minor) for name, minor in told.items()}
        document |= {"rows": len(self.rows), "accounts": len(self.prices), "root": tree.root.hex()}
        document |= claims
        return self._signed({**document, "hash": hash_of(document)})

    def _signed(self, document: Mapping[str, object]) -> Json:
        return SEAL.put(document, datetime.now(UTC))

    def with_row(self, number: int, **fields: int) -> "World":
        """The same but for one row."""
        rows = list(self.rows)
        rows[number] = Row(**{**rows[number]._asdict(), **fields})
        return replace(self, rows=rows)


def solved(owed: Sequence[Row], header: Header = HEADER) -> World:
    """Set off the most of rows; what they say of `amount` and `drawn` does not count."""
    names = sorted({name for row in owed for name in row[:2]})
    number = {name: place for place, name in enumerate(names)}
    ends = [(number[row.debtor], number[row.creditor]) for row in owed]
    # Over a spare line the debtor comes to owe the creditor, so its arc runs the other way.
    both = ends + [(creditor, debtor) for debtor, creditor in ends]
    found = circulate(
        Arcs(
            nodes=len(names),
            debtor=_numbers(debtor for debtor, _ in both),
            creditor=_numbers(creditor for _, creditor in both),
            least=_numbers([row.least for row in owed] + [0] * len(owed)),
            cap=_numbers([row.cap for row in owed] + [row.line for row in owed]),
            weight=_numbers([1] * len(owed) + [-1] * len(owed)),
        )
    )
    count = len(owed)
    rows = []
    for row, off, drawn in zip(owed, found.amount[:count], found.amount[count:], strict=True):
        idle = min(int(off) - row.least, int(drawn))  # set off and drawn at once comes to nothing
        rows.append(row._replace(amount=int(off) - idle, drawn=int(drawn) - idle))
    prices = [Price(name, int(found.price[place])) for name, place in number.items()]
    return World(rows, prices, header)


def _numbers(values: Iterable[int]) -> np.typing.NDArray[np.int64]:
    return np.array(list(values), dtype=np.int64)


def owes(debtor: str, creditor: str, obligation: int, cap: int | None = None, line: int = 0) -> Row:
    """An obligation of which all may be set off, or `cap` of it."""
    most = obligation if cap is None else cap
    return Row(debtor, creditor, obligation, 0, 0, most, 0, line, 0)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A small round; some rows have a cap, some a least that can be met, some a spare line."""
    names = [f"group-{letter}" for letter in "uvwxyz"[: draw(st.integers(2, 6))]]
    pairs = [(one, two) for number, one in enumerate(names) for two in names[:number]]
    rows = []
    for one, two in draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True)):
        ends = (one, two) if draw(st.booleans()) else (two, one)
        obligation = draw(st.integers(1, 50))
        cap = draw(st.one_of(st.just(obligation), st.integers(0, obligation)))
        line = draw(st.sampled_from([0, 0, 20]))
        rows.append(owes(*ends, obligation, cap, line))
    if not draw(st.booleans()):
        return solved(rows)
    halves = [row._replace(least=row.amount // 2) for row in solved(rows).rows]
    return solved(halves)


def triangle(header: Header = HEADER) -> World:
    """The three of the page: A owes B 80, B owes C 90, C owes A 70, and D, with whom B trades."""
    hour = 10_000
    rows = [
        owes("aachen", "bern", 80 * hour),
        owes("bern", "cork", 90 * hour),
        owes("cork", "aachen", 70 * hour),
        owes("bern", "davos", 33 * hour),
        owes("residue/aachen", "bern", 7),
    ]
    return solved(rows, header)


def verified(*files: Json, key: bool = True) -> Report:
    """Verify certificates as they would lie in files named by their place."""
    read = [
        certificates.read(f"{number}.json", json.dumps(one).encode())
        for number, one in enumerate(files)
    ]
    public_key = KEY.public_key() if key else None
    return certificates.verify(read, public_key, datetime.now(UTC) + timedelta(seconds=1))
