"""`localpay search`: what the search of the interface answers, in the terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Final

import typer
from rich.console import Console
from sqlalchemy import Engine

from api.hub_commands import AsJson
from api.purses import ClearingPurses
from api.routes.pages import currency_codes, payment_words
from api.searching import search as answer
from api.terminal import operator_engine, print_json, progress_console
from commons.database import reading
from commons.settings import Settings
from marketplace.index import Index
from marketplace.indexes import open_index
from marketplace.payable import Purses
from marketplace.query import Hit, Page, Query, Score, read_query

Text = str | None
Texts = list[str] | None

_MOST_OTHERS: Final = 3


@dataclass(frozen=True)
class _Searched:
    """What is searched in, of this machine."""

    engine: Engine
    index: Index
    purses: Purses


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("search")(search)


def search(  # noqa: PLR0913, PLR0917 (each is an option, by name)
    words: Annotated[Texts, typer.Argument(help="Words, and a place: plumber near leeds.")] = None,
    near: Annotated[Text, typer.Option(help="A place's name, or lat,lon in degrees.")] = None,
    radius_km: Annotated[Text, typer.Option(help="How far from there; 50 unless told.")] = None,
    bbox: Annotated[Text, typer.Option(help="west,south,east,north in degrees.")] = None,
    type_: Annotated[Text, typer.Option("--type", help="offer or want.")] = None,
    pay: Annotated[Texts, typer.Option(help="Means of payment, repeatable.")] = None,
    payer_group: Annotated[Text, typer.Option(help="What its members can pay for.")] = None,
    category: Annotated[Texts, typer.Option(help="Category, repeatable.")] = None,
    language: Annotated[Texts, typer.Option(help="Language (ISO 639), repeatable.")] = None,
    group: Annotated[Texts, typer.Option(help="Group, repeatable.")] = None,
    author: Annotated[Texts, typer.Option(help="Author's URI, repeatable.")] = None,
    remote: Annotated[Text, typer.Option(help="Had from afar: true or false.")] = None,
    since: Annotated[Text, typer.Option(help="Published since (ISO 8601).")] = None,
    sort: Annotated[Text, typer.Option(help="relevance, distance or newest.")] = None,
    limit: Annotated[str, typer.Option(help="Hits at most.")] = "20",
    cursor: Annotated[Text, typer.Option(help="Leads to the next page, which gave it.")] = None,
    *,
    explain: Annotated[bool, typer.Option("--explain", help="Tell each hit's score.")] = False,
    json: AsJson = False,
) -> None:
    """Search the index of this machine, as the interface does."""
    singles = {
        "q": " ".join(words or []),
        "near": near,
        "radius_km": radius_km,
        "bbox": bbox,
        "type": type_,
        "payer_group": payer_group,
        "remote": remote,
        "since": since,
        "sort": sort,
        "limit": limit,
        "cursor": cursor,
        "explain": "1" if explain else None,
    }
    several = {
        "pay": pay,
        "category": category,
        "language": language,
        "group": group,
        "author": author,
    }
    query = read_query(_pairs(singles, several))
    page, codes = _found(query)
    if json:
        print_json(page)
    else:
        _show(page, query, codes)


def _pairs(singles: dict[str, Text], several: dict[str, Texts]) -> Iterator[tuple[str, str]]:
    for name, value in singles.items():
        if value is not None:
            yield name, value
    for name, values in several.items():
        for value in values or []:
            yield name, value


def _found(query: Query) -> tuple[Page, dict[str, str]]:
    """Return the answer, and the codes of the groups' currencies to show it with."""
    with operator_engine() as engine, closing(open_index(Settings())) as index:
        page = answer(_Searched(engine, index, ClearingPurses()), query)
        with reading(engine) as session:
            return page, currency_codes(session)


def _show(page: Page, query: Query, codes: dict[str, str]) -> None:
    """Print the hits, and to stderr what else a page tells."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    for hit in page.hits:
        console.print(_line(hit, codes))
        if hit.why is not None:
            console.print(f"      {_reckoned(hit.why)}")
    for sentence in _told(page, query):
        progress_console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _told(page: Page, query: Query) -> Iterator[str]:
    if page.place is not None:
        words = f"“{page.words}” " if page.words else ""
        yield f"{words}near {page.place.label}, within {query.reach_km:g} km"
        if others := page.place.others[:_MOST_OTHERS]:
            yield f"called so too: {'; '.join(other.label for other in others)}"
    if page.loosened:
        yield "nothing has all of these words; these have most of them, or words like them"
    found = f"{page.total} found" if page.total_is_exact else f"at least {page.total} found"
    yield f"{found}, {len(page.hits)} shown, {page.took_ms:.1f} ms"
    if page.cursor is not None:
        if len(page.hits) < query.limit:
            yield f"no more than {_most_of_an_author(page.hits)} of one author on a page"
        yield f"the next page: --cursor {page.cursor}"


def _most_of_an_author(hits: Sequence[Hit]) -> int:
    return max(Counter(hit.author for hit in hits).values(), default=0)


def _line(hit: Hit, codes: dict[str, str]) -> str:
    payable = hit.payable
    parts = [
        f"{hit.type:5}",
        hit.title,
        ", ".join(payment_words(payment, codes) for payment in hit.payments),
        f"payable in {payable.currency} ({payable.how})" if payable else None,
        None if hit.distance_km is None else f"{hit.distance_km:g} km",
        hit.group,
        hit.url,
    ]
    return " · ".join(part for part in parts if part)


def _reckoned(why: Score) -> str:
    """Return a score as the product that it is."""
    parts = {
        "words": why.bm25,
        "distance": why.distance,
        "freshness": why.freshness,
        "image": why.image,
        "price": why.price,
    }
    factors = " × ".join(f"{name} {part:.3g}" for name, part in parts.items() if part is not None)  # noqa: RUF001 (a product)
    return f"{why.total:.3g} = {factors}"
