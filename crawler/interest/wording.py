"""The activities by which our actor passes on an interest and its answer, in its own name; pure."""

from html import escape
from typing import Any, Final
from urllib.parse import urljoin
from uuid import UUID

from commons.settings import Settings
from crawler.actor import ACTIVITYSTREAMS, actor_uri
from crawler.terms import Document

_VALUEFLOWS: Final = {
    "om2": "http://www.ontology-of-units-of-measure.org/resource/om-2/",
    "vf": "https://w3id.org/valueflows/ont/vf#",
    **{
        term: f"vf:{term}"
        for term in (
            "Agreement",
            "Commitment",
            "satisfies",
            "stipulates",
            "stipulatesReciprocal",
            "resourceQuantity",
        )
    },
    "hasUnit": "om2:hasUnit",
    "hasNumericalValue": "om2:hasNumericalValue",
}


def interest_uri(settings: Settings, interest_id: UUID) -> str:
    """Return the address at which the hub that told of an interest sees how it stands."""
    return f"{settings.base_url}/interests/{interest_id}"


def answered_id(our_actor: str, uri: str) -> UUID | None:
    """Return which interest an address of an activity of ours belongs to; None for any other."""
    before = urljoin(our_actor, "/interests/")
    if not uri.startswith(before):
        return None
    try:
        return UUID(uri.removeprefix(before).partition("/")[0])
    except ValueError:
        return None


def to_author(  # noqa: PLR0913 (who, to whom, about what, and what is said)
    settings: Settings,
    interest_id: UUID,
    *,
    member_uri: str,
    author_uri: str,
    author_name: str,
    listing_uri: str,
    title: str,
    said: dict[str, Any],
) -> Document:
    """Return what the author gets: an Offer of the agreement, or a Note that holds the message.

    `author_name` is what the author is called by, as `@joan@hub.example`.
    `origin` is the member for whom our actor speaks, which also the words say.
    """
    uri = interest_uri(settings, interest_id)
    about = {
        "attributedTo" if said["agreement"] is None else "actor": actor_uri(settings),
        "to": [author_uri],
        "inReplyTo": listing_uri,
        "content": _letter(settings, member_uri, listing_uri, title, said),
        "tag": [{"type": "Mention", "href": author_uri, "name": author_name}],
    }
    if said["agreement"] is not None:
        return {
            "@context": [ACTIVITYSTREAMS, _VALUEFLOWS],
            "id": f"{uri}/offer",
            "type": "Offer",
            "origin": member_uri,
            "object": said["agreement"],
            **about,
        }
    return _note(settings, uri, author_uri, about)


def to_member(  # noqa: PLR0913 (who, to whom, and what is answered)
    settings: Settings,
    interest_id: UUID,
    *,
    member_uri: str,
    member_name: str,
    offer_uri: str,
    answer: dict[str, Any],
) -> Document:
    """Return what the member gets: the author's Accept or Reject, or a Note that it failed."""
    uri = interest_uri(settings, interest_id)
    words = f"<p>{escape(answer['content'])}</p>"
    if answer["type"] == "Note":
        about = {
            "attributedTo": actor_uri(settings),
            "to": [member_uri],
            "inReplyTo": offer_uri,
            "content": words,
            "tag": [{"type": "Mention", "href": member_uri, "name": member_name}],
        }
        return _note(settings, f"{uri}/failure", member_uri, about)
    activity: Document = {
        "@context": [ACTIVITYSTREAMS, _VALUEFLOWS],
        "id": f"{uri}/answer",
        "type": answer["type"],
        "actor": actor_uri(settings),
        "origin": answer["author"],
        "object": offer_uri,
        "to": [member_uri],
        "content": words,
    }
    return activity if answer["result"] is None else {**activity, "result": answer["result"]}


def _note(settings: Settings, uri: str, to: str, about: Document) -> Document:
    return {
        "@context": ACTIVITYSTREAMS,
        "id": f"{uri}/activity",
        "type": "Create",
        "actor": actor_uri(settings),
        "to": [to],
        "object": {"id": f"{uri}/note", "type": "Note", **about},
    }


def _letter(
    settings: Settings, member_uri: str, listing_uri: str, title: str, said: dict[str, Any]
) -> str:
    """Return the words for the author, as HTML in which what others wrote stands escaped."""
    member, listing = escape(member_uri), escape(listing_uri)
    lines = "<br>".join(escape(line) for line in said["message"].splitlines())
    is_offer = said["agreement"] is not None
    answer = "Accept or reject this offer, or write" if is_offer else "Write"
    return (
        f'<p><a href="{member}">{member}</a> is interested in your listing '
        f'<a href="{listing}">{escape(title)}</a>, found through '
        f'<a href="{escape(settings.base_url)}">{escape(settings.base_url)}</a>.</p>'
        + (f"<p>{lines}</p>" if lines else "")
        + f"<p>{answer} to them yourself.</p>"
    )
