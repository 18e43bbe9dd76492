"""What a reader hands over: a draft, and what its document says about being indexed; pure."""

from dataclasses import dataclass, field
from typing import Final

from crawler.terms import PUBLIC, Document, get, ids, texts
from marketplace.drafts import Draft

_PUBLIC: Final = frozenset({PUBLIC, "as:Public", "Public"})


@dataclass(frozen=True)
class Found:
    """An offer or want, with what its document says about being indexed.

    `searchable_by` is None where nothing is said. `to` is empty where nobody is addressed, and
    None for a source without addressing; `asks_author` is False for a source without actors, for
    which the hub's consent alone counts.
    """

    draft: Draft
    to: tuple[str, ...] | None = ()
    searchable_by: tuple[str, ...] | None = None
    noindex: bool = False
    asks_author: bool = True


@dataclass(frozen=True)
class Came:
    """How a document came: in which activity, attached to what, by which group.

    `is_alone` where what it is attached to carries nothing else, and is the same thing.
    """

    activity: Document = field(default_factory=dict)
    holder: Document = field(default_factory=dict)
    is_alone: bool = False
    group: str | None = None


def searchable_by(document: Document) -> tuple[str, ...] | None:
    """Return whom an object or actor lets search for it (FEP-268d); None where it is silent."""
    if get(document, "searchableBy") is None:
        return None
    return ids(document, "searchableBy")


def asks_noindex(document: Document) -> bool:
    """Tell whether `xRobotsTag` asks not to be indexed."""
    tags = ",".join(texts(document, "xRobotsTag")).lower()
    return "noindex" in tags or "none" in (tag.strip() for tag in tags.split(","))


def found(draft: Draft, document: Document, came: Came) -> Found:
    """Return a draft with what its document says, and what that is attached to.

    Of two that speak, the one that leaves out the public is heard, since any no wins.
    """
    said = [one for one in (document, came.holder) if one]
    named = [names for one in said if (names := searchable_by(one)) is not None]
    addressed = [names for one in said if (names := ids(one, "to"))]
    return Found(
        draft=draft,
        to=min(addressed, key=_holds_public) if addressed else ids(came.activity, "to"),
        searchable_by=min(named, key=_holds_public) if named else None,
        noindex=any(asks_noindex(one) for one in said),
    )


def _holds_public(names: tuple[str, ...]) -> bool:
    return bool(_PUBLIC & set(names))
