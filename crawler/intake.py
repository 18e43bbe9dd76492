"""From a document to a listing: who may speak for it, who allows it, and whose it is."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Engine

from commons.errors import FetchError, InvalidError, LocalPayError
from commons.fetch import Door
from crawler import authors
from crawler.inbox import innermost
from crawler.origins import fetch_object, may_come
from crawler.proving import proofs_in
from crawler.settling import UNREADABLE, Arrival, Removal
from crawler.terms import (
    Document,
    first_id,
    get,
    id_of,
    ids,
    moment,
    objects,
    same_origin,
    types,
)
from crawler.vocabulary import CARRIERS, finished, read
from marketplace.drafts import check

KEPT_MOST_CHARS: Final = 64 * 1024
_NESTED_MOST: Final = 3
REMOVALS: Final = frozenset({"Delete", "Tombstone"})


async def unwrap(door: Door, item: Any, speaker: str, depth: int = _NESTED_MOST) -> Document:  # noqa: ANN401 (JSON may be anything)
    """Return a document by whoever may speak for it, with what it carries inside.

    `speaker` is the address that vouches for what is embedded; what is of another origin, or only
    named, is fetched at its own. An Announce is replaced by what it announces. Raises FetchError
    and InvalidError.
    """
    document: Document = item if isinstance(item, dict) else {}
    is_own = not id_of(item) or same_origin(id_of(item), speaker)
    if not is_own or len(document) <= 1:
        document = await fetch_object(door, id_of(item))
    kinds = types(document)
    if not kinds & CARRIERS:
        return document
    if depth == 0:
        raise InvalidError("object", f"may be nested {_NESTED_MOST} deep at most")
    inner = get(document, "object")
    inner = inner[0] if isinstance(inner, list) and inner else inner
    inner = await unwrap(door, inner, id_of(document) or speaker, depth - 1)
    if "Announce" in kinds or not same_origin(first_id(document, "actor"), id_of(inner)):
        return inner
    return {**document, "object": inner}


async def prepare(
    engine: Engine, door: Door, document: Document, group_uri: str | None, asked: set[str]
) -> list[Arrival]:
    """Read the offers and wants in a document and ask authors who are not known yet.

    `asked` are the authors that need not be looked up, to which those of the document are added.

    Raises FetchError where an author does not answer; what is unreadable is an Arrival too.
    """
    prepared = (await prepare_each(engine, door, [(document, group_uri)], asked))[0]
    if isinstance(prepared, LocalPayError):
        raise prepared
    return prepared


async def prepare_each(
    engine: Engine,
    door: Door,
    documents: Sequence[tuple[Document, str | None]],
    asked: set[str],
) -> list[list[Arrival] | LocalPayError]:
    """Read documents, each with the group that it came by, as `prepare` does.

    In the place of a document's arrivals stands why an author of it could not be asked.
    """
    # In a thread, and not under the locks in which it is stored: some texts take long to read.
    read_in = await asyncio.to_thread(lambda: [read_arrivals(*document) for document in documents])
    pairs = zip(documents, read_in, strict=True)
    arrivals = [await _with_proofs(engine, door, document, some) for (document, _), some in pairs]
    named = [
        arrival.author_uri
        for some in arrivals
        for arrival in some
        if arrival.found is not None and arrival.found.asks_author
    ]
    failures = await authors.ensure_each(engine, door, list(dict.fromkeys(named)), asked)
    return [_if_asked(some, failures) for some in arrivals]


async def _with_proofs(
    engine: Engine, door: Door, document: Document, arrivals: list[Arrival]
) -> list[Arrival]:
    """Give arrivals the integrity proofs that their document carries of them, where they hold."""
    proven = await proofs_in(engine, door, document) if arrivals else ()
    if not proven:
        return arrivals
    return [
        replace(
            arrival,
            proof=next(
                (one for one in proven if one.holds_listing(arrival.uri, arrival.author_uri)), None
            ),
        )
        for arrival in arrivals
    ]


def read_arrivals(document: Document, group_uri: str | None) -> list[Arrival]:
    """Read and check the offers and wants in a document, up to the first that cannot be read.

    Those that it says are finished are told as over. That a hub vouches for them is for whoever
    had the document from the hub to say.
    """
    kept = _written(document)
    inner = next(objects(document, "object"), document)
    uri, author_uri = id_of(inner), first_id(inner, "attributedTo", "actor")
    arrivals: list[Arrival] = []
    try:
        if kept is None or "finished" in kept:
            over_since = moment(inner, "updated")
            over = [over for over in finished(document) if same_origin(over, id_of(inner))]
            arrivals += [
                Arrival(over, is_over=True, over_since=over_since, is_vouched=False)
                for over in over
            ]
        for found in read(document, group_uri=group_uri):
            uri, author_uri = found.draft.uri, found.draft.author_uri
            if not same_origin(author_uri, uri):
                raise InvalidError("attributedTo", "must be of the origin of the id")
            taken_in = replace(found, draft=check(found.draft))
            arrivals.append(
                Arrival(uri, taken_in, author_uri=author_uri, document=kept, is_vouched=False)
            )
    except UNREADABLE as error:
        arrivals.append(Arrival(uri, None, error.detail, author_uri, kept, is_vouched=False))
    return arrivals


def _if_asked(
    arrivals: list[Arrival], failures: Mapping[str, LocalPayError]
) -> list[Arrival] | LocalPayError:
    """Return arrivals whose authors answered; one of an unreadable author tells that in place."""
    judged: list[Arrival] = []
    for arrival in arrivals:
        failure = failures.get(arrival.author_uri) if arrival.found else None
        if isinstance(failure, UNREADABLE):
            return [*judged, replace(arrival, found=None, reason=failure.detail)]
        if failure is not None:
            return failure
        judged.append(arrival)
    return judged


def removed(document: Document) -> list[Removal]:
    """Return what a Delete or a Tombstone removes, and when; only what is of its own origin.

    Its id vouches for it, as `unwrap` and the inbox have made sure; the actor that it names is
    but a word. Raises InvalidError where it removes nothing.
    """
    gone_at = moment(document, "deleted", "published")
    gone = [id_of(document)] if "Tombstone" in types(document) else ids(document, "object")
    own = [uri for uri in gone if same_origin(uri, id_of(document))]
    if not own:
        raise InvalidError("object", "must be of the origin of the activity's id")
    embedded = next(objects(document, "object"), {})
    return [(uri, moment(embedded, "deleted") or gone_at) for uri in own]


def failed_arrival(item: Any, page_uri: str, error: LocalPayError) -> Arrival:  # noqa: ANN401 (JSON may be anything)
    """Return the arrival of an item of a page that could not be had at all."""
    uri, author_uri = innermost(item) if isinstance(item, dict) else (id_of(item), "")
    is_late = isinstance(error, FetchError) and may_come(error)
    kept = _written(item) if is_late else None
    return Arrival(
        uri or id_of(item) or page_uri,
        None,
        error.detail,
        author_uri,
        kept,
        is_late=is_late,
        is_vouched=False,
    )


def _written(item: Any) -> str | None:  # noqa: ANN401 (JSON may be anything)
    written = json.dumps(item, ensure_ascii=False)
    return written if len(written) <= KEPT_MOST_CHARS else None
