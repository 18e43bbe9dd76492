"""What a reader hands over: one offer or want as it was understood, not yet a listing."""

import hashlib
import html
import math
import re
import unicodedata
from base64 import b32encode
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

import nh3

from commons.errors import InvalidError, TooLargeError
from marketplace.payment import Payment
from marketplace.places import Precision

LONGEST_TITLE: Final = 300
LONGEST_URI_BYTES: Final = 2048
LONGEST_NAME: Final = 200
MOST_BODY_BYTES: Final = 64 * 1024
MOST_RAW_BYTES: Final = 1024 * 1024
MOST_VALUES: Final = 50
DEEPEST_TAGS: Final = 100
TAGS: Final = {"p", "br", "a", "ul", "ol", "li", "b", "i", "em", "strong", "code"}
_ID_LETTERS: Final = 13
_TAG: Final = re.compile(r"<(/?)([a-z][a-z0-9]*)")
# Tags without content, and those that close themselves where the next of their kind begins.
_NEVER_NESTED: Final = {"area", "br", "col", "dd", "dt", "hr", "img", "input", "li", "p", "wbr"}
_BREAKING: Final = re.compile(r"</?(?:p|br|ul|ol|li)\b")
# They turn the direction of what stands beside a title in the same line, and hide what it says.
_TURNING: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Letters and symbols by their category, and yet nothing is seen of them.
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_SEEN: Final = frozenset("LNPS")


class ListingType(StrEnum):
    """Whether something is offered or wanted."""

    OFFER = "offer"
    WANT = "want"


@dataclass(frozen=True)
class Draft:
    """One offer or want as its origin tells it; `lat` and `lon` are exact and never stored.

    `updated` is the origin's time of this version, None where it tells none.
    """

    uri: str
    type: ListingType
    title: str
    author_uri: str
    same_as: tuple[str, ...] = ()
    body: str = ""
    language: str | None = None
    categories: tuple[str, ...] = ()
    image: str | None = None
    url: str | None = None
    group_uri: str | None = None
    place_name: str | None = None
    lat: float | None = None
    lon: float | None = None
    precision: Precision = Precision.CELL
    remote: bool = False
    payments: tuple[Payment, ...] = ()
    published: datetime | None = None
    updated: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class CheckedDraft(Draft):
    """A draft as `check` returned it; made nowhere else."""


def listing_id(uri: str) -> str:
    """Return the short local id of the listing from `uri`: 65 bits of its SHA-256, base32."""
    return b32encode(hashlib.sha256(uri.encode()).digest()).decode().lower()[:_ID_LETTERS]


def check(draft: Draft) -> CheckedDraft:
    """Return the draft as it may be kept: texts normalised, the body sanitised.

    A hostile body takes half a second, so call it before a transaction begins; what was checked
    is not checked again. Raises InvalidError naming the field and the rule; TooLargeError for a
    body over 1 MiB.
    """
    if isinstance(draft, CheckedDraft):
        return draft
    for field, uri in _uris(draft):
        _check_uri(field, uri)
    title = _plain("title", draft.title, LONGEST_TITLE)
    if not shows(title):
        raise InvalidError("title", "must not be empty")
    for index, payment in enumerate(draft.payments):
        payment.check(f"payments[{index}]")
    if max(len(draft.categories), len(draft.payments), len(draft.same_as)) > MOST_VALUES:
        raise InvalidError("categories", f"at most {MOST_VALUES} values of a kind are read")
    _check_place(draft)
    _check_moments(draft)
    kept = replace(
        draft,
        title=title,
        body=_sanitised(draft.body),
        language=_language(draft.language),
        categories=tuple(
            dict.fromkeys(
                name
                for category in draft.categories
                if (name := _plain("categories", category, LONGEST_NAME))
            )
        ),
        place_name=_plain("place_name", draft.place_name or "", LONGEST_NAME) or None,
    )
    return CheckedDraft(**vars(kept))


def shows(text: str) -> bool:
    """Tell whether anything is seen of a text: spaces, joiners and marks alone show nothing.

    Characters that this Python does not know yet, such as new emoji, count as seen.
    """
    return any(
        sign not in _BLANK
        and (unicodedata.category(sign)[0] in _SEEN or unicodedata.category(sign) in {"Cn", "Co"})
        for sign in text
    )


def plain_text(body: str) -> str:
    """Return the words of a sanitised body, without its tags."""
    spaced = _BREAKING.sub(r" \g<0>", body)  # two paragraphs are not one word
    return " ".join(html.unescape(nh3.clean(spaced, tags=set())).split())


def _uris(draft: Draft) -> list[tuple[str, str]]:
    named = [
        ("uri", draft.uri),
        ("author_uri", draft.author_uri),
        ("image", draft.image),
        ("url", draft.url),
        ("group_uri", draft.group_uri),
        *(("same_as", uri) for uri in draft.same_as),
    ]
    return [(field, uri) for field, uri in named if uri is not None]


def _check_uri(field: str, uri: str) -> None:
    _check_characters(field, uri)
    if len(uri.encode()) > LONGEST_URI_BYTES:
        raise InvalidError(field, f"must have at most {LONGEST_URI_BYTES} bytes")
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError as error:
        raise InvalidError(field, "must be an http or https address") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise InvalidError(field, "must be an http or https address")


def _check_place(draft: Draft) -> None:
    if (draft.lat is None) != (draft.lon is None):
        raise InvalidError("place", "must have both lat and lon, or neither")
    for field, value, most in (("lat", draft.lat, 90), ("lon", draft.lon, 180)):
        if value is not None and not (math.isfinite(value) and abs(value) <= most):
            raise InvalidError(field, f"must be between -{most} and {most}")


def _check_moments(draft: Draft) -> None:
    for field in ("published", "updated", "expires_at"):
        moment: datetime | None = getattr(draft, field)
        if moment is not None and moment.tzinfo is None:
            raise InvalidError(field, "must have a time zone")


def _check_characters(field: str, text: str) -> None:
    if "\x00" in text:
        raise InvalidError(field, "must not hold NUL")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidError(field, "must not hold lone surrogates") from error


def _plain(field: str, text: str, longest: int) -> str:
    _check_characters(field, text)
    text = " ".join(unicodedata.normalize("NFC", _TURNING.sub("", text)).split())
    if len(text) > longest:
        raise InvalidError(field, f"must have at most {longest} characters")
    return text


def _language(tag: str | None) -> str | None:
    """Return the primary language of a BCP 47 tag; None where it is none."""
    primary = (tag or "").replace("_", "-").split("-")[0].lower()
    return primary if primary.isascii() and primary.isalpha() and len(primary) in {2, 3} else None


def _sanitised(body: str) -> str:
    """Return the allowed subset of HTML in `body`, of which 64 KiB are read.

    Cut, and refused where tags nest too deep, before it is sanitised, since the sanitiser takes
    quadratic time on nested tags.
    """
    _check_characters("body", body)
    if len(body.encode()) > MOST_RAW_BYTES:
        msg = "body: must have at most 1 MiB"
        raise TooLargeError(msg, field="body", rule="must have at most 1 MiB")
    cut = body.encode()[:MOST_BODY_BYTES].decode(errors="ignore")
    _check_depth(cut)
    return nh3.clean(
        unicodedata.normalize("NFC", cut),
        tags=TAGS,
        attributes={"a": {"href"}},
        url_schemes={"http", "https", "mailto"},
    )


def _check_depth(body: str) -> None:
    """Refuse tags inside tags inside tags, whose reading takes quadratic time.

    A closing tag counts only if its own kind is open, so that strangers in between hide nothing.
    """
    opened: Counter[str] = Counter()
    for closing, name in _TAG.findall(body.lower()):
        if name in _NEVER_NESTED:
            continue
        if not closing:
            opened[name] += 1
        elif opened[name]:
            opened[name] -= 1
        if opened.total() > DEEPEST_TAGS:
            raise InvalidError("body", f"may nest tags {DEEPEST_TAGS} deep at most")
