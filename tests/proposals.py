"""Documents of offers and wants that tests vary, and what is read from them."""

from typing import Any

from crawler.terms import PUBLIC
from crawler.vocabulary import Found, read
from marketplace.drafts import check

ADA = "https://hub.example/members/ada"
GROUP = "https://hub.example/group"
FOLLOWERS = f"{ADA}/followers"


def proposal(**more: object) -> dict[str, Any]:
    told = {
        "id": "https://hub.example/proposals/1",
        "type": "Proposal",
        "purpose": "offer",
        "name": "Bread",
        "attributedTo": ADA,
        "to": PUBLIC,
    }
    return {**told, **more}


def intent(**more: object) -> dict[str, Any]:
    told = {
        "id": "https://hub.example/objects/1",
        "type": "ValueFlows:Intent",
        "name": "Pruning",
        "attributedTo": ADA,
        "receiver": ADA,
        "to": [PUBLIC],
    }
    return {**told, **more}


def note(*proposals: dict[str, Any], **more: object) -> dict[str, Any]:
    told = {
        "id": "https://hub.example/notes/1",
        "type": "Note",
        "attributedTo": ADA,
        "to": [PUBLIC],
        "content": "Bread, baked today",
        "attachment": list(proposals),
    }
    return {**told, **more}


def flea_market(key: str = "flohmarkt:data", **more: object) -> dict[str, Any]:
    data = {"name": "Radio", "description": "works", "price": "30 €", **more}
    return {**note(), key: data}


def one(document: dict[str, Any]) -> Found:
    (found,) = read(document)
    return found


def payments(document: dict[str, Any]) -> list[dict[str, str]]:
    return [payment.as_json() for payment in check(one(document).draft).payments]


def reciprocal(unit: object, value: object, **more: object) -> dict[str, Any]:
    return {"resourceQuantity": {"hasUnit": unit, "hasNumericalValue": value}, **more}
