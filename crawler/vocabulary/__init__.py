"""Offers and wants read from documents of the fediverse, bare or inside activities; pure.

One file for each shape: proposals, intents, and Notes that carry either.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from crawler.terms import (
    Document,
    compact,
    first_id,
    flag,
    get,
    id_of,
    local_name,
    objects,
    origin,
    texts,
    types,
)
from crawler.vocabulary.description import group_of, uri_of
from crawler.vocabulary.found import Came, Found, asks_noindex, searchable_by
from crawler.vocabulary.intent import is_intent, parts, read_intent
from crawler.vocabulary.note import attached, is_flea_market, read_flea_market
from crawler.vocabulary.proposal import is_proposal, read_proposal

__all__ = [
    "CARRIERS",
    "Found",
    "asks_noindex",
    "finished",
    "is_finished",
    "payment_links",
    "read",
    "searchable_by",
]

CARRIERS: Final = frozenset({"Create", "Update", "Announce", "Add"})
_NESTED_MOST: Final = 3  # a group's Announce of a member's Create of a Proposal
_PROPOSAL: Final = "Proposal"

_Reader = Callable[[Document, Came], Found]
_Listing = tuple[Document, Came, _Reader]


def read(document: Document, *, group_uri: str | None = None) -> list[Found]:
    """Return the offers and wants in an activity or a bare document; none is no error.

    `group_uri` is the group that a document without one of its own came by. What its origin says
    is finished is left out. Raises InvalidError where an offer or want breaks a rule of its form,
    MalformedError where the document is nested too deeply; values are checked by
    `marketplace.drafts`.
    """
    return [
        reader(told, came)
        for told, came, reader in _listings(compact(document), Came(group=group_uri), _NESTED_MOST)
        if not is_finished(told)
    ]


def finished(document: Document) -> list[str]:
    """Return the ids of the offers and wants in a document that are finished, as `read` does."""
    listings = _listings(compact(document), Came(), _NESTED_MOST)
    return [uri_of(told, came) for told, came, _ in listings if is_finished(told)]


def is_finished(document: Document) -> bool:
    """Tell whether an offer or want is over: it says so, or each thing that it publishes does."""
    intents = parts(document)[0]
    return flag(document, "finished") is True or (
        bool(intents) and all(flag(intent, "finished") is True for intent in intents)
    )


def payment_links(document: Document) -> list[str]:
    """Return the addresses of the proposals that an actor or object links to (FEP-0ea0)."""
    links = [id_of(link) for link in objects(document, "attachment") if _links_proposal(link)]
    return [address for address in dict.fromkeys(links) if origin(address)]


def _links_proposal(link: Document) -> bool:
    relations = {local_name(name) for said in texts(link, "rel") for name in said.split()}
    return {"payment", _PROPOSAL} <= relations


def _listings(document: Document, came: Came, depth: int) -> Iterator[_Listing]:
    """Yield each offer or want in a document with how it came and who reads it."""
    kinds = types(document)
    if "Tombstone" in kinds or get(document, "inbox") is not None:
        return  # an actor only links to its offers and wants
    if is_proposal(document):
        yield document, came, read_proposal
    elif is_intent(document):
        yield document, came, read_intent
    elif kinds & CARRIERS:
        yield from _carried(document, came, depth)
    elif proposals := attached(document):
        held = replace(came, holder=document, is_alone=len(proposals) == 1)
        for proposal in proposals:
            yield proposal, held, read_proposal
    elif is_flea_market(document):
        yield document, came, read_flea_market


def _carried(activity: Document, came: Came, depth: int) -> Iterator[_Listing]:
    if depth == 0:
        return
    group = came.group
    if "Announce" in types(activity):
        group = group or first_id(activity, "actor") or None
    inner = Came(activity=activity, group=group_of(activity, Came(group=group)))
    for embedded in objects(activity, "object"):
        yield from _listings(embedded, inner, depth - 1)
