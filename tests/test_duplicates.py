from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import pytest
from sqlalchemy import Engine, func, select

from commons.database import reading, transaction
from marketplace.consent import Consent, ConsentBasis
from marketplace.drafts import Draft, ListingType
from marketplace.duplicates import (
    MOST_SOURCES,
    Claim,
    forget_claims,
    show_once,
    sources_of,
)
from marketplace.listings import (
    Listing,
    Version,
    WithdrawnReason,
    shown,
    upsert_many,
    withdraw,
)

YES = Consent(allowed=True, basis=ConsentBasis.HUB, reason="the hub consents")
INES = "https://hub.example/members/ines"
PROPOSAL = Draft(
    uri="https://hub.example/proposals/9",
    type=ListingType.OFFER,
    title="Radio",
    author_uri=INES,
    same_as=("https://hub.example/items/9",),
)
NOTE = replace(PROPOSAL, uri="https://hub.example/items/9", same_as=())
BREAD = Draft(
    uri="https://kom.example/GRP0/offers/7",
    type=ListingType.OFFER,
    title="Bread",
    author_uri="https://kom.example/GRP0/members/12",
    url="https://kom.example/~forn/bread",
)
COPY = replace(
    BREAD,
    uri="https://directory.example/profiles/bread.json",
    author_uri="https://directory.example/forn",
    url=BREAD.uri,
)
COPY_OF_PAGE = replace(COPY, uri="https://other.example/bread", url=BREAD.url)


def store(engine: Engine, *drafts: Draft) -> set[str]:
    with transaction(engine) as session:
        upsert_many(session, [Version(draft, YES, INES) for draft in drafts])
        return show_once(session, drafts)


def uris(engine: Engine) -> set[str]:
    with reading(engine) as session:
        return set(session.scalars(select(Listing.uri).where(shown())))


def sources(engine: Engine, uri: str) -> list[str]:
    with reading(engine) as session:
        return sources_of(session, session.scalars(select(Listing).where(Listing.uri == uri)).one())


ORDERS = list(permutations([PROPOSAL, NOTE, BREAD, COPY, COPY_OF_PAGE]))[::5]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("together", [True, False])
def test_the_same_thing_is_shown_once_whatever_comes_first(
    sqlite_engine: Engine, order: tuple[Draft, ...], *, together: bool
) -> None:
    for drafts in [order] if together else [(draft,) for draft in order]:
        store(sqlite_engine, *drafts)
    assert uris(sqlite_engine) == {PROPOSAL.uri, BREAD.uri}
    assert sources(sqlite_engine, PROPOSAL.uri) == [PROPOSAL.uri, NOTE.uri]
    assert sources(sqlite_engine, BREAD.uri) == [BREAD.uri, COPY.uri, COPY_OF_PAGE.uri]


def test_a_copy_is_shown_again_when_it_is_read_after_its_origin_is_gone(engine: Engine) -> None:
    store(engine, BREAD, COPY)
    with transaction(engine) as session:
        withdraw(session, BREAD.uri, WithdrawnReason.DELETED)
    store(engine, COPY)
    assert uris(engine) == {COPY.uri}


def no_claim(draft: Draft) -> Draft:
    return replace(draft, url=None, same_as=())


@pytest.mark.parametrize(
    "false",
    [
        lambda: replace(NOTE, same_as=(BREAD.uri,), author_uri="https://hub.example/mallory"),
        lambda: replace(COPY, url=BREAD.uri, same_as=(BREAD.uri, PROPOSAL.uri)),
        lambda: replace(NOTE, uri="https://hub.example/items/8", same_as=(BREAD.uri,)),
    ],
)
def test_nobody_hides_what_another_publishes(engine: Engine, false: Callable[[], Draft]) -> None:
    store(engine, BREAD, no_claim(PROPOSAL))
    store(engine, false())
    assert {BREAD.uri, PROPOSAL.uri} <= uris(engine)


def test_another_author_of_the_origin_hides_nothing(engine: Engine) -> None:
    store(engine, NOTE)
    mallory = replace(PROPOSAL, author_uri="https://hub.example/members/mallory")
    assert store(engine, mallory) == set()
    assert uris(engine) == {NOTE.uri, PROPOSAL.uri}


def test_a_listing_that_claims_no_more_is_shown_again(engine: Engine) -> None:
    store(engine, BREAD, COPY)
    store(engine, no_claim(COPY))
    assert uris(engine) == {BREAD.uri, COPY.uri}
    assert sources(engine, BREAD.uri) == [BREAD.uri]


def test_two_that_claim_each_other_are_shown_once(engine: Engine) -> None:
    there = replace(BREAD, same_as=(COPY.uri,))
    for drafts in [(there, COPY), (COPY, there), (there,), (COPY,), (there, COPY)]:
        store(engine, *drafts)
        assert len(uris(engine)) == 1


def test_the_sources_of_a_listing_are_capped_and_forgotten_with_the_claims(engine: Engine) -> None:
    copies = [replace(COPY, uri=f"https://copy{n}.example/bread") for n in range(MOST_SOURCES + 5)]
    store(engine, BREAD, *copies)
    assert len(sources(engine, BREAD.uri)) == MOST_SOURCES
    with transaction(engine) as session:
        forget_claims(session, [copy.uri for copy in copies])
    with reading(engine) as session:
        assert session.scalar(select(func.count()).select_from(Claim)) == 0
    assert sources(engine, BREAD.uri) == [BREAD.uri]
