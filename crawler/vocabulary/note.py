"""Notes, Articles and the like that carry an offer or want: attached, or by Flohmarkt; pure."""

from collections.abc import Iterator
from dataclasses import replace

from commons.errors import InvalidError
from crawler.terms import (
    Document,
    decimal_text,
    first_id,
    id_of,
    local_name,
    number,
    objects,
    same_origin,
    text,
)
from crawler.vocabulary import wording
from crawler.vocabulary.description import draft_of
from crawler.vocabulary.found import Came, Found, found
from crawler.vocabulary.payments import by_words
from crawler.vocabulary.proposal import is_proposal
from marketplace.drafts import MOST_VALUES, ListingType
from marketplace.places import Precision


def attached(document: Document) -> list[Document]:
    """Return the proposals attached to a document that it may speak for.

    One of another origin is only shown there, and is read where it lives. Raises InvalidError
    where one is said to be another's, who has not put it there, and where there are too many.
    """
    proposals = filter(is_proposal, objects(document, "attachment"))
    own = [one for one in proposals if _is_own(one, document)]
    if len(own) > MOST_VALUES:
        raise InvalidError("attachment", f"may hold {MOST_VALUES} proposals at most")
    return own


def _is_own(proposal: Document, document: Document) -> bool:
    if id_of(proposal) and not same_origin(id_of(proposal), id_of(document)):
        return False
    author, holder = (first_id(one, "attributedTo", "actor") for one in (proposal, document))
    if author and holder and author != holder:
        raise InvalidError("attributedTo", "of what is attached must be whose it is attached to")
    return True


def is_flea_market(document: Document) -> bool:
    """Tell whether a document holds what Flohmarkt says of a thing."""
    return next(_flea_market(document), None) is not None


def read_flea_market(document: Document, came: Came) -> Found:
    """Read a thing on offer at Flohmarkt, whose coordinates are those of its instance."""
    told = next(_flea_market(document))
    price = f"{decimal_text(told, 'price') or ''} {text(told, 'currency')}"
    named = {term: value for term, value in told.items() if term in {"name", "description"}}
    draft = draft_of(document, came, ListingType.OFFER, by_words(price), (named,))
    place = next(objects(told, "coordinates"), {})
    return found(
        replace(
            draft,
            title=wording.title((named, document)),
            body=wording.body((named, document)),
            lat=number(place, "lat", "lat"),
            lon=number(place, "lng", "lon"),
            precision=Precision.GROUP,
        ),
        document,
        came,
    )


def _flea_market(document: Document) -> Iterator[Document]:
    for key, value in document.items():
        if isinstance(value, dict) and local_name(key) == "data" and "flohmarkt" in key:
            yield value
