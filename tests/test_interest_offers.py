"""What a member's hub offers is read strictly: what is understood is taken, all else refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from commons.errors import InvalidError
from crawler.interest.saying import LONGEST_MESSAGE, read_offer


def test_the_offer_of_the_standard_is_read(vectors: Path) -> None:
    document = json.loads((vectors / "fep-0837" / "4-offer-agreement.json").read_text())
    said = read_offer(document, "https://market.example/users/alice")
    assert said.member_uri == "https://social.example/users/bob"
    assert said.agreement == document["object"]
    proposal = document["object"]["stipulates"]["satisfies"].partition("#")[0]
    assert said.answers == {proposal}


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("type", {"type": "Create"}),
        ("actor", {"actor": "mailto:bob@hub.example"}),
        ("id", {"id": "https://elsewhere.example/offers/1"}),
        ("id", {"id": None}),
        ("to", {"to": "https://www.w3.org/ns/activitystreams#Public"}),
        ("to", {"cc": ["https://www.w3.org/ns/activitystreams#Public"]}),
        ("to", {"bcc": ["https://elsewhere.example/eve"]}),
        ("object", {"object": {"type": "Note", "content": "hi"}}),
        ("object", {"object": "https://hub.example/agreements/1"}),
        ("object.stipulates", {"object": {"type": "Agreement"}}),
        (
            "object.stipulates.satisfies",
            {"object": {"type": "Agreement", "stipulates": {"satisfies": "urn:x"}}},
        ),
        ("content", {"content": "x" * (LONGEST_MESSAGE + 1)}),
        ("content", {"content": "<p>" * 20_000}),
    ],
)
def test_an_offer_that_breaks_a_rule_is_refused(field: str, more: dict[str, Any]) -> None:
    author = "https://other.example/members/joan"
    satisfies = "https://other.example/listings/1#primary"
    document = {
        "id": "https://hub.example/offers/1",
        "type": "Offer",
        "actor": "https://hub.example/members/bob",
        "to": author,
        "object": {"type": "Agreement", "stipulates": {"satisfies": satisfies}},
    }
    assert read_offer(document, author).member_uri == document["actor"]
    with pytest.raises(InvalidError) as refused:
        read_offer({**document, **more}, author)
    assert refused.value.field == field


@pytest.mark.parametrize("amount", ["-1", "1e9", "NaN", "", "1.0000000001", "x", True, None])
def test_an_amount_that_is_none_is_refused(amount: object) -> None:
    quantity = {"hasUnit": "one", "hasNumericalValue": amount}
    stipulates = {"satisfies": "https://other.example/listings/1", "resourceQuantity": quantity}
    document = {
        "id": "https://hub.example/offers/1",
        "type": "Offer",
        "actor": "https://hub.example/members/bob",
        "object": {"type": "Agreement", "stipulates": stipulates},
    }
    with pytest.raises(InvalidError, match="hasNumericalValue"):
        read_offer(document, "https://other.example/members/joan")
