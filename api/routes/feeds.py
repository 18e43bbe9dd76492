"""Any search as a feed: RSS for readers, GeoJSON for maps."""

import re
from collections.abc import Callable
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from api.caching import Cacheable, etag_of, holds, not_modified
from api.routes.listings import HIT_EXAMPLE, with_defaults
from api.searching import in_turn, search
from api.services import Services, Shared
from marketplace.gazetteer import Choice
from marketplace.query import Hit, Page, read_query

router = APIRouter(tags=["Marketplace"], route_class=Cacheable)

RSS: Final = "application/rss+xml"
GEOJSON: Final = "application/geo+json"
ATOM: Final = "http://www.w3.org/2005/Atom"
GEORSS: Final = "http://www.georss.org/georss"
RSS_DEFAULTS: Final = {"sort": "newest", "limit": "50"}
GEOJSON_DEFAULTS: Final = {"limit": "100"}
# What XML 1.0 cannot hold, not even escaped.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FEATURE_MEMBERS: Final = ("lat", "lon", "id")

RSS_EXAMPLE: Final = """\
<?xml version='1.0' encoding='utf-8'?>
<rss xmlns:atom="http://www.w3.org/2005/Atom" xmlns:georss="http://www.georss.org/georss" \
version="2.0"><channel><title>LocalPay: bicycle</title>\
<link>https://localpay.example/?q=bicycle</link>\
<description>Offers and wants of local currency groups</description>\
<atom:link rel="self" type="application/rss+xml" \
href="https://localpay.example/listings.rss?q=bicycle" />\
<item><title>Bicycle repair</title><link>https://localpay.example/l/k3v7q2m5x6abc</link>\
<guid isPermaLink="true">https://localpay.example/l/k3v7q2m5x6abc</guid>\
<pubDate>Fri, 01 May 2026 09:00:00 GMT</pubDate>\
<description>I mend your &lt;mark&gt;bicycle&lt;/mark&gt;.</description>\
<category>offer</category><category>repairs</category>\
<georss:point>41.403 2.157</georss:point></item></channel></rss>"""


class GeoJson(Response):
    """An answer in GeoJSON."""

    media_type = GEOJSON


class Point(BaseModel):
    """A blurred position; longitude comes first (RFC 7946)."""

    type: str
    coordinates: list[float]


class Feature(BaseModel):
    """A listing; `properties` are a hit's members, `geometry` is null where it has no place."""

    type: str
    id: str
    geometry: Point | None
    properties: dict[str, Any]


class FeatureCollection(BaseModel):
    """One page of hits by RFC 7946; `cursor` leads to the next."""

    type: str
    features: list[Feature]
    total: int
    total_is_exact: bool
    place: Choice | None = None
    words: str | None = None
    loosened: bool = False
    cursor: str | None


GEOJSON_EXAMPLE: Final[dict[str, Any]] = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "id": HIT_EXAMPLE["id"],
            "geometry": {
                "type": "Point",
                "coordinates": [HIT_EXAMPLE["lon"], HIT_EXAMPLE["lat"]],
            },
            "properties": {k: v for k, v in HIT_EXAMPLE.items() if k not in _FEATURE_MEMBERS},
        }
    ],
    "total": 1,
    "total_is_exact": True,
    "cursor": None,
}


@router.get(
    "/listings.rss",
    summary="Any search as RSS",
    response_class=Response,
    responses={
        200: {
            "description": "The newest hits, by RSS 2.0 with GeoRSS.",
            "content": {RSS: {"example": RSS_EXAMPLE, "schema": {"type": "string"}}},
        }
    },
    openapi_extra={"parameters": with_defaults(RSS_DEFAULTS)},
)
async def rss_feed(request: Request, services: Shared) -> Response:
    """Give the hits of a search to a feed reader, the newest 50 first unless told otherwise."""
    return await _feed(request, services, RSS, RSS_DEFAULTS, _rss)


@router.get(
    "/listings.geojson",
    summary="Any search as GeoJSON",
    response_class=GeoJson,
    responses={
        200: {
            "description": "The hits as a FeatureCollection (RFC 7946).",
            "model": FeatureCollection,
            "content": {GEOJSON: {"example": GEOJSON_EXAMPLE}},
        }
    },
    openapi_extra={"parameters": with_defaults(GEOJSON_DEFAULTS)},
)
async def geojson_feed(request: Request, services: Shared) -> Response:
    """Give the hits of a search to a map, 100 on a page unless told otherwise.

    Positions are blurred; a listing without a place has no geometry.
    """
    return await _feed(request, services, GEOJSON, GEOJSON_DEFAULTS, _geojson)


async def _feed(
    request: Request,
    services: Services,
    media_type: str,
    defaults: dict[str, str],
    write: Callable[[Page, Request, str], bytes],
) -> Response:
    def answer() -> Response:
        asked = request.query_params.multi_items()
        told = {name for name, _ in asked}
        extra = [(name, value) for name, value in defaults.items() if name not in told]
        query = read_query([*asked, *extra])
        etag = etag_of(request, services.index.revision())
        if holds(request, etag):
            return not_modified(etag)
        body = write(search(services, query), request, services.settings.base_url)
        return Response(body, media_type=media_type, headers={"ETag": etag})

    return await in_turn(services, answer)


def _rss(page: Page, request: Request, base_url: str) -> bytes:
    asked = request.query_params.multi_items()
    on_page = [(name, value) for name, value in asked if name not in {"limit", "cursor"}]
    words = request.query_params.get("q", "")
    rss = ET.Element("rss", {"version": "2.0"})
    channel = ET.SubElement(rss, "channel")
    _add(channel, "title", f"LocalPay: {words}" if words else "LocalPay")
    _add(channel, "link", _address(f"{base_url}/", on_page))
    _add(channel, "description", "Offers and wants of local currency groups")
    self_link = {"rel": "self", "type": RSS, "href": _address(f"{base_url}/listings.rss", asked)}
    ET.SubElement(channel, f"{{{ATOM}}}link", self_link)
    for hit in page.hits:
        _item(channel, hit, f"{base_url}/l/{hit.id}")
    ET.register_namespace("atom", ATOM)
    ET.register_namespace("georss", GEORSS)
    written: bytes = ET.tostring(rss, encoding="utf-8", xml_declaration=True)
    return written


def _item(channel: ET.Element, hit: Hit, url: str) -> None:
    item = ET.SubElement(channel, "item")
    _add(item, "title", hit.title)
    _add(item, "link", url)
    _add(item, "guid", url, isPermaLink="true")
    _add(item, "pubDate", format_datetime(hit.published, usegmt=True))
    _add(item, "description", hit.excerpt)
    for category in (hit.type, *hit.categories):
        _add(item, "category", category)
    if hit.lat is not None and hit.lon is not None:
        _add(item, f"{{{GEORSS}}}point", f"{hit.lat} {hit.lon}")


def _add(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = _NOT_XML.sub("", text)


def _address(url: str, asked: list[tuple[str, str]]) -> str:
    return f"{url}?{urlencode(asked)}" if asked else url


def _geojson(page: Page, _request: Request, _base_url: str) -> bytes:
    collection = {
        "type": "FeatureCollection",
        "features": [_feature(hit) for hit in page.hits],
        "total": page.total,
        "total_is_exact": page.total_is_exact,
        "cursor": page.cursor,
        "place": page.place,
        "words": page.words,
        "loosened": page.loosened,
    }
    return orjson.dumps(collection, option=orjson.OPT_UTC_Z)


def _feature(hit: Hit) -> dict[str, Any]:
    members = {name: getattr(hit, name) for name in Hit.__dataclass_fields__}
    placed = hit.lat is not None and hit.lon is not None
    return {
        "type": "Feature",
        "id": hit.id,
        "geometry": {"type": "Point", "coordinates": [hit.lon, hit.lat]} if placed else None,
        "properties": {k: v for k, v in members.items() if k not in _FEATURE_MEMBERS},
    }
