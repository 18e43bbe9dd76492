"""Samples of what servers send, and anything at all: read without an error nobody expects."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proposals import ADA, flea_market, intent, note, proposal

from commons.errors import InvalidError, MalformedError
from crawler.terms import PUBLIC, activity
from crawler.vocabulary import asks_noindex, finished, payment_links, read, searchable_by
from marketplace.drafts import check

Samples = dict[str, list[dict[str, Any]]]

# An environment of their own, since the samples want other versions of what the service needs.
PROGRAM = Path(sys.prefix) / "samples" / "bin" / "python"
LIST = """
import json
from fediverse_pasture_inputs import available
print(json.dumps({name: kind.examples for name, kind in available.items()}))
"""
WITHOUT_ID = {"necessary_properties": [1]}
"""The samples, by their places, that lack what no listing can be without."""

TERMS = """@context @type id type purpose name nameMap title content contentMap summary summaryMap
    attributedTo actor to cc object attachment tag image url location eligibleLocation published
    updated hasEnd due endTime expires_at publishes reciprocal inScopeOf audience finished
    provider receiver publishedIn searchableBy xRobotsTag resourceClassifiedAs resourceConformsTo
    resourceQuantity minimumQuantity hasUnit hasNumericalValue flohmarkt:data price coordinates
    latitude longitude lat lng mediaType href rel inbox""".split()  # noqa: SIM905 (60 lines say no more)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from([ADA, PUBLIC, "https://[", "1e400", "Proposal", "vf:Intent", "Note", "EUR"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(TERMS), inner, max_size=5)
    ),
    max_leaves=12,
)
READERS = (finished, payment_links, activity, asks_noindex, searchable_by)


@pytest.fixture(scope="session")
def samples() -> Samples:
    """The samples by kind: what each of them adds to an object."""
    if not PROGRAM.exists():
        pytest.skip(f"no samples at {PROGRAM}; make them with make test")
    told = subprocess.run([PROGRAM, "-c", LIST], capture_output=True, check=True).stdout
    kinds: Samples = json.loads(told)
    return kinds


def each(samples: Samples) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for name, examples in samples.items():
        for place, example in enumerate(examples):
            yield name, place, example


def create(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "@context": told.get("@context", "https://www.w3.org/ns/activitystreams"),
        "id": "https://hub.example/activities/1",
        "type": "Create",
        "actor": ADA,
        "to": [PUBLIC],
        "object": told,
    }


def of(name: str, place: int, told: dict[str, Any]) -> list[str]:
    """Titles of the listings that come of a document, which must be fit to be kept."""
    try:
        return [check(found.draft).title for found in read(create(told))]
    except (InvalidError, MalformedError) as error:
        pytest.fail(f"{name} {place}: {error.detail} in {json.dumps(told)}")


def test_there_are_samples_of_every_kind(samples: Samples) -> None:
    assert len(samples) >= 20
    assert sum(map(len, samples.values())) >= 250


def test_every_sample_is_read_and_none_is_a_listing(samples: Samples) -> None:
    for name, place, example in each(samples):
        told = {"id": "https://hub.example/notes/1", "type": "Note", "attributedTo": ADA}
        assert of(name, place, {**told, "to": [PUBLIC], **example}) == []


def test_a_proposal_with_the_oddity_of_a_sample_becomes_a_listing(samples: Samples) -> None:
    for name, place, example in each(samples):
        odd = {**proposal(), **example, "type": "Proposal"}
        if place in WITHOUT_ID.get(name, []):
            with pytest.raises(InvalidError) as refused:
                check(read(create(odd))[0].draft)
            assert refused.value.field == "uri"
            continue
        assert of(name, place, odd) == [odd["name"]], (name, place)


def test_a_note_with_the_oddity_of_a_sample_carries_a_listing(samples: Samples) -> None:
    for name, place, example in each(samples):
        if "id" in example or example.get("type") == "Tombstone":
            continue
        author = {"attributedTo": example.get("attributedTo", ADA)}
        listed = proposal(**author)
        others = example.get("attachment") or []
        attached = [*(others if isinstance(others, list) else [others]), listed]
        carrier = {**note(), **example, **author, "attachment": attached}
        assert of(name, place, carrier) == ["Bread"], (name, place)


def test_flohmarkt_and_bonfire_with_the_oddity_of_a_sample_become_listings(
    samples: Samples,
) -> None:
    for name, place, example in each(samples):
        odd = {key: value for key, value in example.items() if key not in {"id", "type"}}
        parties = {"receiver": odd.get("attributedTo") or ADA}
        assert of(name, place, {**flea_market(), **odd}) == ["Radio"]
        assert len(of(name, place, {**intent(), **odd, **parties})) == 1


def read_all(document: dict[str, Any]) -> None:
    """Read a document in every way; only the errors that are told of may come of it."""
    for reader in READERS:
        with suppress(InvalidError, MalformedError):
            reader(document)
    with suppress(InvalidError, MalformedError):
        for found in read(document):
            check(found.draft)


@given(st.dictionaries(st.sampled_from(TERMS) | st.text(max_size=8), JSON, max_size=8))
def test_anything_at_all_is_read_or_refused(document: dict[str, Any]) -> None:
    read_all(document)


@pytest.mark.parametrize("term", TERMS)
@settings(max_examples=settings().max_examples // 4)
@given(value=JSON)
def test_anything_under_a_term_is_read_or_refused(term: str, value: object) -> None:
    reciprocal = {"resourceQuantity": {"hasUnit": "EUR", "hasNumericalValue": 1, term: value}}
    for document in (
        proposal(**{term: value}),
        proposal(
            reciprocal={**reciprocal, term: value}, publishes=[{"type": "Intent", term: value}]
        ),
        proposal(location={"latitude": 1, "longitude": 2, term: value}, tag=[{term: value}]),
        proposal(attachment=[{"type": "Image", term: value}], image={term: value}),
        intent(**{term: value}),
        note(proposal(**{term: value})),
        note(proposal(), **{term: value}),
        {**note(), "flohmarkt:data": {"name": "Radio", "price": "3 €", term: value}},
        {**create(proposal()), term: value},
    ):
        read_all(document)


@pytest.mark.parametrize("term", TERMS)
def test_a_great_deal_under_a_term_is_read_or_refused(term: str) -> None:
    for long in (
        "a" * 200_000,
        "[" * 200_000,
        "9" * 200_000,
        " " * 200_000 + ".",
        "\u200b" * 60_000,
        [{"type": "Proposal", "id": f"https://hub.example/p/{n}"} for n in range(4_000)],
        [{"type": "Intent", "id": f"https://hub.example/p/{n}"} for n in range(4_000)],
        {f"a{n}:name": "x" for n in range(8_000)},
        {f"de-{n}": "x" for n in range(8_000)},
    ):
        read_all(proposal(**{term: long}))
        read_all(note(proposal(), **{term: long}))


@pytest.mark.parametrize(
    "inner", ["object", "attachment", "publishes", "location", "name", "@list"]
)
def test_what_is_nested_too_deeply_is_malformed(inner: str) -> None:
    nested: dict[str, Any] = {}
    for _ in range(5_000):
        nested = {inner: nested}
    with pytest.raises(MalformedError):
        read(proposal(**nested))
