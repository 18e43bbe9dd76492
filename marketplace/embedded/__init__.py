"""The embedded index: tantivy in this process, one process writing, any number reading."""

import fcntl
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from commons.database import reading
from commons.errors import UnavailableError
from marketplace.embedded.damage import came_from_tantivy, damage_in
from marketplace.embedded.fields import FACETS, SCHEMA_VERSION
from marketplace.embedded.generation import Generation
from marketplace.embedded.searching import answer, cells
from marketplace.embedded.suggesting import Suggester
from marketplace.index import Build, Change, read_on, read_until
from marketplace.listings import last_revision
from marketplace.query import Page, Query, Suggestions

_CURRENT: Final = "current"
_PREFIX: Final = f"v{SCHEMA_VERSION}-"
_NAME: Final = re.compile(r"v\d+-[\w-]+")
_LOOK_EVERY_SECONDS: Final = 60.0
_NO_NAME: Final = "the file does not name a build"
_DAMAGED: Final = "the index is damaged, until the operator has it built anew"


@dataclass(frozen=True)
class _Look:
    """What looking through the folder of the build `name` gave; it holds `until` then."""

    name: str
    flaw: str | None
    until: float


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
        self._looking = threading.Lock()
        self._looked = _Look("", None, 0.0)

    def search(self, query: Query) -> Page:
        """Answer a question; UnavailableError while the index is of another version."""
        started = time.perf_counter()
        with self._asking() as generation:
            if generation is None:
                nothing: dict[str, dict[str, int]] = {name: {} for name in FACETS}
                return Page([], 0, total_is_exact=True, facets=nothing, cursor=None, took_ms=0.0)
            page = answer(generation.snapshot(), query, time.time())
        return replace(page, took_ms=(time.perf_counter() - started) * 1000)

    def suggest(self, text: str, most: int) -> Suggestions:
        """Return what begins as was typed, of the listings that are seen now."""
        with self._asking() as generation:
            if generation is None:
                return Suggestions([], [], [])
            suggester = Suggester(generation.snapshot(), time.time())
            return suggester.suggestions(text, most)

    def cells(self, query: Query, resolution: int) -> dict[str, int]:
        """Count what a question finds by H3 cell of a resolution from 2 to 7."""
        with self._asking() as generation:
            if generation is None:
                return {}
            return cells(generation.snapshot(), query, time.time(), resolution)

    def revision(self) -> int:
        """Return the last revision held; 0 before the first."""
        with self._asking() as generation:
            return 0 if generation is None else generation.revision()

    def count(self) -> int:
        """Return how many listings are held, expired ones included."""
        with self._asking() as generation:
            return 0 if generation is None else generation.count()

    def apply(self, changes: Sequence[Change], *, since: int, revision: int) -> None:
        """Put changes in; ConflictError where the revision held is not `since`."""
        with self._asking() as generation:
            if generation is not None:
                generation.apply(changes, since=since, revision=revision)
                return
        with self._made() as first:
            self._switch_to(first)
        first.apply(changes, since=since, revision=revision)

    def outdated(self) -> bool:
        """Tell whether the folder holds an index of another version."""
        name = self._current_name()
        return name is not None and not name.startswith(_PREFIX)

    def builds(self) -> list[Build]:
        """Return what lies in the folder, the one in use first; every byte of it is read."""
        try:
            beside = sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))
            name = self._name_told()
        except FileNotFoundError:
            return []
        except OSError as error:
            return [Build(str(self._folder), in_use=True, broken=error.strerror)]
        built = []
        if name is not None and not _NAME.fullmatch(name):
            built = [Build(str(self._folder / _CURRENT), in_use=True, broken=_NO_NAME)]
        elif name is not None:
            built = [self._build(self._folder / name, in_use=True)]
        return built + [self._build(path, in_use=False) for path in beside if path.name != name]

    def rebuild(self, engine: Engine, tick: Callable[[int], None] = lambda _revision: None) -> int:
        """Fill a new generation from the listings and switch to it; return the changes read.

        `tick` is told each revision that is reached. Changes that the old one takes meanwhile
        are not lost: the new one knows its own revision, and reads on from there.
        UnavailableError while another rebuild runs.
        """
        with reading(engine) as session:
            until = last_revision(session)
        with self._filled(read_until(engine, until), tick) as (generation, count):
            later = read_on(engine, generation, tick=tick)
            generation.close()  # whoever follows the listings next may be another process
        return count + later

    def fill(self, batches: Iterable[Sequence[Change]]) -> int:
        """Fill a new generation from changes that each tell another listing, and switch to it.

        Returns how many they were; UnavailableError while a rebuild runs.
        """
        with self._filled(batches, lambda _revision: None) as (_, count):
            return count

    @contextmanager
    def _filled(
        self, batches: Iterable[Sequence[Change]], tick: Callable[[int], None]
    ) -> Iterator[tuple[Generation, int]]:
        with self._rebuilding():
            with self._made() as generation:
                yield generation, generation.fill(batches, tick)
                before = self._name_told()
                self._switch_to(generation)
            self._remove_all_but({generation.path.name, before})

    def close(self) -> None:
        """Wait for merges and let another process write."""
        with self._opening:
            if self._generation is not None:
                self._generation.close()
                self._generation = None

    def _build(self, path: Path, *, in_use: bool) -> Build:
        """Describe one folder, opened apart from what answers; of another version only its size."""
        build = Build(
            str(path),
            in_use=in_use,
            plan=path.name.partition("-")[0].removeprefix("v"),
            outdated=not path.name.startswith(_PREFIX),
            size_bytes=_size_of(path),
        )
        if build.outdated:
            return build
        if (flaw := damage_in(path)) is not None:
            if in_use:  # what answers is to know it too
                self._looked = _Look(path.name, flaw, time.monotonic() + _LOOK_EVERY_SECONDS)
            return replace(build, broken=flaw)
        try:
            opened = Generation(path)
            return replace(build, revision=opened.revision(), listings=opened.count())
        except (ValueError, OSError) as error:  # a rebuild has removed it meanwhile
            return replace(build, broken=str(error))

    def _name_told(self) -> str | None:
        """Return what the file `current` says, be it a name or not; None where there is none."""
        try:
            return (self._folder / _CURRENT).read_text(errors="replace")
        except FileNotFoundError:
            return None

    def _current_name(self) -> str | None:
        """Return the name of the build in use; UnavailableError where none can be told."""
        try:
            name = self._name_told()
        except OSError as error:
            raise UnavailableError(_DAMAGED) from error
        if name is not None and not _NAME.fullmatch(name):
            raise UnavailableError(_DAMAGED)
        return name

    @contextmanager
    def _asking(self) -> Iterator[Generation | None]:
        """Yield what is in use; UnavailableError for what fails because its folder is damaged.

        Any other error is let through. What failed once is looked through once a minute at most.
        """
        try:
            yield self._current()
        except BaseException as error:
            if not came_from_tantivy(error):
                raise
            if self._is_damaged():
                raise UnavailableError(_DAMAGED) from error
            if isinstance(error, Exception):
                raise
            msg = "tantivy panicked"
            raise RuntimeError(msg) from error  # a panic is no Exception, and would end the thread

    def _is_damaged(self) -> bool:
        name = self._current_name()
        return name is not None and self._look(name).flaw is not None

    def _look(self, name: str) -> "_Look":
        """Return what looking through a build's folder gave, within the last minute or now."""
        with self._looking:
            if self._looked.name != name or self._looked.until < time.monotonic():
                flaw = damage_in(self._folder / name)
                self._looked = _Look(name, flaw, time.monotonic() + _LOOK_EVERY_SECONDS)
            return self._looked

    def _current(self) -> Generation | None:
        before: Generation | None = None
        with self._opening:
            name = self._current_name()  # in here, or a search would go back to the one before
            if name is None:
                return None
            if not name.startswith(_PREFIX):
                msg = "the index is being rebuilt for this version"
                raise UnavailableError(msg)
            if self._looked.name == name and self._looked.flaw and self._look(name).flaw:
                raise UnavailableError(_DAMAGED)
            if self._generation is None or self._generation.path.name != name:
                before, self._generation = self._generation, Generation(self._folder / name)
            current = self._generation
        if before is not None:
            before.close()  # out here, since it waits for merges
        return current

    @contextmanager
    def _made(self) -> Iterator[Generation]:
        """Make a new build, empty; it is removed where what is done with it fails."""
        path = self._folder / f"{_PREFIX}{secrets.token_hex(8)}"
        try:
            generation = Generation.create(path)
            try:
                yield generation
            except BaseException:
                generation.close()
                raise
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise

    def _switch_to(self, generation: Generation) -> None:
        """Name a generation the current one, in one step that survives a crash."""
        fresh = self._folder / f"{_CURRENT}.{generation.path.name}"
        try:
            with fresh.open("w") as file:
                file.write(generation.path.name)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._folder / _CURRENT)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            msg = f"the index cannot be written: {error.strerror}"
            raise UnavailableError(msg) from error
        with self._opening:
            before, self._generation = self._generation, generation
        if before is not None:
            before.close()

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


def _size_of(folder: Path) -> int | None:
    """Return how many bytes lie in a folder; None where that cannot be told."""

    def size(file: Path) -> int:
        try:
            return file.stat().st_size
        except FileNotFoundError:
            return 0  # a commit removed it meanwhile

    try:
        return sum(map(size, folder.iterdir()))
    except OSError:
        return None
