"""The page at which a member's own hub opens a listing, so that the member answers it there."""

import re
from typing import Final
from urllib.parse import quote, urlsplit

from commons.addresses import names_loopback
from commons.errors import FetchError, InvalidError, TooManyError
from commons.fetch import DESCRIPTOR, Door
from crawler.terms import objects, origin, same_origin, text

RELATIONS: Final = ("https://w3id.org/fep/3b86/Object", "http://ostatus.org/schema/1.0/subscribe")
"""By which a hub opens an object (FEP-3b86), and by which older ones do."""
AT_ONCE: Final = 8
FETCHES_MOST: Final = 4
RETRY_SECONDS: Final = 5
_ADDRESS: Final = re.compile(
    r"(?:acct:|@)?([A-Za-z0-9._~+-]{1,64})@([A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?)"
)
_PLACEHOLDER: Final = re.compile(r"\{[^{}]*\}")


class Homes:
    """Asks members' hubs where they open things; one at a time of each hub, 8 in all."""

    def __init__(self) -> None:
        self._asking: set[str] = set()

    async def page(self, door: Door, address: str, listing_uri: str) -> str:
        """Return the address at which the hub of a member, `name@host`, opens a listing.

        Raises InvalidError where it is no such address or its hub opens nothing, FetchError where
        the hub does not answer, and TooManyError.
        """
        matched = _ADDRESS.fullmatch(address.strip())
        if matched is None:
            raise InvalidError("hub", "must be an address such as name@hub.example")
        name, host = matched[1], matched[2].lower()
        if host in self._asking or len(self._asking) >= AT_ONCE:
            raise TooManyError("too many hubs are being asked", RETRY_SECONDS)
        self._asking.add(host)
        try:
            return await _page(door, name, host, listing_uri)
        finally:
            self._asking.discard(host)


async def _page(door: Door, name: str, host: str, listing_uri: str) -> str:
    scheme = "http" if names_loopback(urlsplit(f"//{host}").hostname or "") else "https"
    account = quote(f"acct:{name}@{host}", safe="")
    url = f"{scheme}://{host}/.well-known/webfinger?resource={account}"
    try:
        found = await door.errand("", fetches=FETCHES_MOST).get_json(url, accept=DESCRIPTOR)
    except FetchError as error:
        if error.final:
            raise InvalidError("hub", "must be the address of a member at its hub") from error
        raise FetchError(f"{host} does not tell now where it opens things") from error
    links = list(objects(found.body, "links"))
    for relation in RELATIONS:
        for link in links:
            if text(link, "rel") == relation:
                return _filled(text(link, "template"), listing_uri)
    raise InvalidError("hub", "must be at a hub that opens what others publish")


def _filled(template: str, listing_uri: str) -> str:
    """Return a template with the listing in it; a placeholder of another meaning stays empty."""
    uri = quote(listing_uri, safe="")
    filled = _PLACEHOLDER.sub(lambda m: uri if m[0] in {"{uri}", "{object}"} else "", template)
    if not _is_page(filled) or uri not in filled or not same_origin(template, filled):
        raise InvalidError("hub", "must be at a hub that tells an address to open things at")
    return filled


def _is_page(url: str) -> bool:
    """Tell whether somebody may be sent to an address: https, or a hub on this machine."""
    parts = origin(url)
    if parts is None or "@" in urlsplit(url).netloc:
        return False
    return parts[0] == "https" or names_loopback(parts[1])
