"""The index in a Meilisearch server (v1.12 or later), for whoever runs one."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import Engine

from marketplace.index import Build, Change, read_on
from marketplace.meilisearch.generation import Generation
from marketplace.meilisearch.plan import PLAN
from marketplace.meilisearch.searching import answer, cells
from marketplace.meilisearch.server import Server, answering
from marketplace.meilisearch.suggesting import suggestions
from marketplace.query import Page, Query, Suggestions

UID: Final = "localpay-listings"


class MeilisearchIndex:
    """The index `uid` of a server; a rebuild fills another one beside it and swaps the two."""

    def __init__(self, url: str, key: str | None = None, uid: str = UID) -> None:
        self._server = Server(url, key)
        self._current = Generation(self._server, uid)
        self._next = Generation(self._server, f"{uid}-next")

    def search(self, query: Query) -> Page:
        """Answer a question; UnavailableError where the server does not answer in 2 s."""
        started = time.perf_counter()
        page = answer(self._server, self._current.uid, query, time.time())
        return replace(page, took_ms=(time.perf_counter() - started) * 1000)

    def suggest(self, text: str, most: int) -> Suggestions:
        """Return what begins as was typed, of the listings that are seen now."""
        return suggestions(self._server, self._current.uid, text, most, int(time.time()))

    def cells(self, query: Query, resolution: int) -> dict[str, int]:
        """Count what a question finds by H3 cell of a resolution from 2 to 7."""
        return cells(self._server, self._current.uid, query, time.time(), resolution)

    def revision(self) -> int:
        """Return the last revision held; 0 before the first."""
        return self._current.revision()

    def count(self) -> int:
        """Return how many listings are held, expired ones included."""
        return self._current.count()

    def apply(self, changes: Sequence[Change], *, since: int, revision: int) -> None:
        """Put changes in; ConflictError where the revision held is not `since`."""
        self._current.apply(changes, since=since, revision=revision)

    def outdated(self) -> bool:
        """Tell whether what is held was built with other settings or other documents."""
        held = self._current.held()
        return held is not None and held.plan != PLAN

    def builds(self) -> list[Build]:
        """Return the index in use, then one that a rebuild fills or left behind.

        The size is that of the server's whole database, the only one that it tells.
        """
        found = []
        for generation in (self._current, self._next):
            held = generation.held()
            if held is None:
                continue
            in_use = generation is self._current
            with answering():
                size = self._server.reads.get_all_stats()["databaseSize"] if in_use else None
            found.append(
                Build(
                    generation.uid,
                    in_use=in_use,
                    plan=held.plan,
                    outdated=held.plan != PLAN,
                    revision=held.revision,
                    listings=generation.count(),
                    size_bytes=size,
                )
            )
        return found

    def rebuild(self, engine: Engine, tick: Callable[[int], None] = lambda _revision: None) -> int:
        """Fill a second index from the listings and swap the two; return the changes read.

        `tick` is told each revision that is reached. Changes that the old one takes meanwhile
        are not lost: the new one knows its own revision, and is read on from there.
        """
        self._next.create()
        count = read_on(engine, self._next, tick=tick)
        if self._current.held() is None:
            self._current.create()  # only what exists can be swapped
        pairs = [
            [self._current.uid, self._next.uid],
            [self._current.meta_uid, self._next.meta_uid],
        ]
        with answering():
            task = self._server.writes.swap_indexes([{"indexes": pair} for pair in pairs])
        self._server.await_all([task])
        self._next.remove()
        return count

    def close(self) -> None:
        """Nothing is held open: each call has its own connection."""
