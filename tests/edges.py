"""Listings at the edges of the world and of what can be written, and how they are asked for."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import pytest
from conftest import disposed
from market import HOURS, VIENNA, add_groups, draft, publish
from served import Served, served

from bench.postgres import new_database
from commons.database import make_engine
from commons.settings import Settings
from marketplace.payment import Payment, PaymentMeans

AWKWARD = "a\"b\\c'd OR 1=1 --"
WORLD = "-180,-90,180,90"
EVERYTHING = {"bread", "west", "east", "north", "south", "awkward", "khubz"}
# Every way to search, with what each needs besides.
WAYS: dict[str, dict[str, str]] = {
    "/listings": {},
    "/listings.rss": {},
    "/listings.geojson": {},
    "/listings/map": {"zoom": "3", "bbox": WORLD},
}

LISTINGS = (
    draft(
        "bread",
        "Fresh bread",
        "Baked in the morning, cafe\u0301 beside.",
        lat=VIENNA[0],
        lon=VIENNA[1],
        language="en",
        categories=("Food",),
        payments=(Payment(PaymentMeans.TIME, HOURS, "1"),),
    ),
    draft("west", "Boat west of the line", lat=-17.0, lon=179.9),
    draft("east", "Boat east of the line", lat=-17.0, lon=-179.9),
    draft("north", "Sledge", lat=89.9, lon=10.0),
    draft("south", "Skis", lat=-89.9, lon=-120.0),
    draft(
        "awkward",
        "Awkward",
        categories=(AWKWARD,),
        author_uri="https://hub.example/members/a'b%22(c)",
        lat=10.0,
        lon=10.0,
    ),
    draft("khubz", "خبز طازج 🍞", lat=33.5, lon=36.3),
)


@contextmanager
def edge_service(request: pytest.FixtureRequest, data_dir: Path) -> Iterator[Served]:
    """Serve these listings from the index that the fixture's parameter names."""
    shutil.copyfile(request.getfixturevalue("sqlite_template"), data_dir / "localpay.sqlite")
    with ExitStack() as stack:
        index_url = ""
        if request.param == "postgresql":
            server = request.getfixturevalue("postgresql_server")
            template = request.getfixturevalue("postgresql_index_template")
            index_url = stack.enter_context(new_database(server, template))
        settings = Settings(data_dir=data_dir, index_url=index_url)
        engine = stack.enter_context(disposed(make_engine(settings.effective_database_url)))
        add_groups(engine)
        publish(engine, *LISTINGS, group_id="river")
        service = stack.enter_context(served(settings, engine))
        service.work()
        yield service


def asked(service: Served, **question: str) -> set[str]:
    """What a question finds, by the last part of each address."""
    answer = service.client.get("/listings", params=question)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    hits = {hit["url"].rsplit("/", 1)[-1] for hit in page["hits"]}
    assert page["total"] == len(hits)
    return hits


def refusals(service: Served, query: str, field: str) -> None:
    """Ask each way, with a query as it stands in the address; each refuses, naming the field."""
    for path, besides in WAYS.items():
        needed = {name: value for name, value in besides.items() if f"{name}=" not in query}
        answer = service.client.get(f"{path}?{query}&{urlencode(needed)}".rstrip("&"))
        assert_refused(answer, field)


def assert_refused(answer: httpx2.Response, field: str) -> None:
    assert answer.status_code == 422, f"{answer.url}: {answer.status_code} {answer.text[:200]}"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field
    assert answer.json()["rule"]
