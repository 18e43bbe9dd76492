"""Ways other than ActivityPub in which hubs publish, each a file with the same small interface."""

from dataclasses import dataclass
from typing import Protocol

from commons.fetch import Door
from crawler.vocabulary import Found


@dataclass(frozen=True)
class Batch:
    """One page of a source: what is on it, what was refused (URI and reason), where it goes on.

    `cursor` is None at the end; else it is whatever the source itself understands.
    """

    found: tuple[Found, ...]
    refused: tuple[tuple[str, str], ...] = ()
    cursor: str | None = None


class Source(Protocol):
    """What reads one kind of source; `address` is the peer's, as its operator gave it."""

    async def read(self, door: Door, address: str, cursor: str | None) -> Batch:
        """Return one page, the first where `cursor` is None.

        Raises FetchError where it cannot be had, MalformedError where it is no such source.
        """
        ...
