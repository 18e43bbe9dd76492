"""Listings, groups and questions for the tests of the index."""

import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from commons.database import transaction
from commons.groups import Currency, Group
from commons.money import CurrencyKind
from marketplace.consent import Consent, ConsentBasis
from marketplace.drafts import Draft, ListingType
from marketplace.embedded import EmbeddedIndex
from marketplace.index import Entry, Index
from marketplace.listings import WithdrawnReason, upsert, withdraw
from marketplace.meilisearch import MeilisearchIndex
from marketplace.meilisearch.generation import Generation
from marketplace.meilisearch.server import Server
from marketplace.payment_terms import PaymentTerms
from marketplace.postgresql import PostgresqlIndex
from marketplace.query import Page, Query

YES = Consent(allowed=True, basis=ConsentBasis.HUB, reason="the hub consents")
NOW = datetime.now(UTC)
VIENNA = (48.2085, 16.3730)
HOURS = "https://bank.example/hours"


def meilisearch_index(request: pytest.FixtureRequest) -> MeilisearchIndex:
    """Open an index of its own in the server that the tests are given, if they are."""
    url = os.environ.get("LOCALPAY_TEST_MEILISEARCH_URL")
    if not url:
        pytest.skip("LOCALPAY_TEST_MEILISEARCH_URL names no Meilisearch server")
    key = os.environ.get("LOCALPAY_TEST_MEILISEARCH_KEY")
    uid = f"localpay-test-{uuid.uuid4().hex}"
    request.addfinalizer(Generation(Server(url, key), uid).remove)
    return MeilisearchIndex(url, key, uid)


# How each index is opened, empty, for one test.
IMPLEMENTATIONS: dict[str, Callable[[pytest.FixtureRequest], Index]] = {
    "embedded": lambda request: EmbeddedIndex(request.getfixturevalue("tmp_path") / "index"),
    "meilisearch": meilisearch_index,
    "postgresql": lambda request: PostgresqlIndex(request.getfixturevalue("postgresql_index_url")),
}


def add_groups(engine: Engine) -> None:
    """Add a local currency's group `river` and a time bank `hours`."""
    with transaction(engine) as session:
        for slug, uri, code, kind in (
            ("river", "https://river.example/currency", "RIV", CurrencyKind.LOCAL),
            ("hours", HOURS, "HRS", CurrencyKind.TIME),
        ):
            currency = Currency(uri=uri, code=code, name=slug, scale=2, kind=kind)
            session.add(currency)
            session.flush()
            session.add(
                Group(
                    id=slug,
                    uri=f"https://{slug}.example/group",
                    name=slug,
                    currency_id=currency.id,
                    created_at=NOW,
                )
            )


def draft(name: str, title: str, body: str = "", **values: object) -> Draft:
    made = Draft(
        uri=f"https://hub.example/{name}",
        type=ListingType.OFFER,
        title=title,
        body=body,
        author_uri=f"https://hub.example/members/{name}",
        published=NOW - timedelta(days=1),
    )
    return replace(made, **values)  # type: ignore[arg-type] # any field, by name


def entry(name: str, **values: object) -> Entry:
    """Make what an index gets of a listing."""
    made = Entry(
        id=name,
        type=ListingType.OFFER,
        title="Something",
        text="",
        language=None,
        categories=[],
        category_terms=[],
        image=None,
        url=f"https://hub.example/{name}",
        author=f"https://hub.example/members/{name}",
        group=None,
        place_name=None,
        lat=None,
        lon=None,
        remote=False,
        payments=[],
        terms=PaymentTerms((), ()),
        published=NOW,
        confirmed=NOW,
        expires_at=None,
    )
    return replace(made, **values)  # type: ignore[arg-type] # any field, by name


def publish(engine: Engine, *drafts: Draft, group_id: str | None = None) -> None:
    with transaction(engine) as session:
        for each in drafts:
            upsert(session, each, YES, consented_by="https://hub.example", group_id=group_id)


def unpublish(engine: Engine, *names: str) -> None:
    with transaction(engine) as session:
        for name in names:
            withdraw(session, f"https://hub.example/{name}", WithdrawnReason.DELETED)


def names(page: Page) -> list[str]:
    return [hit.url.rsplit("/", maxsplit=1)[-1] for hit in page.hits]


def found(index: Index, **question: object) -> set[str]:
    page = index.search(Query(limit=100, **question))  # type: ignore[arg-type] # any field, by name
    assert page.total == len(page.hits)
    assert page.total_is_exact
    return set(names(page))


def everything(index: Index, query: Query) -> dict[str, float]:
    """Return the distance by name of all that the pages of a question lead through."""
    read: dict[str, float] = {}
    total = 0
    while True:
        page = index.search(query)
        for name, hit in zip(names(page), page.hits, strict=True):
            assert name not in read
            read[name] = 0.0 if hit.distance_km is None else hit.distance_km
        total = page.total
        if page.cursor is None:
            break
        query = replace(query, cursor=page.cursor)
    assert total == len(read)
    assert sum(index.search(replace(query, cursor=None)).facets["type"].values()) == total
    return read
