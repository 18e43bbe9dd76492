"""The draft of an offer or want, from its document, its intents and what it is attached to; pure.

What the document itself does not say is looked for in its intents, then in the Note or Article
that it is attached to.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urldefrag

from crawler.terms import (
    Document,
    first_id,
    get,
    id_of,
    ids,
    literal,
    moment,
    number,
    objects,
    origin,
    same_origin,
    text,
    texts,
    types,
    values,
)
from crawler.vocabulary import wording
from crawler.vocabulary.found import Came
from marketplace.drafts import Draft, ListingType
from marketplace.payment import Payment

_ENDS: Final = ("hasEnd", "due", "endTime", "expires_at", "expiresAt", "expires", "validThrough")
_GROUPS: Final = ("inScopeOf", "audience")
_PLACES: Final = ("location", "eligibleLocation", "atLocation")
_PLACED: Final = frozenset({"name", "nameMap", "address", "latitude", "longitude"})
_WIKIDATA: Final = ("www.wikidata.org", "wikidata.org")


def uri_of(document: Document, came: Came) -> str:
    """Return the id of an offer or want; one without takes that of what it is attached to."""
    return id_of(document) or id_of(came.holder)


def group_of(document: Document, came: Came) -> str | None:
    """Return the group that a document names, or by which it came."""
    named = (first_id(one, *_GROUPS) for one in (document, came.holder, came.activity))
    return next(filter(None, named), came.group)


def author_of(document: Document, came: Came) -> str:
    """Return who offers or wants; empty where nobody is named."""
    terms = ("attributedTo", "actor")
    named = (first_id(one, *terms) for one in (document, came.holder))
    return next(filter(None, named), "") or first_id(came.activity, "actor")


def draft_of(
    document: Document,
    came: Came,
    kind: ListingType,
    payments: tuple[Payment, ...],
    intents: Sequence[Document],
) -> Draft:
    """Return the draft of an offer or want; InvalidError where a time or a place cannot be read.

    `intents` are what is offered or wanted, or only the document itself.
    """
    told = (document, *intents, came.holder)
    framed = (document, came.holder)
    place = next(filter(None, map(_place, told)), {})
    return Draft(
        uri=uri_of(document, came),
        same_as=_same_as(document, came, intents),
        type=kind,
        title=wording.title(told),
        author_uri=author_of(document, came),
        body=wording.body(told),
        language=next(filter(None, map(wording.language, framed)), None),
        categories=_categories(framed, intents),
        image=next(filter(None, map(_image, told)), None),
        url=next(filter(None, map(_page, framed)), None),
        group_uri=group_of(document, came),
        place_name=_place_name(place) or None,
        lat=number(place, "latitude", "lat") if place else None,
        lon=number(place, "longitude", "lon") if place else None,
        payments=payments,
        published=next(filter(None, (moment(one, "published") for one in framed)), None),
        updated=next(filter(None, (moment(one, "updated") for one in framed)), None),
        expires_at=next(filter(None, (moment(one, *_ENDS) for one in told)), None),
    )


def _same_as(document: Document, came: Came, intents: Iterable[Document]) -> tuple[str, ...]:
    """Return the other addresses of the same thing: what it is attached to, intents of their own.

    Only of its own origin, since nobody says of another's thing that it is theirs. What is but a
    part of the document's page, such as `#primary`, is no address of its own; a Note is none of
    several things that are attached to it.
    """
    uri = uri_of(document, came)
    others = map(id_of, (came.holder, *intents) if came.is_alone else intents)
    page = urldefrag(uri).url
    own = (one for one in others if same_origin(one, uri) and urldefrag(one).url != page)
    return tuple(dict.fromkeys(own))


def _place(document: Document) -> Document:
    """Return the first place that a document tells anything of; a mere name is one with that."""
    for term in _PLACES:
        for value in values(document, term):
            named = literal(value)
            if isinstance(value, dict) and _PLACED & value.keys():
                return value
            if isinstance(named, str) and named.strip() and origin(named) is None:
                return {"name": named}
    return {}


def _place_name(place: Document) -> str:
    name = wording.in_language(place, "name", wording.language(place))
    address = next(objects(place, "address"), {})
    return name or text(place, "address") or text(address, "addressLocality", "name")


def _categories(framed: Iterable[Document], intents: Sequence[Document]) -> tuple[str, ...]:
    told: list[str] = []
    for document in framed:
        told += filter(None, map(_hashtag, objects(document, "tag")))
        told += [
            text(value, "value")
            for value in objects(document, "attachment")
            if "PropertyValue" in types(value) and text(value, "name").strip().lower() == "category"
        ]
    classes = [one for document in (*framed, *intents) for one in _classes(document)]
    told += [name for name in classes if origin(name) is None]
    conforming = [uri for one in intents for uri in ids(one, "resourceConformsTo")]
    told += [uri for uri in (*classes, *conforming) if _is_wikidata(uri)]
    return tuple(dict.fromkeys(name.strip() for name in told if name.strip()))


def _hashtag(tag: Document) -> str:
    name = text(tag, "name").strip()
    is_one = "Hashtag" in types(tag) or (not types(tag) and name.startswith("#"))
    return name.removeprefix("#") if is_one else ""


def _classes(document: Document) -> tuple[str, ...]:
    """Return what a thing is classified as: words, codes and URIs."""
    embedded = (
        text(one, "name", "label") or id_of(one)
        for one in objects(document, "resourceClassifiedAs")
        if "@value" not in one
    )
    return *texts(document, "resourceClassifiedAs"), *filter(None, embedded)


def _is_wikidata(uri: str) -> bool:
    return (origin(uri) or ("", "", None))[1] in _WIKIDATA


def _image(document: Document) -> str | None:
    attached = [one for one in objects(document, "attachment") if _is_picture(one)]
    for picture in [*values(document, "image"), *attached]:
        named = picture if isinstance(picture, dict) else {"url": picture}
        address = first_id(named, "url", "href")
        if origin(address):
            return address
    return None


def _is_picture(attached: Document) -> bool:
    return text(attached, "mediaType").startswith("image/") or "Image" in types(attached)


def _page(document: Document) -> str | None:
    """Return the address of the page for people, which a link of another media type is not."""
    for value in values(document, "url"):
        kind = text(value, "mediaType") if isinstance(value, dict) else ""
        if origin(id_of(value)) and kind.partition(";")[0].strip() in {"", "text/html"}:
            return id_of(value)
    return None


def is_given(document: Document, term: str) -> bool:
    """Tell whether anything at all stands under a term."""
    return get(document, term) not in (None, [], "")
