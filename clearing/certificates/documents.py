"""A round's certificate as documents: what everybody may see, a group's slice, and everything."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain as chained
from typing import Any, Final

from clearing import chain
from clearing.certificates.leaves import Price, Row, amount, bound, salting_by
from clearing.merkle import Tree, leaf_hash
from commons.errors import LocalPayError

FIRST_HASH: Final = hashlib.sha256(b"localpay certificates of rounds").hexdigest()
"""What the first certificate of a union names as the one before it."""

_UNHASHED: Final = frozenset({"service", "previous", "hash", "proof"})


@dataclass(frozen=True)
class Header:
    """What a certificate tells besides what follows from the rows; moments as they are written.

    `number` counts the certificates of the union, and `previous` is the hash of the one before.
    """

    round: str
    union: str
    number: int
    previous: str
    proposed_at: str
    committed_at: str
    credit_lines: bool
    amended: bool
    waiting: int
    released: int
    released_value: int
    released_bound: int
    released_exact: bool


@dataclass(frozen=True)
class Totals:
    """What the rows of a round come to, in smallest clearing units."""

    obligations_total: int
    net_internal_debt: int
    cleared: int
    drawn: int
    bound: int


def totals(rows: Iterable[Row], prices: Mapping[str, int]) -> Totals:
    """Return what rows come to, and by the prices the most that could have been cleared."""
    adding = _Adding(prices)
    deque(adding.through(rows), maxlen=0)
    return adding.totals()


class _Adding:
    """What rows come to, added up while they pass: a million of them need not be held at once."""

    def __init__(self, prices: Mapping[str, int]) -> None:
        self._prices = prices
        self._net = dict.fromkeys(prices, 0)
        self._sums = (0, 0, 0, 0)
        self.count = 0

    def through(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Hand rows on."""
        prices, net = self._prices, self._net
        count = owed = cleared = drawn = most = 0
        for row in rows:
            yield row
            debtor, creditor, obligation, _, _, _, off, _, new = row
            count += 1
            owed += obligation
            cleared += off
            drawn += new
            most += bound(row, prices)
            net[debtor] -= obligation
            net[creditor] += obligation
        self.count, self._sums = count, (owed, cleared, drawn, most)

    def totals(self) -> Totals:
        """Return what all of them came to."""
        owed, cleared, drawn, most = self._sums
        debt = sum(amount for amount in self._net.values() if amount > 0)
        return Totals(owed, debt, cleared, drawn, most)


def tree(round_id: str, leaves: Iterable[Row | Price], key: bytes) -> Tree:
    """Return the tree over all leaves of a round, in the order of their hashes.

    Every leaf is salted, so the order is as good as drawn by lot and tells nothing.
    """
    salting = salting_by(key)
    return Tree(sorted([_hash(leaf.leaf(round_id, salting)) for leaf in leaves]))


def _hash(leaf: Mapping[str, str]) -> bytes:
    return leaf_hash(chain.canonical(leaf))


def build(
    header: Header, rows: Iterable[Row], prices: Sequence[Price], key: bytes
) -> tuple[dict[str, Any], Tree]:
    """Return the public document, not signed yet, and the tree that it is the root of.

    `prices` has one for each account that stands in a row. Raises LocalPayError where they do not
    prove that nothing more could be cleared: such a round is not one to be certified.
    """
    adding = _Adding({price.account: price.price for price in prices})
    try:
        grown = tree(header.round, chained(adding.through(rows), prices), key)
    except KeyError as error:
        raise LocalPayError(f"round {header.round}: {error} has no price") from error
    found = adding.totals()
    if found.bound != found.cleared - found.drawn:
        raise LocalPayError(f"round {header.round}: its prices do not prove it optimal")
    told = {
        "round": header.round,
        "union": header.union,
        "number": header.number,
        "proposed_at": header.proposed_at,
        "committed_at": header.committed_at,
        "rules": {"credit_lines": header.credit_lines, "amended": header.amended},
        "accounts": len(prices),
        "rows": adding.count,
        "root": grown.root.hex(),
        **{name: amount(minor) for name, minor in asdict(found).items()},
        "queue": {
            "waiting": header.waiting,
            "released": header.released,
            "value": amount(header.released_value),
            "bound": amount(header.released_bound),
            "exact": header.released_exact,
        },
        "previous": header.previous,
    }
    return {**told, "hash": hash_of(told)}, grown


def hash_of(public: Mapping[str, Any]) -> str:
    """Return the hash, in hex, of a public document after that of the one before.

    SHA-256(previous as 32 bytes ‖ canonical JSON of all but service, previous, hash and proof).
    """
    told = {name: value for name, value in public.items() if name not in _UNHASHED}
    return hashlib.sha256(bytes.fromhex(public["previous"]) + chain.canonical(told)).hexdigest()


def slice_document(
    public: Mapping[str, Any], group: str, leaves: Sequence[Row | Price], key: bytes, grown: Tree
) -> dict[str, Any]:
    """Return what a group is given: its rows, its own and its partners' prices, where they stand.

    `leaves` are the rows in which an account of the group stands and the prices of all accounts in
    them, `grown` is the tree over all leaves of the round.
    """
    salting = salting_by(key)

    def placed(one: Row | Price) -> dict[str, Any]:
        leaf = one.leaf(public["round"], salting)
        index = grown.place(_hash(leaf))
        if index is None:
            raise LocalPayError(f"round {public['round']}: its rows are not those of its root")
        del leaf["round"]
        return {**leaf, "index": index, "path": [beside.hex() for beside in grown.path(index)]}

    return {
        "form": "slice",
        "group": group,
        "rows": [placed(leaf) for leaf in leaves if isinstance(leaf, Row)],
        "prices": [placed(leaf) for leaf in leaves if isinstance(leaf, Price)],
        "public": public,
    }


def full_document(
    public: Mapping[str, Any], leaves: Sequence[Row | Price], key: bytes
) -> dict[str, Any]:
    """Return everything, for auditors: all rows and prices of a round with their salts."""
    salting = salting_by(key)

    def salted(one: Row | Price) -> dict[str, str]:
        leaf = one.leaf(public["round"], salting)
        del leaf["round"]
        return leaf

    return {
        "form": "full",
        "rows": [salted(leaf) for leaf in leaves if isinstance(leaf, Row)],
        "prices": [salted(leaf) for leaf in leaves if isinstance(leaf, Price)],
        "public": public,
    }


def accounts_of(group: str) -> frozenset[str]:
    """Return the names of the accounts that are a group's: its own and that of its rounding."""
    return frozenset({group, f"residue/{group}"})
