"""Proposals of FEP-0837, of Mitra, Epicyon, Bonfire and time banks alike; pure."""

from typing import Final

from commons.errors import InvalidError
from crawler.terms import Document, first_id, local_name, text, types
from crawler.vocabulary.description import author_of, draft_of, group_of, is_given
from crawler.vocabulary.found import Came, Found, found
from crawler.vocabulary.intent import parts, side_of
from crawler.vocabulary.payments import by_reciprocals, unsaid
from marketplace.drafts import ListingType

_PURPOSES: Final = {"offer": ListingType.OFFER, "request": ListingType.WANT}


def is_proposal(document: Document) -> bool:
    """Tell whether a document is a proposal."""
    return "Proposal" in types(document)


def read_proposal(document: Document, came: Came) -> Found:
    """Read a proposal: InvalidError where it is not plain whether it is an offer or a want."""
    intents, reciprocals = parts(document)
    if reciprocals or is_given(document, "reciprocal"):
        payments = by_reciprocals(reciprocals)
    else:
        payments = unsaid(group_of(document, came))
    side = _side(document, intents, author_of(document, came))
    return found(draft_of(document, came, side, payments, intents), document, came)


def _side(document: Document, intents: list[Document], author: str) -> ListingType:
    purpose = text(document, "purpose") or first_id(document, "purpose")
    side = _PURPOSES.get(local_name(purpose.strip()).lower())
    if side is None and not purpose:
        side = next(filter(None, (side_of(intent, author) for intent in intents)), None)
    if side is None:
        raise InvalidError("purpose", "must be offer or request")
    return side
