"""The page from which a member answers a listing at the member's own hub."""

from typing import Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.caching import NOT_KEPT
from api.routes.interest import home_page, listing_of
from api.routes.pages import render
from api.services import Shared
from commons.errors import FetchError, InvalidError, NotFoundError, TooManyError

router = APIRouter(include_in_schema=False)

_GONE: Final = {"title": "Not found", "message": "This listing is not here, or not any more."}


@router.get("/l/{listing_id}/interest")
async def interest_page(
    request: Request, listing_id: str, services: Shared, hub: str = ""
) -> Response:
    """Ask for the member's address, and show the page at which its hub opens the listing."""
    try:
        listing = await run_in_threadpool(listing_of, services.engine, listing_id)
    except NotFoundError:
        return render("message.html", _GONE, 404)
    home, trouble, status = "", "", 200
    try:
        home = await home_page(services, request, hub, listing.uri) if hub else ""
    except InvalidError as error:
        trouble, status = f"This {error.rule}.", 422
    except TooManyError:
        trouble, status = "Too many hubs are being asked. Try again in a minute.", 429
    except FetchError:
        trouble, status = "Your hub does not answer now. Try again a little later.", 503
    context = {
        "listing": listing,
        "origin": listing.url or listing.uri,
        "hub": hub,
        "home": home,
        "host": urlsplit(home).netloc,
        "trouble": trouble,
    }
    response = render("interest.html", context, status)
    response.headers["Cache-Control"] = NOT_KEPT
    return response
