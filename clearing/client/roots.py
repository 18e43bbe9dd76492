"""Published roots as a hub keeps them: a signed hash for each day, each chained to the one before.

Two hubs that keep the same root of a day were shown the same history up to its end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from clearing.client.answers import Json, RootError, UntrustedAnswerError
from clearing.client.history import Head, History
from clearing.client.records import Record, Store
from clearing.roots import hash_of
from clearing.verifying import inclusion
from clearing.verifying.documents import Inclusion, Root
from commons import proofs
from commons.errors import UnauthenticatedError
from commons.signatures import PublicKey

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class DayRoot:
    """The hash of a day's root and of the root of the day before."""

    day: date
    root: str
    previous: str


class Roots:
    """The roots that are kept, by their days, and our accounts' heads in them."""

    def __init__(self, store: Store, history: History) -> None:
        self._history = history
        self._roots: dict[date, DayRoot] = {}
        self._heads: dict[tuple[date, str, str], Head] = {}
        for record in store.read():
            if "root" in record:
                self._hold(*_read(record))

    def chain(self, shown: DayRoot, published: Callable[[date], DayRoot]) -> None:
        """Check that a root and those that are kept are links of one chain.

        `published` asks for the roots of days between. Raises RootError where they are not.
        """
        kept = self._roots.get(shown.day)
        if kept is not None and kept != shown:
            raise RootError(shown.day, kept.root, shown.root)
        beside = self._nearest(shown.day)
        if beside is None:
            return
        ends = sorted((beside, shown), key=lambda one: one.day)
        days = (ends[0].day + _DAY * n for n in range(1, (ends[1].day - ends[0].day).days))
        links = [ends[0], *(published(day) for day in days), ends[1]]
        for earlier, later in pairwise(links):
            if later.previous != earlier.root:
                raise RootError(earlier.day, earlier.root, later.previous)

    def _nearest(self, day: date) -> DayRoot | None:
        """Return a kept root of another day: the last before it, else the first after it."""
        before = max((kept for kept in self._roots if kept < day), default=None)
        after = min((kept for kept in self._roots if kept > day), default=None)
        nearest = before or after
        return None if nearest is None else self._roots[nearest]

    def head_before(self, union: str, account: str, version: int) -> Head | None:
        """Return the last head of an account in a kept root that is no later than a version."""
        known = [
            head
            for (_, *whose), head in self._heads.items()
            if whose == [union, account] and head.version <= version
        ]
        return max(known, key=lambda head: head.version, default=None)

    def keep(self, root: DayRoot, head: Head) -> None:
        """Keep a root that was checked, with our account's head in it."""
        if (root.day, head.union, head.account) not in self._heads:
            self._history.note(_record(root, head))
            self._hold(root, head)

    def _hold(self, root: DayRoot, head: Head) -> None:
        self._roots[root.day] = root
        self._heads[root.day, head.union, head.account] = head


def root_of(document: Json, day: date, key: PublicKey) -> DayRoot:
    """Read a published root, or raise UntrustedAnswerError: of another day, unsigned, or wrong."""
    try:
        root = Root.model_validate(document)
    except ValidationError as error:
        raise UntrustedAnswerError(f"this is no published root: {error}") from error
    proof = proofs.read(document)
    if root.day != day.isoformat() or proof is None or not isinstance(key, Ed25519PublicKey):
        raise UntrustedAnswerError(f"the root of {day} is of another day, or nobody signed it")
    try:
        proofs.verify(proof, key, now=datetime.now(UTC))
    except UnauthenticatedError as error:
        raise UntrustedAnswerError(f"the root of {day}: {error.detail}") from error
    if hash_of(root.previous, root.day, root.accounts, root.root) != root.hash:
        raise UntrustedAnswerError(f"the root of {day}: its hash is not that of what it says")
    return DayRoot(day, root.hash, root.previous)


def leaf_of(document: Json, account: tuple[str, str], shown: Json) -> Head:
    """Return our account's head in a root that was shown, as the way to that root proves it.

    `account` is the union and the account's name. Raises UntrustedAnswerError where it does not.
    """
    try:
        found = Inclusion.model_validate(document)
    except ValidationError as error:
        raise UntrustedAnswerError(f"this is no proof of inclusion: {error}") from error
    for problem in _problems(found, account, Root.model_validate(shown)):
        raise UntrustedAnswerError(f"the proof of inclusion does not verify: {problem}")
    return Head(found.union, found.account, found.version, found.head)


def _problems(found: Inclusion, account: tuple[str, str], shown: Root) -> Iterator[str]:
    if (found.union, found.account) != account:
        yield f"it is that of {found.account} in {found.union}"
    if found.published != shown:
        yield "it is in another root than the one that was published"
    yield from inclusion.check(found, {account: {found.version: found.head}})


def _record(root: DayRoot, head: Head) -> Record:
    return {
        "day": root.day.isoformat(),
        "root": root.root,
        "previous": root.previous,
        "union": head.union,
        "account": head.account,
        "version": str(head.version),
        "leaf": head.head,
        "time": head.time,
    }


def _read(record: Record) -> tuple[DayRoot, Head]:
    root = DayRoot(date.fromisoformat(record["day"]), record["root"], record["previous"])
    version = int(record["version"])
    head = Head(record["union"], record["account"], version, record["leaf"], record["time"])
    return root, head
