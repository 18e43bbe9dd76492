"""The heads that a hub was told of its accounts, and the proof that each goes on from the last."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from clearing import chain
from clearing.client.answers import HistoryError
from clearing.client.records import Record, Store

MAIN_UNION: Final = "main"
_NOTHING: Final = "nothing"


@dataclass(frozen=True)
class Head:
    """The last hash of an account's chain, as it stood after `version` rows.

    `time` is that of the last row, where it is known.
    """

    union: str
    account: str
    version: int
    head: str
    time: str = ""


class History:
    """The heads of each account that were told since the last one that was proven.

    What was never told of an account is proven from its start, version 0. Safe to use from several
    threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], dict[int, str]] = {}
        self._times: dict[tuple[str, str], str] = {}
        for record in store.read():
            if "head" in record:
                head = _head(record)
                kept = self._told.setdefault((head.union, head.account), {})
                kept[head.version] = head.head
                self._times.setdefault((head.union, head.account), head.time)

    def told(self, head: Head) -> None:
        """Keep a head; raises HistoryError where that version was told with another one.

        What lies before the last proven version comes late out of a slow answer, and is not kept.
        """
        with self._lock:
            heads = self._of(head.union, head.account)
            known = heads.get(head.version)
            if known is not None and known != head.head:
                raise HistoryError(head.account, head.version, known, head.head)
            if known is None and head.version > min(heads):
                heads[head.version] = head.head
                self._store.add(_record(head))

    def accounts(self) -> list[tuple[str, str]]:
        """Return the unions and accounts that heads are kept of."""
        with self._lock:
            return sorted(self._told)

    def proven(self, union: str, account: str) -> Head:
        """Return the last proven head, that of version 0 where none was proven yet."""
        with self._lock:
            heads = self._of(union, account)
            return Head(union, account, min(heads), heads[min(heads)], self._time(union, account))

    def prove(self, union: str, account: str, rows: Iterable[chain.Row]) -> Head:
        """Hash the account's rows since the proven head, and return the head that they end in.

        From then on that one is the proven head. Raises HistoryError where a row is missing or
        out of its place, where a hash is not the one that was told, and where the rows end before
        a version that was told before this was called.
        """
        reached = self.proven(union, account)
        with self._lock:
            told = dict(self._of(union, account))
        for row in rows:
            reached = _next(reached, row)
            known = told.get(reached.version, reached.head)
            if known != reached.head:
                raise HistoryError(account, reached.version, known, reached.head)
        if max(told) > reached.version:
            raise HistoryError(account, max(told), told[max(told)], _NOTHING)
        self._keep(reached)
        return reached

    def head_at(self, start: Head, version: int, rows: Iterable[chain.Row]) -> Head:
        """Hash rows on from `start`, as far as what is proven, and return the head at a version.

        So that head lies in the one chain with all heads that are kept. Raises HistoryError where
        a row is missing, or where a hash is not the one that was told.
        """
        with self._lock:
            told = dict(self._of(start.union, start.account))
        last = max(version, min(told))
        reached = found = start
        for row in islice(rows, last - start.version):
            reached = _next(reached, row)
            known = told.get(reached.version, reached.head)
            if known != reached.head:
                raise HistoryError(start.account, reached.version, known, reached.head)
            if reached.version == version:
                found = reached
        if reached.version < last:
            raise HistoryError(start.account, last, told.get(last, "one in a root"), _NOTHING)
        return found

    def note(self, record: Record) -> None:
        """Keep a record beside the heads."""
        with self._lock:
            self._store.add(record)

    def _keep(self, proven: Head) -> None:
        with self._lock:
            heads = self._of(proven.union, proven.account)
            known = heads.get(proven.version, proven.head)
            if known != proven.head:  # told in the meantime
                raise HistoryError(proven.account, proven.version, known, proven.head)
            later = {version: head for version, head in heads.items() if version > proven.version}
            self._told[proven.union, proven.account] = {proven.version: proven.head, **later}
            self._times[proven.union, proven.account] = proven.time
            self._store.replace(self._records())

    def _records(self) -> Sequence[Record]:
        others = [record for record in self._store.read() if "head" not in record]
        heads = [
            _record(Head(union, account, version, head, self._time(union, account)))
            for (union, account), kept in self._told.items()
            for version, head in sorted(kept.items())
        ]
        return others + heads

    def _time(self, union: str, account: str) -> str:
        return self._times.get((union, account), "")

    def _of(self, union: str, account: str) -> dict[int, str]:
        """Return an account's heads by version; where nothing is kept, they begin at its start."""
        if (union, account) not in self._told:
            first = Head(union, account, 0, chain.first_hash(union, account))
            self._told[union, account] = {0: first.head}
            self._store.add(_record(first))
        return self._told[union, account]


def _next(reached: Head, row: chain.Row) -> Head:
    version = reached.version + 1
    if (row.account, row.version) != (reached.account, str(version)):
        shown = f"version {row.version} of {row.account}"
        raise HistoryError(reached.account, version, f"one that follows {reached.head}", shown)
    hashed = chain.next_hash(reached.head, row)
    return replace(reached, version=version, head=hashed, time=row.time)


def _record(head: Head) -> Record:
    return {
        "union": head.union,
        "account": head.account,
        "version": str(head.version),
        "head": head.head,
        "time": head.time,
    }


def _head(record: Record) -> Head:
    version = int(record["version"])
    return Head(record["union"], record["account"], version, record["head"], record["time"])
