"""A Meilisearch server: calls that answer in time or not at all, and tasks that are awaited."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from meilisearch import Client
from meilisearch.errors import (
    MeilisearchApiError,
    MeilisearchCommunicationError,
    MeilisearchTimeoutError,
)
from meilisearch.models.task import TaskInfo
from requests.exceptions import RequestException

from commons.errors import UnavailableError

READING_SECONDS: Final = 2
WRITING_SECONDS: Final = 60
TASK_SECONDS: Final = 600
INDEX_MISSING: Final = "index_not_found"


class Server:
    """The server at `url`; `reads` gives up after 2 s, `writes` has time to send documents.

    Whatever goes wrong there is an UnavailableError here, with what the server said of it.
    """

    def __init__(self, url: str, key: str | None) -> None:
        self.reads = Client(url.rstrip("/"), key, timeout=READING_SECONDS)
        self.writes = Client(url.rstrip("/"), key, timeout=WRITING_SECONDS)

    def await_all(self, tasks: list[TaskInfo], *, tolerated: str | None = None) -> None:
        """Wait for tasks to end: that they were accepted does not say that they will succeed.

        Raises UnavailableError for one that failed, unless its error's code is `tolerated`, or
        that has not ended after ten minutes.
        """
        for accepted in tasks:
            with answering():
                task = self.writes.wait_for_task(
                    accepted.task_uid, timeout_in_ms=TASK_SECONDS * 1000
                )
            error = task.error or {}
            if task.status != "succeeded" and (not tolerated or error.get("code") != tolerated):
                said = error.get("message") or "nothing said of why"
                msg = f"Meilisearch: task {task.uid} ({task.type}) {task.status}: {said}"
                raise UnavailableError(msg)


@contextmanager
def answering() -> Iterator[None]:
    """Turn what a call to the server fails with into UnavailableError."""
    try:
        yield
    except MeilisearchTimeoutError as error:
        msg = "Meilisearch did not answer in time"
        raise UnavailableError(msg) from error
    except MeilisearchCommunicationError as error:
        msg = "Meilisearch cannot be reached"
        raise UnavailableError(msg) from error
    except MeilisearchApiError as error:
        msg = f"Meilisearch refused ({error.status_code}): {error.message}"
        raise UnavailableError(msg) from error
    except RequestException as error:  # an answer that breaks off or is no JSON
        msg = "Meilisearch answered with something that cannot be read"
        raise UnavailableError(msg) from error


def read(answer: object) -> dict[str, Any]:
    """Return an answer that is a JSON object, as all are; the client gives on an empty one too."""
    if isinstance(answer, dict):
        return answer
    msg = "Meilisearch answered with something that cannot be read"
    raise UnavailableError(msg)


def is_missing(error: UnavailableError) -> bool:
    """Tell whether the server answered that there is no such index."""
    cause = error.__cause__
    return isinstance(cause, MeilisearchApiError) and cause.code == INDEX_MISSING
