"""The pages for people: search, one listing, the groups; made on the server, without scripts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as FilePath
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse

from api import problems
from api.caching import Cacheable
from api.routes.groups import GroupView, groups_of
from api.routes.listings import why
from api.services import Reading, Shared
from commons.errors import InvalidError, NotFoundError, UnavailableError
from commons.groups import Currency
from marketplace import listings
from marketplace.gazetteer import gazetteer
from marketplace.payment import PaymentMeans
from marketplace.query import Query, read_query

router = APIRouter(include_in_schema=False, route_class=Cacheable)

DISTANCES_KM: Final = ("5", "10", "25", "50", "100", "300", "1000")
MEANS: Final = {
    PaymentMeans.LOCAL: "Local currency",
    PaymentMeans.TIME: "Time",
    PaymentMeans.NATIONAL: "National currency",
    PaymentMeans.CRYPTO: "Crypto",
    PaymentMeans.BARTER: "Barter",
    PaymentMeans.GIFT: "Gift",
}
_MEANS_WORDS: Final = {
    **MEANS,
    PaymentMeans.GROUP_DEFAULT: "The group's currency",
    PaymentMeans.UNSPECIFIED: "To be agreed",
}
_SINGLE: Final = ("q", "near", "place", "radius_km", "type", "sort", "group", "language", "cursor")


@dataclass
class Asked:
    """What the form was filled with, as text; `place` is a group's id, used without `near`.

    `question` is what the fields ask of the index, as names and values.
    """

    values: dict[str, str]
    pay: list[str]
    question: list[tuple[str, str]] = field(default_factory=list)
    trouble: InvalidError | None = None
    query: Query | None = field(default=None)

    def value(self, name: str) -> str:
        """Return what a field holds."""
        return self.values.get(name, "")

    def link(self, **changed: str) -> str:
        """Return the address of the same question with some fields changed."""
        kept = {**self.values, "cursor": "", **changed}
        pairs = [(name, value) for name, value in kept.items() if value]
        return "/?" + urlencode([*pairs, *(("pay", value) for value in self.pay)])

    def feed(self, ending: str) -> str:
        """Return the address of the same question as a feed, from its first page."""
        kept = [(name, value) for name, value in self.question if name != "cursor"]
        return f"/listings.{ending}" + (f"?{urlencode(kept)}" if kept else "")


@router.get("/")
def search_page(request: Request, services: Shared, session: Reading) -> Response:
    """Show the form and what was found."""
    groups = groups_of(session)
    asked = _asked(request, groups)
    page, trouble, status = (
        None,
        asked.trouble and str(asked.trouble),
        422 if asked.trouble else 200,
    )
    if asked.query is not None:
        try:
            page = services.index.search(asked.query)
        except UnavailableError as error:
            trouble, status = error.detail, 503
    context = {
        "asked": asked,
        "page": page,
        "trouble": trouble,
        "groups": {group.id: group for group in groups},
        "currencies": _currencies(session),
        "means": MEANS,
        "distances": DISTANCES_KM,
        "filters": _filters(asked),
    }
    return _render("search.html", context, status)


@router.get("/l/{listing_id}")
def listing_page(listing_id: str, session: Reading) -> Response:
    """Show one listing."""
    listing = listings.by_id(session, listing_id)
    if listing is None:
        message = "This listing is not here, or not any more."
        return _render("message.html", {"title": "Not found", "message": message}, 404)
    context = {
        "listing": listing,
        "body": Markup(listing.body),  # noqa: S704 (sanitised before it was stored)
        "why": why(listing),
        "origin": listing.url or listing.uri,
        "groups": {group.id: group for group in groups_of(session)},
        "currencies": _currencies(session),
    }
    return _render("listing.html", context)


@router.get("/about/groups")
def groups_page(session: Reading) -> Response:
    """Show the groups."""
    return _render("groups.html", {"groups": groups_of(session)})


@router.get("/problems/{name}")
def problem_page(name: str) -> Response:
    """Tell what a kind of problem means: where a problem document's `type` leads."""
    kind = problems.ALL_KINDS.get(name)
    if kind is None:
        msg = "there is no such kind of problem"
        raise NotFoundError(msg)
    return _render("problem.html", {"kind": kind})


def payment_words(payment: Mapping[str, Any], currencies: Mapping[str, str]) -> str:
    """Return a means of payment as it is read: "12.50 EUR", "2 h", "Barter"."""
    unit, amount = payment.get("currency", ""), payment.get("amount")
    means = PaymentMeans(payment["means"])
    word = currencies.get(unit) or (unit if means is PaymentMeans.NATIONAL else "")
    if not word:
        word = "h" if means is PaymentMeans.TIME and amount else _MEANS_WORDS[means]
    return " ".join(part for part in (amount, word, payment.get("text")) if part)


def _asked(request: Request, groups: list[GroupView]) -> Asked:
    """Read the form: empty fields say nothing, the place of a group stands for its position."""
    filled = [(name, value) for name, value in request.query_params.multi_items() if value.strip()]
    values = {name: value.strip() for name, value in filled if name in _SINGLE}
    asked = Asked(values, [value for name, value in filled if name == "pay"])
    try:
        asked.question = _question(filled, values, groups)
        asked.query = read_query(asked.question)
    except InvalidError as error:
        asked.trouble = error
    return asked


def _question(
    filled: list[tuple[str, str]], values: dict[str, str], groups: list[GroupView]
) -> list[tuple[str, str]]:
    near = values.get("near") or _position(values.get("place", ""), groups)
    question = [(name, value) for name, value in filled if name not in {"near", "place"}]
    if near:
        return [*question, ("near", near)]
    return [(name, value) for name, value in question if name != "radius_km"]


def _filters(asked: Asked) -> int:
    """Count what narrows the search besides words; the distance goes with its place."""
    places = bool(asked.value("near") or asked.value("place"))
    kinds = sum(bool(asked.value(name)) for name in ("type", "sort"))
    return places + kinds + bool(asked.pay)


def _position(place: str, groups: list[GroupView]) -> str:
    if not place:
        return ""
    for group in groups:
        if group.id == place and group.lat is not None and group.lon is not None:
            return f"{group.lat},{group.lon}"
    raise InvalidError("place", "must be one of the places of the list")


def _currencies(session: Session) -> dict[str, str]:
    rows = session.execute(select(Currency.uri, Currency.code))
    return {row.uri: row.code for row in rows}


@cache
def _templates() -> Environment:
    folder = FilePath(__file__).parent.parent / "templates"
    templates = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["payment_words"] = payment_words
    templates.globals["address_of"] = gazetteer().address
    templates.filters["marked"] = Markup  # of excerpts, which are escaped before they are marked
    return templates


def _render(template: str, context: Mapping[str, Any], status: int = 200) -> Response:
    return HTMLResponse(_templates().get_template(template).render(context), status)
