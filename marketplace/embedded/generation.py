"""One folder of the embedded index: opened by any process, written by one."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import tantivy

from commons.errors import ConflictError, UnavailableError
from marketplace.embedded.fields import META, document_of, meta_document, register_analysers, schema
from marketplace.embedded.ranking import bonus_of
from marketplace.index import Change

WRITER_BYTES: Final = 64_000_000


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
        self._writer: tantivy.IndexWriter | None = None

    @classmethod
    def create(cls, path: Path) -> "Generation":
        """Make an empty index in a new folder."""
        path.mkdir(parents=True)
        tantivy.Index(schema(), str(path))
        return cls(path)

    def searcher(self) -> tantivy.Searcher:
        """Return a snapshot of what was last committed, by whichever process."""
        with self._reloading:
            status = (self.path / "meta.json").stat()
            stamp = (status.st_ino, status.st_mtime_ns)  # every commit puts a new file there
            if stamp != self._seen:
                self._index.reload()
                self._seen = stamp
            return self._index.searcher()

    def revision(self) -> int:
        """Return the last revision that was committed; 0 for an empty index."""
        searcher = self.searcher()
        found = searcher.search(tantivy.Query.term_query(self.schema, "kind", META), 1).hits
        if not found:
            return 0
        value = searcher.fast_field_values("revision", [found[0][1]])[0]
        return int(value or 0)

    def count(self) -> int:
        """Return how many listings are held."""
        searcher = self.searcher()
        return max(searcher.num_docs - 1, 0)

    def apply(self, changes: Sequence[Change], *, since: int, revision: int) -> None:
        """Commit changes and the revision they lead to; ConflictError where it is not `since`."""
        writer = self._open_writer()
        held = self.revision()
        if held != since:
            msg = f"the index is at revision {held}, not {since}"
            raise ConflictError(msg)
        try:
            for change in changes:
                writer.delete_documents_by_term("id", change.id)
                if change.entry is not None:
                    bonus = bonus_of(change.entry)
                    writer.add_document(document_of(change.entry, change.revision, bonus))
            writer.delete_documents_by_term("kind", META)
            writer.add_document(meta_document(revision))
            writer.commit()
        except BaseException:
            writer.rollback()
            raise

    def close(self) -> None:
        """Let another process write."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.wait_merging_threads()

    def _open_writer(self) -> tantivy.IndexWriter:
        if self._writer is None:
            try:
                self._writer = self._index.writer(WRITER_BYTES, num_threads=1)
            except ValueError as error:  # tantivy's LockBusy has no type of its own
                msg = "another process writes this index"
                raise UnavailableError(msg) from error
        return self._writer
