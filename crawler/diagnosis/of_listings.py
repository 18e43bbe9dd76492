"""What became of a hub's listings: taken, put aside, refused, in the index."""

from collections import defaultdict
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from commons.database import now
from crawler.diagnosis.from_facts import Facts
from crawler.diagnosis.steps import (
    EXAMPLES_MOST,
    Count,
    Step,
    StepState,
    failed,
    not_needed,
    ok,
    waiting,
)
from crawler.kept import PutAside
from crawler.peers import Peer, PeerKind
from crawler.plain_words import REMEDIES, StepName, explain
from crawler.refusals import refusals_of
from marketplace.listings import Listing, shown, visible

_READ_MOST: Final = 10_000
_PUBLISH: Final = (
    "Publish the members' offers and wants where the hub's listings are read: as Proposals "
    "(FEP-0837) in the outbox, or in one of the other forms that FEDERATION.md lists."
)
_PUSH: Final = "Push the group's offers and wants, each with `searchable` true or left out."
_SAID_NO: Final = "searchableBy does not hold the public"
_PUSHED_NO: Final = "their hub said `searchable: false`"
_SEARCHABLE: Final = "Who wants to be found here has the hub push it with `searchable` true."
_RENEW: Final = "Publish a later expiry date where the listings are still valid."


def listings_in_search(session: Session, peer: Peer) -> int:
    """Return how many of a hub's listings anybody may see now."""
    query = select(func.count()).where(Listing.group_id == peer.group_id, visible(now(session)))
    return session.scalar(query) or 0 if peer.group_id else 0


def steps_of(
    session: Session, facts: Facts, index_revision: int | None, *, is_mended: bool
) -> list[Step]:
    """Return the steps from the reading of listings to the index.

    `index_revision` is what the index holds, None where it does not say; `is_mended` tells that
    the place where the listings are answers, as a look saw just now.
    """
    peer = facts.peer
    mine = (Listing.group_id == peer.group_id, shown())
    held = session.scalar(select(func.count()).where(*mine)) or 0 if peer.group_id else 0
    behind = 0
    if held and index_revision is not None:
        late = select(func.count()).where(*mine, Listing.revision > index_revision)
        behind = session.scalar(late) or 0
    aside = _put_aside(session, peer, facts.source_uri)
    refused = [_left_out(peer, row.reason, row.count) for row in refusals_of(session, peer.id)]
    answers = index_revision is not None
    return [
        _listings(facts, held, aside, refused, is_mended=is_mended),
        _authors(held, refused),
        _index(held, listings_in_search(session, peer), behind, answers=answers),
    ]


def _put_aside(session: Session, peer: Peer, source_uri: str) -> list[Count]:
    """Count what was put aside by what is wrong with it, the most frequent first."""
    rows = session.execute(
        select(PutAside.reason, PutAside.uri)
        .where(PutAside.peer_id == peer.id, PutAside.uri != source_uri)
        .order_by(PutAside.at.desc())
        .limit(_READ_MOST)
    )
    uris: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        trouble = explain(row.reason)
        uris[trouble.said, trouble.mend].append(row.uri)
    counts = [
        Count(said, len(found), mend, tuple(found[:EXAMPLES_MOST]))
        for (said, mend), found in uris.items()
    ]
    return sorted(counts, key=lambda one: (-one.count, one.reason))


def _left_out(peer: Peer, reason: str, count: int) -> Count:
    """Return how many were left out for a reason, in the words of the way they came by."""
    if peer.kind is PeerKind.PUSH and reason == _SAID_NO:
        return Count(_PUSHED_NO, count, _SEARCHABLE)
    return Count(reason, count, REMEDIES.get(reason, ""))


def _none(facts: Facts, *, is_mended: bool) -> Step:
    """Return the step where nothing was read: not yet, not again since then, or nothing is there.

    What could not be had when it was read last says nothing of what is there.
    """
    name, peer = StepName.LISTINGS, facts.peer
    is_due = peer.due_at is not None and peer.due_at <= facts.at
    if peer.crawled_at is None and peer.last_looked_at is None:
        return waiting(name, "None has been read yet.")
    if is_due and (is_mended or facts.source_aside is None):
        return waiting(name, "They are being read anew.")
    if is_mended:
        return waiting(name, "They can be read now, which the next visit does.")
    if facts.source_aside is not None:
        return not_needed(name, "What cannot be had or may not be read has no listings to take.")
    mend = _PUSH if peer.kind is PeerKind.PUSH else _PUBLISH
    return failed(name, "No offer and no want was found there.", mend, at=peer.last_heard_at)


def _listings(
    facts: Facts, taken: int, aside: list[Count], refused: list[Count], *, is_mended: bool
) -> Step:
    name, at = StepName.LISTINGS, facts.peer.last_heard_at
    put_aside = sum(one.count for one in aside)
    if not taken and not aside and not refused:
        return _none(facts, is_mended=is_mended)
    seen = f"{taken} taken, {put_aside} could not be read."
    if taken or put_aside < sum(one.count for one in refused) or not aside:
        return Step(name, StepState.OK, seen, at, counts=tuple(aside))
    first = aside[0]
    said = f"{seen} {first.reason}"
    return Step(name, StepState.FAILED, said, at, first.mend, counts=tuple(aside))


def _authors(taken: int, refused: list[Count]) -> Step:
    name = StepName.AUTHORS
    if not refused:
        return not_needed(name, "No author said no.")
    first = refused[0]
    seen = f"{sum(one.count for one in refused)} left out, as their authors wish."
    state = StepState.OK if taken else StepState.FAILED
    said = seen if taken else f"All were left out: {first.reason}."
    return Step(name, state, said, None, "" if taken else first.mend, counts=tuple(refused))


def _index(held: int, visible_now: int, behind: int, *, answers: bool) -> Step:
    name = StepName.INDEX
    if held == 0:
        return not_needed(name, "There is nothing of this hub to be searched yet.")
    if visible_now == 0:
        return failed(name, f"All {held} listings have expired.", _RENEW)
    if not answers:
        return waiting(name, "The search index of this service does not answer now.")
    if behind:
        return waiting(name, f"{behind} of {held} listings are on their way into the search.")
    word = "listing is" if visible_now == 1 else "listings are"
    return ok(name, f"{visible_now} {word} in the search.")
