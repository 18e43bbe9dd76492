"""Published roots checked offline: that an account is in them, and that all were shown the same."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta

from clearing import merkle
from clearing.roots import Leaf, hash_of
from clearing.verifying.documents import Inclusion, Root


def check(found: Inclusion, heads: Mapping[tuple[str, str], Mapping[int, str]]) -> Iterator[str]:
    """Tell what is wrong with a proof of inclusion, or between it and the statements' heads.

    `heads` are the hashes of versions by union and account.
    """
    place = f"account {found.account}: version {found.version}"
    root = found.published
    if hash_of(root.previous, root.day, root.accounts, root.root) != root.hash:
        yield f"the root of {root.day}: its hash is not that of what it says"
    leaf = Leaf(found.union, found.account, found.version, found.head)
    path = [bytes.fromhex(beside) for beside in found.path]
    way = merkle.root_by(leaf.canonical(), found.index, root.accounts, path)
    if way is None or way.hex() != root.root:
        yield f"{place}: the way from it does not lead to the root of {root.day}"
    told = heads.get((found.union, found.account), {})
    if found.version not in told:
        yield f"{place}: was published for {root.day} and is in none of the statements"
    elif told[found.version] != found.head:
        yield f"{place}: another head was published for {root.day}"


def check_together(roots: Sequence[Root]) -> Iterator[str]:
    """Tell where two proofs hold different roots of one day, or days that do not chain."""
    of_days: dict[tuple[str, str], Root] = {}
    for root in roots:
        known = of_days.setdefault((root.service, root.day), root)
        if known.hash != root.hash:
            yield f"the root of {root.day}: two different ones were published"
    for (service, day), root in of_days.items():
        after = of_days.get((service, _next(day)))
        if after is not None and after.previous != root.hash:
            yield f"the root of {after.day}: does not follow that of {day}"


def _next(day: str) -> str:
    try:
        return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    except (ValueError, OverflowError):
        return ""
