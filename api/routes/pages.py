"""The pages for people: search, one listing, the groups; made on the server, without scripts."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path as FilePath
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse

from api import problems
from api.caching import Cacheable
from api.routes.groups import clearing, groups_of, taking_part
from api.routes.listings import why
from api.search_form import (
    DISTANCES_KM,
    MEANS_WORDS,
    MOST_OF_A_SELECT,
    facets_of,
    means_of,
    read_form,
)
from api.searching import search
from api.services import Reading, Shared
from commons.errors import InvalidError, NotFoundError, UnavailableError
from commons.groups import Currency
from commons.settings import Settings
from crawler.peers import FOLLOWS, PeerKind
from crawler.why import kind_of_source, take_away
from marketplace import listings
from marketplace.consent import ConsentBasis
from marketplace.currencies import unit_of
from marketplace.gazetteer import gazetteer
from marketplace.listings import Listing
from marketplace.payment import PaymentMeans
from marketplace.query import Page

_ALLOWED_BY: Final = {
    ConsentBasis.OBJECT_SEARCHABLE: "Its author, who lets anybody find this listing",
    ConsentBasis.ACTOR_SEARCHABLE: "Its author, who lets anybody find what they publish",
    ConsentBasis.ACTOR_INDEXABLE: "Its author, who lets search services hold what they publish",
    ConsentBasis.HUB: "The author's group, for what its members publish to everybody",
}

_FILES: Final = frozenset({PeerKind.CES, PeerKind.TIMEOVERFLOW})
_ANSWERED_FROM_AFAR: Final = FOLLOWS | {PeerKind.FASP}
"""Of these each listing is an object that other hubs can open."""

_CODE: Final = re.compile(r"`([^`]+)`")
_NOT_NOW: Final = "Searching is not possible right now. Please come back a little later."

router = APIRouter(include_in_schema=False, route_class=Cacheable)


@router.get("/")
def search_page(request: Request, services: Shared, session: Reading) -> Response:
    """Show the form and what was found."""
    groups = taking_part(session)
    payers = clearing(session)
    asked = read_form(request.query_params.multi_items(), groups)
    page, down = None, ""
    if asked.query is not None:
        try:
            page = search(services, asked.query)
        except InvalidError as error:
            asked.refuse(error)
        except UnavailableError as error:
            down = f"{_NOT_NOW} For the operator: {error.detail}."
    by_id = {group.id: group for group in groups}
    context = {
        "asked": asked,
        "page": page,
        "down": down,
        "groups": by_id,
        "currencies": currency_codes(session),
        "means": means_of(asked, page),
        "distances": DISTANCES_KM,
        "payers": payers,
        "few_groups": len(payers) <= MOST_OF_A_SELECT,
        "facets": facets_of(asked, page, by_id) if page else {},
        "most_of_an_author": _most_of_an_author(page) if page else 0,
    }
    status = 422 if asked.trouble else 503 if down else 200
    return render("search.html", context, status)


@router.get("/l/{listing_id}")
def listing_page(listing_id: str, request: Request, services: Shared, session: Reading) -> Response:
    """Show one listing; the address may hold the question that led to it."""
    listing = listings.by_id(session, listing_id)
    if listing is None:
        message = "This listing is not here, or not any more."
        return render("message.html", {"title": "Not found", "message": message}, 404)
    question = urlencode(request.query_params.multi_items())
    told = why(listing, take_away(session, services.settings, listing))
    context = {
        "listing": listing,
        "body": Markup(listing.body),  # noqa: S704 (sanitised before it was stored)
        "why": told,
        "allowed_by": _ALLOWED_BY[ConsentBasis(told.basis)],
        "back": f"/?{question}" if question else "/",
        "origin": origin_of(session, services.settings, listing),
        "is_answered_from_afar": kind_of_source(session, listing) in _ANSWERED_FROM_AFAR,
        "groups": {group.id: group for group in taking_part(session)},
        "currencies": currency_codes(session),
    }
    return render("listing.html", context)


def origin_of(session: Session, settings: Settings, listing: Listing) -> str:
    """Return the address at which people see a listing's origin, empty where there is none.

    A line of a file has none of its own, and neither has what was pushed without its address.
    """
    is_ours = listing.uri.startswith(f"{settings.base_url}/")
    if listing.url is not None or is_ours:
        return listing.url or ""
    return "" if kind_of_source(session, listing) in _FILES else listing.uri


@router.get("/about/groups")
def groups_page(session: Reading) -> Response:
    """Show the groups."""
    return render("groups.html", {"groups": groups_of(session)})


@router.get("/problems/{name}")
def problem_page(name: str) -> Response:
    """Tell what a kind of problem means: where a problem document's `type` leads."""
    kind = problems.ALL_KINDS.get(name)
    if kind is None:
        msg = "there is no such kind of problem"
        raise NotFoundError(msg)
    return render("problem.html", {"kind": kind})


def payment_words(payment: Mapping[str, Any], currencies: Mapping[str, str]) -> str:
    """Return a means of payment as it is read: "12.50 EUR", "2 h", "Barter: jam", "3 €/kg".

    What was told in words stands alone: the amount is in it, but where no unit was understood.
    """
    unit, amount, text = (payment.get(name, "") for name in ("currency", "amount", "text"))
    means = PaymentMeans(payment["means"])
    if text and means in {PaymentMeans.BARTER, PaymentMeans.GIFT}:
        return f"{MEANS_WORDS[means]}: {text}"
    if text:
        apart = means is PaymentMeans.UNSPECIFIED and amount not in text
        return f"{amount} {text}" if apart else text
    known = unit_of(unit)
    word = currencies.get(unit) or (known.code if known else "")
    if not word:
        word = "h" if means is PaymentMeans.TIME and amount else MEANS_WORDS[means]
    return f"{amount} {word}".lstrip()


def coded(words: str) -> Markup:
    """Return words, escaped, in which what stands between backticks is set as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(words))))  # noqa: S704 (escaped)


def is_gift(payments: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether something is given for nothing alone."""
    return {payment["means"] for payment in payments} == {PaymentMeans.GIFT}


def currency_codes(session: Session) -> dict[str, str]:
    """Return the codes of the groups' currencies by their URIs."""
    rows = session.execute(select(Currency.uri, Currency.code))
    return {row.uri: row.code for row in rows}


def _most_of_an_author(page: Page) -> int:
    """Return how many hits on a page are of the author who has the most."""
    return max(Counter(hit.author for hit in page.hits).values(), default=0)


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
    templates.globals["is_gift"] = is_gift
    templates.globals["address_of"] = gazetteer().address
    templates.filters["coded"] = coded
    templates.filters["marked"] = Markup  # of excerpts, which are escaped before they are marked
    return templates


def render(template: str, context: Mapping[str, Any], status: int = 200) -> Response:
    """Make a page of a template; everything in `context` is escaped."""
    return HTMLResponse(_templates().get_template(template).render(context), status)
