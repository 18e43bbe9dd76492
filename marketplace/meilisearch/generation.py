"""The two indexes of one build of the listings: their documents, and how far these have come."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from meilisearch.models.task import TaskInfo

from commons.errors import ConflictError, UnavailableError
from marketplace.index import Change
from marketplace.meilisearch.documents import document_of
from marketplace.meilisearch.filters import any_of
from marketplace.meilisearch.plan import PLAN, SETTINGS
from marketplace.meilisearch.server import INDEX_MISSING, Server, answering, is_missing

# Of the longest bodies about 50 MB, of what a server takes by default the half.
SENT_AT_ONCE: Final = 250
_CURRENT: Final = "current"
_MOST_META: Final = 100


@dataclass(frozen=True)
class Held:
    """What an index says of itself: its generation, by which plan it was built, how far it is."""

    generation: str
    plan: str
    revision: int


class Generation:
    """The index `uid` and, beside it, the one that remembers its revision.

    The revision is written when the tasks of the documents have succeeded. After a crash
    between the two the same changes are read and put in once more, which changes nothing:
    a document replaces the one with its id, and what is gone can be removed again. The
    revision stands under the generation's own random name: were the indexes swapped between
    the two, it would be written into the other generation, which does not heed it.
    One process at a time follows the listings, as with the other indexes.
    """

    def __init__(self, server: Server, uid: str) -> None:
        self._server = server
        self.uid = uid
        self.meta_uid = f"{uid}-revision"

    def held(self) -> Held | None:
        """Return what is held; None where nothing was built yet."""
        try:
            with answering():
                meta = self._server.reads.index(self.meta_uid)
                results = meta.get_documents({"limit": _MOST_META}).results
        except UnavailableError as error:
            if is_missing(error):
                return None
            raise
        documents = {document.id: document for document in results}
        current = documents.get(_CURRENT)
        if current is None:
            return None
        reached = documents.get(current.generation)
        return Held(current.generation, current.plan, reached.revision if reached else 0)

    def revision(self) -> int:
        """Return the last revision held; 0 before the first."""
        held = self.held()
        return 0 if held is None else held.revision

    def count(self) -> int:
        """Return how many listings are held."""
        try:
            with answering():
                stats = self._server.reads.index(self.uid).get_stats()
        except UnavailableError as error:
            if is_missing(error):
                return 0
            raise
        return int(stats.number_of_documents)

    def create(self) -> Held:
        """Make both indexes, empty, in place of what is left of them."""
        self.remove()
        with answering():
            writes = self._server.writes
            tasks = [
                writes.create_index(self.uid, {"primaryKey": "id"}),
                writes.index(self.uid).update_settings(dict(SETTINGS)),
                writes.create_index(self.meta_uid, {"primaryKey": "id"}),
            ]
        self._server.await_all(tasks)
        held = Held(secrets.token_hex(8), PLAN, 0)
        self._remember({"id": _CURRENT, "generation": held.generation, "plan": held.plan})
        return held

    def remove(self) -> None:
        """Remove both indexes, where they are."""
        with answering():
            # The meta index first: without it the other one counts as not built.
            tasks = [self._server.writes.delete_index(uid) for uid in (self.meta_uid, self.uid)]
        self._server.await_all(tasks, tolerated=INDEX_MISSING)

    def apply(self, changes: Sequence[Change], *, since: int, revision: int) -> None:
        """Put changes in, then remember `revision`; ConflictError where it is not at `since`."""
        held = self.held()
        reached = 0 if held is None else held.revision
        if reached != since:
            msg = f"the index is at revision {reached}, not {since}"
            raise ConflictError(msg)
        held = held or self.create()
        documents = [document_of(change.entry) for change in changes if change.entry is not None]
        gone = [change.id for change in changes if change.entry is None]
        tasks: list[TaskInfo] = []
        with answering():
            index = self._server.writes.index(self.uid)
            tasks += [
                index.add_documents(documents[start : start + SENT_AT_ONCE])
                for start in range(0, len(documents), SENT_AT_ONCE)
            ]
            if gone:
                tasks.append(index.delete_documents(filter=any_of("id", gone)))
        self._server.await_all(tasks)
        self._remember({"id": held.generation, "revision": revision})

    def _remember(self, document: dict[str, Any]) -> None:
        with answering():
            task = self._server.writes.index(self.meta_uid).add_documents([document])
        self._server.await_all([task])
