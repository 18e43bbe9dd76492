"""What a member says about a listing: an offer of an agreement (FEP-0837) or a plain message; pure.

Of an Offer only what is understood is taken, since our actor passes it on in its own name.
"""

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urldefrag
from uuid import UUID

from commons.errors import InvalidError, MalformedError
from crawler.terms import (
    Document,
    decimal_text,
    first_id,
    id_of,
    ids,
    objects,
    origin,
    same_origin,
    text,
    types,
)
from marketplace.drafts import plain_text

LONGEST_MESSAGE: Final = 2000
_MOST_HTML_CHARS: Final = 8 * LONGEST_MESSAGE
_ADDRESSING: Final = ("to", "cc", "bto", "bcc", "audience")
_LONGEST_UNIT: Final = 200
_MOST_ANSWERED: Final = 20
_AMOUNT: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})?")


@dataclass(frozen=True)
class Said:
    """What is to be passed on: `agreement` as a document of FEP-0837, or `message` alone.

    `answers` are the addresses that it names as what it answers; empty where it names none.
    """

    offer_uri: str
    member_uri: str
    message: str
    agreement: Document | None = None
    answers: frozenset[str] = frozenset()


def read_message(offer_id: UUID, member_uri: str, message: str) -> Said:
    """Read a plain message; InvalidError where it is none, or from nobody."""
    if origin(member_uri) is None:
        raise InvalidError("member", "must be the address of the member's actor")
    if not 0 < len(message.strip()) <= LONGEST_MESSAGE:
        raise InvalidError("message", f"must be a text of 1 to {LONGEST_MESSAGE} characters")
    return Said(f"urn:uuid:{offer_id}", member_uri, message.strip())


def answered_in(document: Document) -> frozenset[str]:
    """Return the addresses of what an Offer answers; InvalidError where it cannot be told."""
    answers = frozenset(ids(document, "inReplyTo"))
    if len(answers) > _MOST_ANSWERED:
        raise InvalidError("inReplyTo", f"must name at most {_MOST_ANSWERED}")
    return answers or _satisfied(_agreement(next(objects(document, "object"), {})))


def read_offer(document: object, author_uri: str, through: str = "") -> Said:
    """Read an `Offer` of an `Agreement`, or of a `Commitment` as it was before, to an author.

    `through` is whose inbox it came to, who may be addressed too. Raises MalformedError where it is
    no activity, InvalidError where it breaks a rule.
    """
    if not isinstance(document, dict):
        raise MalformedError("an activity is a JSON object")
    member_uri, offer_uri = first_id(document, "actor"), id_of(document)
    if "Offer" not in types(document):
        raise InvalidError("type", "must be Offer")
    if origin(member_uri) is None:
        raise InvalidError("actor", "must be the address of the member's actor")
    if not same_origin(offer_uri, member_uri):
        raise InvalidError("id", "must be of the origin of its actor")
    addressed = {uri for term in _ADDRESSING for uri in ids(document, term)}
    if addressed - {author_uri, through}:
        raise InvalidError("to", "must be the listing's author alone")
    agreement = _agreement(next(objects(document, "object"), {}))
    return Said(
        offer_uri,
        member_uri,
        _message(document),
        agreement,
        answered_in(document),
    )


def _message(document: Document) -> str:
    written = text(document, "content")
    message = plain_text(written[:_MOST_HTML_CHARS])
    if len(written) > _MOST_HTML_CHARS or len(message) > LONGEST_MESSAGE:
        raise InvalidError("content", f"must have at most {LONGEST_MESSAGE} characters")
    return message


def _agreement(offered: Document) -> Document:
    kinds = types(offered)
    if "Commitment" in kinds:
        return {"type": "Agreement", "stipulates": _commitment(offered, "object")}
    if "Agreement" not in kinds:
        raise InvalidError("object", "must be an Agreement or a Commitment")
    agreement: Document = {"type": "Agreement"}
    for term in ("stipulates", "stipulatesReciprocal"):
        found = next(objects(offered, term), None)
        if found is not None:
            agreement[term] = _commitment(found, f"object.{term}")
    if "stipulates" not in agreement:
        raise InvalidError("object.stipulates", "must be a Commitment")
    return agreement


def _commitment(found: Document, field: str) -> Document:
    satisfies = first_id(found, "satisfies")
    if origin(satisfies) is None:
        raise InvalidError(f"{field}.satisfies", "must be the address of an intent")
    commitment: dict[str, Any] = {"type": "Commitment", "satisfies": satisfies}
    quantity = next(objects(found, "resourceQuantity"), None)
    if quantity is not None:
        commitment["resourceQuantity"] = _quantity(quantity, f"{field}.resourceQuantity")
    return commitment


def _quantity(quantity: Document, field: str) -> Document:
    amount = decimal_text(quantity, "hasNumericalValue") or ""
    unit = text(quantity, "hasUnit") or first_id(quantity, "hasUnit")
    if _AMOUNT.fullmatch(amount) is None:
        raise InvalidError(f"{field}.hasNumericalValue", "must be a decimal number, not below 0")
    if not 0 < len(unit) <= _LONGEST_UNIT:
        raise InvalidError(f"{field}.hasUnit", f"must have 1 to {_LONGEST_UNIT} characters")
    return {"hasUnit": unit, "hasNumericalValue": amount}


def _satisfied(agreement: Document) -> frozenset[str]:
    """Return the proposal of the primary intent, which by FEP-0837 lies in its document."""
    return frozenset({urldefrag(agreement["stipulates"]["satisfies"]).url})
