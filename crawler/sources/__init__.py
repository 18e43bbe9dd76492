"""Ways other than ActivityPub in which hubs publish, each a file with the same small interface."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from commons.fetch import Door
from crawler.peers import PeerKind
from crawler.vocabulary import Found


@dataclass(frozen=True)
class Lead:
    """The address of a hub that a source names, to be discovered; nothing of it is indexed."""

    address: str
    kind: PeerKind
    found_by: str


@dataclass(frozen=True)
class Batch:
    """One page of a source: what is on it, what was refused (URI and reason), where it goes on.

    `cursor` is None at the end; else it is whatever the source itself understands. `gone` is what
    the source says is deleted, and when, or, without a moment, what is not to be had any more;
    `late` what it lists and what could not be had now (URI and reason), so that its listing stays;
    `leads` are other hubs.
    """

    found: tuple[Found, ...]
    refused: tuple[tuple[str, str], ...] = ()
    cursor: str | None = None
    gone: tuple[tuple[str, datetime | None], ...] = ()
    late: tuple[tuple[str, str], ...] = ()
    leads: tuple[Lead, ...] = ()


class Source(Protocol):
    """What reads one kind of source; `address` is the peer's, as its operator gave it."""

    async def read(self, door: Door, address: str, cursor: str | None) -> Batch:
        """Return one page, the first where `cursor` is None.

        Raises FetchError where it cannot be had, MalformedError where it is no such source.
        """
        ...
