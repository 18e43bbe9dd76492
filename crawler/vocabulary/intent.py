"""Intents of ValueFlows: parts of proposals, and offers and wants of their own (Bonfire); pure."""

from typing import Final

from commons.errors import InvalidError
from crawler.terms import Document, flag, ids, local_name, objects, types, values
from crawler.vocabulary.description import author_of, draft_of, group_of
from crawler.vocabulary.found import Came, Found, found
from crawler.vocabulary.payments import unsaid
from marketplace.drafts import ListingType

_NAMESPACES: Final = ("vf:", "ValueFlows:", "https://w3id.org/valueflows")
# Only in a namespace of ValueFlows: ActivityStreams has an activity of the name Offer.
_SIDES: Final = {"Offer": ListingType.OFFER, "Need": ListingType.WANT, "Request": ListingType.WANT}


def is_intent(document: Document) -> bool:
    """Tell whether a document is an intent that stands for itself.

    One that is published as the price of something else is none.
    """
    if "Intent" not in types(document) and _side_by_type(document) is None:
        return False
    published = [flag(one, "reciprocal") for one in objects(document, "publishedIn")]
    return not (published and all(published))


def read_intent(document: Document, came: Came) -> Found:
    """Read an intent: InvalidError where it is not plain whether it is an offer or a want."""
    side = _side_by_type(document) or side_of(document, author_of(document, came))
    if side is None:
        raise InvalidError("provider", "or receiver must be the author")
    payments = unsaid(group_of(document, came))
    return found(draft_of(document, came, side, payments, (document,)), document, came)


def side_of(intent: Document, author: str) -> ListingType | None:
    """Return whether an intent's author gives or takes; None where that is not plain."""
    givers, takers = ids(intent, "provider"), ids(intent, "receiver")
    gives, takes = author in givers, author in takers
    if gives == takes:
        gives, takes = bool(givers), bool(takers)
    if gives == takes:
        return None
    return ListingType.OFFER if gives else ListingType.WANT


def parts(proposal: Document) -> tuple[list[Document], list[Document]]:
    """Return the intents that a proposal publishes, and those that it asks in return.

    Both are embedded as they are, or each in a ProposedIntent that says which of them it is.
    """
    published: list[Document] = []
    reciprocals = list(objects(proposal, "reciprocal"))
    for part in objects(proposal, "publishes"):
        side = reciprocals if flag(part, "reciprocal") else published
        side += objects(part, "publishes") if "ProposedIntent" in types(part) else [part]
    return published, reciprocals


def _side_by_type(document: Document) -> ListingType | None:
    named = [*values(document, "type"), *values(document, "@type")]
    for name in named:
        if isinstance(name, str) and name.startswith(_NAMESPACES):
            side = _SIDES.get(local_name(name))
            if side is not None:
                return side
    return None
