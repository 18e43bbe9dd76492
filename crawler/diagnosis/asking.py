"""The steps as they are seen by asking the hub now: a few fetches, within a bounded time."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin

from commons.errors import FetchError, InvalidError, LocalPayError, MalformedError
from commons.fetch import DESCRIPTOR, Door
from crawler.diagnosis.steps import Step, failed, not_needed, ok, troubled
from crawler.origins import Actor, fetch_object, read_actor
from crawler.peers import FOLLOWS, PeerKind
from crawler.plain_words import StepName, allowing, explain
from crawler.sources import Source
from crawler.sources.reading import SOURCES
from crawler.terms import Document, get, objects, same_origin, types, values

FETCHES_MOST: Final = 6
_FOR_THE_ACTOR: Final = 2  # with a redirect or a second knock; the others are for the rest
SECONDS_MOST: Final = 20.0

_COLLECTIONS: Final = frozenset(
    {"Collection", "OrderedCollection", "CollectionPage", "OrderedCollectionPage"}
)
_NODEINFO: Final = "http://nodeinfo.diaspora.software/ns/schema/"
_LONGEST_NAME: Final = 60
_OTHER_ID: Final = "actor: must be the id of the document that answers"


@dataclass
class _Look:
    """One look at a hub, and the steps that it has seen so far."""

    door: Door
    uri: str
    steps: list[Step] = field(default_factory=list)


async def look(door: Door, kind: PeerKind, uri: str, source_uri: str) -> list[Step]:
    """Look at a hub now and return the steps seen: at most 6 requests and 20 seconds.

    Nothing is stored. What robots.txt refuses is not asked for, and a host that is left alone
    for a while stays alone.
    """
    fetches = FETCHES_MOST - _FOR_THE_ACTOR
    seen = _Look(door.errand(uri, crawling=True, anew=True, fetches=fetches), uri)
    source = SOURCES.get(kind)
    try:
        async with asyncio.timeout(SECONDS_MOST):
            if kind in FOLLOWS:
                await _ask_actor(seen, kind)
            elif source is not None:
                await _ask_source(seen, source, source_uri)
    except TimeoutError:
        said = f"A look of {SECONDS_MOST:.0f} seconds was not enough."
        mend = "See why the hub is slow, or look again in a minute."
        seen.steps.append(failed(StepName.CONNECTION, said, mend))
    return seen.steps


async def _ask_actor(look: _Look, kind: PeerKind) -> None:
    # An actor may be fetched whatever robots.txt says: that is no crawling.
    actor = await _fetch(
        look, look.door.errand(look.uri, fetches=_FOR_THE_ACTOR), look.uri, StepName.ACTOR
    )
    if actor is None:
        return
    try:
        read = read_actor(actor)
    except (InvalidError, MalformedError) as error:
        look.steps.append(troubled(StepName.ACTOR, explain(error.detail), error=error.detail))
        return
    if read.id != look.uri:
        look.steps.append(troubled(StepName.ACTOR, explain(_OTHER_ID)))
        return
    look.steps += [_seen_actor(read), _seen_keys(actor, read), *_seen_consent(read)]
    if kind is not PeerKind.RELAY:
        await _ask_outbox(look, read)
    with suppress(LocalPayError):  # which software it is, is no condition
        look.steps.append(await _software(look))


async def _fetch(look: _Look, door: Door, uri: str, name: StepName) -> Document | None:
    """Fetch a document; None, and a failed step, where it cannot be had."""
    try:
        document = await fetch_object(door, uri)
    except (FetchError, InvalidError) as error:
        trouble = allowing(explain(error.detail), uri)
        step = troubled(name, trouble, error=error.detail)
        if trouble.step is None:
            look.steps.append(ok(StepName.CONNECTION, "It answers."))
        look.steps.append(step)
        return None
    look.steps.append(ok(StepName.ADDRESS, "It is one that is asked."))
    look.steps.append(ok(StepName.CONNECTION, "It answers."))
    return document


def _seen_actor(actor: Actor) -> Step:
    if actor.suspended:
        said = "Its own server has suspended the actor."
        return failed(StepName.ACTOR, said, "Have the hub's server end the suspension.")
    kind = min(actor.types, default="actor")
    return ok(StepName.ACTOR, f"It is an actor of the type {kind}, with this very id.")


def _seen_keys(document: Document, actor: Actor) -> Step:
    named = sum(len(values(document, term)) for term in ("publicKey", "assertionMethod"))
    if actor.keys:
        return ok(StepName.KEYS, f"{len(actor.keys)} of {named} keys that it names are taken.")
    said = "It names no key, so what it pushes cannot be checked; it is read all the same."
    if named:
        said = (
            f"None of the {named} keys that it names is taken: each must be RSA or Ed25519, stand "
            "in its actor, and name it as its owner. It is read all the same."
        )
    return not_needed(StepName.KEYS, said)


def _seen_consent(actor: Actor) -> list[Step]:
    """Return the step of consent where the actor itself says no."""
    if actor.indexable is False:
        said = "The actor says `indexable: false`."
        mend = (
            "Have whoever runs the hub's software set `indexable: true` on the group's actor; "
            "then press Look now."
        )
        return [failed(StepName.CONSENT, said, mend)]
    return []


async def _ask_outbox(look: _Look, actor: Actor) -> None:
    name = StepName.SOURCE
    if actor.outbox is None:
        beside = len(actor.collections) + len(actor.payment_links)
        if beside:
            look.steps.append(ok(name, f"It names no outbox, and {beside} other places to read."))
            return
        mend = "Name an `outbox` in the actor's document."
        look.steps.append(failed(name, "The actor names no outbox.", mend))
        return
    document = await _fetch(look, look.door, actor.outbox, name)
    if document is None:
        return
    look.steps.append(ok(StepName.ROBOTS, "It lets LocalPay read the listings."))
    if not types(document) & _COLLECTIONS:
        look.steps.append(troubled(name, explain("an outbox is a collection")))
        return
    first = get(document, "first")
    parts = [document, *([first] if isinstance(first, dict) else [])]
    items = sum(len(values(part, term)) for part in parts for term in ("orderedItems", "items"))
    said = f"Its outbox answers, with {items} items at once."
    if first is not None and not isinstance(first, dict):
        said = "Its outbox answers, and names its first page."
    look.steps.append(ok(name, said))


async def _ask_source(look: _Look, source: Source, source_uri: str) -> None:
    """Read the first page of a source of another kind."""
    look.steps.append(not_needed(StepName.ACTOR, "This kind of source has none."))
    try:
        batch = await source.read(look.door, source_uri, None)
    except (FetchError, InvalidError, MalformedError) as error:
        trouble = allowing(explain(error.detail), source_uri)
        look.steps.append(troubled(StepName.SOURCE, trouble, error=error.detail))
        return
    look.steps += [
        ok(StepName.ADDRESS, "It is one that is asked."),
        ok(StepName.CONNECTION, "It answers."),
        ok(StepName.ROBOTS, "It lets LocalPay read the listings."),
        ok(
            StepName.SOURCE,
            f"Its first page holds {len(batch.found)} offers and wants that can be read, and "
            f"{len(batch.refused)} that cannot.",
        ),
    ]


async def _software(look: _Look) -> Step:
    """Ask by NodeInfo which software the hub runs."""
    start = urljoin(look.uri, "/.well-known/nodeinfo")
    links = await look.door.get_json(start, accept=DESCRIPTOR)
    documents = [link for link in objects(links.body, "links") if _is_nodeinfo(link)]
    href = max(documents, key=lambda link: str(link["rel"]), default={}).get("href")
    if not isinstance(href, str) or not same_origin(href, look.uri):
        return not_needed(StepName.SOFTWARE, "It does not say.")
    told = await look.door.get_json(href, accept=DESCRIPTOR)
    software: Any = told.body.get("software")
    name = software.get("name") if isinstance(software, dict) else None
    version = software.get("version") if isinstance(software, dict) else None
    words = " ".join(str(one)[:_LONGEST_NAME] for one in (name, version) if one)
    return ok(StepName.SOFTWARE, f"It runs {words}." if words else "It does not say.")


def _is_nodeinfo(link: Document) -> bool:
    rel = link.get("rel")
    return isinstance(rel, str) and rel.startswith(_NODEINFO)
