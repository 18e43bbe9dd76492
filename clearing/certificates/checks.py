"""What a certificate has to hold, each check a function that tells in sentences where it does not.

Sentences name the row, the price or the field; whose file it is, the caller knows.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from clearing import merkle
from clearing.certificates.documents import accounts_of, hash_of, totals
from clearing.certificates.leaves import Price, Row, amount, out_of_bounds, slack
from clearing.certificates.reading import File, Leaf, Public, minor

_TOTALS: Final = ("obligations_total", "net_internal_debt", "cleared", "drawn", "bound")


def public(file: File) -> Iterator[str]:
    """Check a public document by itself."""
    told = file.public
    if hash_of(file.raw) != told.hash:
        yield "hash: is not that of what it says"
    owed, debt, cleared, drawn, bound = (minor(getattr(told, name)) for name in _TOTALS)
    if bound != cleared - drawn:
        yield f"bound: {told.bound} could be cleared, and {told.cleared} less {told.drawn} was"
    if cleared > owed - debt + drawn:
        yield "cleared: is more than is owed beyond the net internal debt"
    if drawn and not told.rules.credit_lines:
        yield "drawn: spare credit lines were not to be used"
    if told.queue.released > told.queue.waiting:
        yield "queue.released: is more than waited"
    if minor(told.queue.value) > minor(told.queue.bound):
        yield "queue.value: is more than its bound"


def paths(told: Public, leaves: Iterable[Leaf]) -> Iterator[str]:
    """Check that each leaf of a slice stands in the tree where it says."""
    size = told.rows + told.accounts
    root = bytes.fromhex(told.root)
    for leaf in leaves:
        if merkle.root_by(leaf.content, leaf.place, size, leaf.path) != root:
            yield f"{named(leaf.told)}: does not stand in the tree at place {leaf.place}"


def whole_tree(told: Public, leaves: Iterable[Leaf]) -> Iterator[str]:
    """Check that leaves are all there are: their tree, in the order of hashes, has the root."""
    hashes = sorted(merkle.leaf_hash(leaf.content) for leaf in leaves)
    if merkle.Tree(hashes).root.hex() != told.root:
        yield "root: is not that of these rows and prices"


def once(leaves: Iterable[Leaf]) -> Iterator[str]:
    """Check that no row and no price is told twice."""
    seen: set[object] = set()
    for leaf in leaves:
        key = leaf.told[:2] if isinstance(leaf.told, Row) else leaf.told.account
        if key in seen:
            yield f"{named(leaf.told)}: is told twice"
        seen.add(key)


def one_way(rows: Iterable[Row]) -> Iterator[str]:
    """Check that of two groups one owes the other: what they owe each other is one position."""
    owed = {row[:2]: row for row in rows if row.obligation}
    for (debtor, creditor), row in owed.items():
        if debtor != creditor and (creditor, debtor) in owed:
            yield f"{named(row)}: and the other way round too"


def priced(rows: Iterable[Row], prices: Mapping[str, int]) -> Iterator[str]:
    """Check that there is a price for each account that stands in a row, and for no other."""
    ends = {name for row in rows for name in (row.debtor, row.creditor)}
    for name in sorted(ends - prices.keys()):
        yield f"price of {name}: is missing"
    for name in sorted(prices.keys() - ends):
        yield f"price of {name}: there is no row of it"


def optimal(told: Public, rows: Iterable[Row], prices: Mapping[str, int]) -> Iterator[str]:
    """Check each row: that it keeps its bounds, and by the prices could not count for more."""
    for row in rows:
        found = [*out_of_bounds(row, credit_lines=told.rules.credit_lines), *slack(row, prices)]
        yield from (f"{named(row)}: {problem}" for problem in found)


def conserved(rows: Iterable[Row], accounts: Iterable[str]) -> Iterator[str]:
    """Check that as much is set off of what accounts owe as of what they are owed."""
    ours: dict[str, int] = defaultdict(int)
    theirs: dict[str, int] = defaultdict(int)
    for row in rows:
        ours[row.debtor] += row.net
        theirs[row.creditor] += row.net
    for name in sorted(accounts):
        if ours[name] != theirs[name]:
            yield (
                f"account {name}: {amount(ours[name])} is set off of what it owes and "
                f"{amount(theirs[name])} of what it is owed, each less what is drawn"
            )


def sums(told: Public, rows: Sequence[Row], prices: Mapping[str, int]) -> Iterator[str]:
    """Check that all rows come to what the public document says."""
    found = totals(rows, prices)
    for name in _TOTALS:
        if getattr(found, name) != minor(getattr(told, name)):
            yield f"{name}: is {getattr(told, name)}, and rows make {amount(getattr(found, name))}"
    for name, counted in (("rows", len(rows)), ("accounts", len(prices))):
        if getattr(told, name) != counted:
            yield f"{name}: is {getattr(told, name)}, and there are {counted}"


def own(group: str, rows: Sequence[Row]) -> Iterator[str]:
    """Check that a slice has rows, which it else would not have, and its group stands in each."""
    names = accounts_of(group)
    if not rows:
        yield f"rows: there are none, and the service gives {group} no slice without any"
    for row in rows:
        if row.debtor not in names and row.creditor not in names:
            yield f"{named(row)}: is no business of {group}"


def shared(slices: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Check that groups whose slices are both here were told the same rows of each other."""
    of = {name: group for group in slices for name in accounts_of(group)}
    held = {group: {row[:2] for row in rows} for group, rows in slices.items()}
    for group, rows in slices.items():
        for row in rows:
            for name in (row.debtor, row.creditor):
                other = of.get(name, group)
                if row[:2] not in held[other]:
                    yield f"{named(row)}: is in the slice of {group} and not in that of {other}"


def named(told: Row | Price) -> str:
    """Return how a leaf is called in sentences."""
    if isinstance(told, Row):
        return f"row {told.debtor} owes {told.creditor}"
    return f"price of {told.account}"
