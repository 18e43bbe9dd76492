"""The embedded index: tantivy in this process, one process writing, any number reading."""

import fcntl
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from commons.errors import UnavailableError
from marketplace.embedded.fields import FACETS, SCHEMA_VERSION
from marketplace.embedded.generation import Generation
from marketplace.embedded.searching import Search
from marketplace.embedded.suggesting import Suggester
from marketplace.index import Change, read_on
from marketplace.query import Page, Query, Suggestions

_CURRENT: Final = "current"
_PREFIX: Final = f"v{SCHEMA_VERSION}-"


class EmbeddedIndex:
    """The index in a folder, of which the file `current` names the generation in use.

    A rebuild fills another generation and then changes that name; searches that run go on in
    the old one. The writer opens the index with the first change, so that a process that only
    searches never locks it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opening = threading.Lock()
        self._generation: Generation | None = None

    def search(self, query: Query) -> Page:
        """Answer a question; UnavailableError while the index is of another version."""
        started = time.perf_counter()
        generation = self._current()
        if generation is None:
            nothing: dict[str, dict[str, int]] = {name: {} for name in FACETS}
            return Page([], 0, total_is_exact=True, facets=nothing, cursor=None, took_ms=0.0)
        page = Search(generation.searcher(), generation.schema, query, time.time()).page()
        return replace(page, took_ms=(time.perf_counter() - started) * 1000)

    def suggest(self, text: str, most: int) -> Suggestions:
        """Return what begins as was typed, of the listings that are seen now."""
        generation = self._current()
        if generation is None:
            return Suggestions([], [], [])
        suggester = Suggester(generation.searcher(), generation.schema, time.time())
        return suggester.suggestions(text, most)

    def cells(self, query: Query, resolution: int) -> dict[str, int]:
        """Count what a question finds by H3 cell of a resolution from 2 to 7."""
        generation = self._current()
        if generation is None:
            return {}
        search = Search(generation.searcher(), generation.schema, query, time.time())
        return search.cells(resolution)

    def revision(self) -> int:
        """Return the last revision held; 0 before the first."""
        generation = self._current()
        return 0 if generation is None else generation.revision()

    def count(self) -> int:
        """Return how many listings are held, expired ones included."""
        generation = self._current()
        return 0 if generation is None else generation.count()

    def apply(self, changes: Sequence[Change], *, since: int, revision: int) -> None:
        """Put changes in; ConflictError where the revision held is not `since`."""
        generation = self._current()
        if generation is None:
            generation = Generation.create(self._new_path())
            self._switch_to(generation)
        generation.apply(changes, since=since, revision=revision)

    def outdated(self) -> bool:
        """Tell whether the folder holds an index of another version."""
        name = self._current_name()
        return name is not None and not name.startswith(_PREFIX)

    def rebuild(self, engine: Engine, tick: Callable[[int], None] = lambda _revision: None) -> int:
        """Fill a new generation from the listings and switch to it; return the changes read.

        `tick` is told each revision that is reached. Changes that the old one takes meanwhile
        are not lost: the new one knows its own revision, and reads on from there.
        UnavailableError while another rebuild runs.
        """
        with self._rebuilding():
            generation = Generation.create(self._new_path())
            try:
                count = read_on(engine, generation, tick=tick)
            except BaseException:
                generation.close()
                shutil.rmtree(generation.path)
                raise
            generation.close()  # whoever follows the listings next may be another process
            before = self._current_name()
            self._switch_to(generation)
            self._remove_all_but({generation.path.name, before})
        return count

    def close(self) -> None:
        """Wait for merges and let another process write."""
        with self._opening:
            if self._generation is not None:
                self._generation.close()
                self._generation = None

    def _current_name(self) -> str | None:
        try:
            return (self._folder / _CURRENT).read_text()
        except FileNotFoundError:
            return None

    def _current(self) -> Generation | None:
        name = self._current_name()
        if name is None:
            return None
        if not name.startswith(_PREFIX):
            msg = "the index is being rebuilt for this version"
            raise UnavailableError(msg)
        with self._opening:
            if self._generation is None or self._generation.path.name != name:
                if self._generation is not None:
                    self._generation.close()
                self._generation = Generation(self._folder / name)
            return self._generation

    def _new_path(self) -> Path:
        return self._folder / f"{_PREFIX}{secrets.token_hex(8)}"

    def _switch_to(self, generation: Generation) -> None:
        """Name a generation the current one, in one step that survives a crash."""
        fresh = self._folder / f"{_CURRENT}.{generation.path.name}"
        with fresh.open("w") as file:
            file.write(generation.path.name)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._folder / _CURRENT)
        with self._opening:
            if self._generation is not None:
                self._generation.close()
            self._generation = generation

    def _remove_all_but(self, kept: set[str | None]) -> None:
        # The one just left stays until the next rebuild: others may be opening it.
        for path in self._folder.iterdir():
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path)

    @contextmanager
    def _rebuilding(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "rebuild.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                msg = "another process rebuilds this index"
                raise UnavailableError(msg) from error
            yield
