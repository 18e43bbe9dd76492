"""One folder of the embedded index: opened by any process, written by one."""

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import tantivy

from commons.errors import ConflictError, UnavailableError
from marketplace.embedded.fields import META, document_of, meta_document, register_analysers, schema
from marketplace.embedded.ranking import weight_of
from marketplace.embedded.snapshot import Snapshot
from marketplace.index import Change

WRITER_BYTES: Final = 64_000_000
FILLING_BYTES: Final = 250_000_000
_FULL_BYTES: Final = 1_000_000


class Generation:
    """An index folder; rebuilding makes another one beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index = tantivy.Index.open(str(path))
        register_analysers(self._index)
        self._index.config_reader("manual")
        self.schema = self._index.schema
        self._reloading = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._snapshot: Snapshot | None = None
        self._writer: tantivy.IndexWriter | None = None

    @classmethod
    def create(cls, path: Path) -> "Generation":
        """Make an empty index in a new folder."""
        path.mkdir(parents=True)
        try:
            tantivy.Index(schema(), str(path))
        except ValueError as error:
            raise _unwritten(path, error) from error
        return cls(path)

    def snapshot(self) -> Snapshot:
        """Return what was last committed, by whichever process."""
        with self._reloading:
            status = (self.path / "meta.json").stat()
            stamp = (status.st_ino, status.st_mtime_ns)  # every commit puts a new file there
            if self._snapshot is None or stamp != self._seen:
                self._index.reload()
                self._snapshot = Snapshot(self._index.searcher(), self.schema)
                self._seen = stamp
            return self._snapshot

    def revision(self) -> int:
        """Return the last revision that was committed; 0 for an empty index."""
        return self.snapshot().revision

    def count(self) -> int:
        """Return how many listings are held."""
        searcher = self.snapshot().searcher
        return max(searcher.num_docs - 1, 0)

    def apply(self, changes: Sequence[Change], *, since: int, revision: int) -> None:
        """Commit changes and the revision they lead to; ConflictError where it is not `since`."""
        writer = self._open_writer()
        held = self.revision()
        if held != since:
            msg = f"the index is at revision {held}, not {since}"
            raise ConflictError(msg)
        searcher = self.snapshot().searcher
        latest = {change.id: change for change in changes}.values()
        documents = [_document(change) for change in latest]
        with self._writing():
            for change, document in zip(latest, documents, strict=True):
                if searcher.doc_freq("id", change.id):  # to delete costs as much as to add
                    writer.delete_documents_by_term("id", change.id)
                if document is not None:
                    writer.add_document(document)
            writer.delete_documents_by_term("kind", META)
            writer.add_document(meta_document(revision))
            writer.commit()

    def fill(self, batches: Iterable[Sequence[Change]], tick: Callable[[int], None]) -> int:
        """Commit changes of which each tells another listing, at once; return how many.

        Into an empty index only, to whose revision the last one leads; `tick` is told of each
        batch. A few large segments come of it, which are searched faster than many small ones.
        """
        writer = self._open_writer(FILLING_BYTES)
        count, revision = 0, 0
        for changes in batches:
            documents = [document for change in changes if (document := _document(change))]
            with self._writing():
                for document in documents:
                    writer.add_document(document)
            count, revision = count + len(changes), changes[-1].revision
            tick(revision)
        with self._writing():
            writer.add_document(meta_document(revision))
            writer.commit()
        self.close()  # whoever writes next needs less memory, and may be another process
        return count

    def close(self) -> None:
        """Let another process write."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with suppress(ValueError):  # a merge that failed is tried again some other time
                writer.wait_merging_threads()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Give the writer up where it fails: a full disk kills it, and what it holds with it.

        The next change makes another one, which goes on from the last commit.
        """
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, ValueError):
                raise _unwritten(self.path, error) from error
            raise

    def _open_writer(self, most_bytes: int = WRITER_BYTES) -> tantivy.IndexWriter:
        if self._writer is None:
            try:
                self._writer = self._index.writer(most_bytes, num_threads=1)
            except ValueError as error:
                if "LockBusy" not in str(error):
                    raise _unwritten(self.path, error) from error
                msg = "another process writes this index"
                raise UnavailableError(msg) from error
            with self._writing():
                self._writer.garbage_collect_files()  # what a writer that failed left behind
        return self._writer


def _document(change: Change) -> tantivy.Document | None:
    if change.entry is None:
        return None
    return document_of(change.entry, change.revision, weight_of(change.entry))


def _unwritten(folder: Path, error: ValueError) -> UnavailableError:
    """Return what is told of a failure of tantivy's, whose errors have no types of their own.

    Where the disk is full it often says no more than that a writer was killed.
    """
    said = str(error).partition(" at path ")[0]  # that of a file with a random name
    full = ", since the disk is full" if shutil.disk_usage(folder).free < _FULL_BYTES else ""
    return UnavailableError(f"the index cannot be written{full}: {said}")
