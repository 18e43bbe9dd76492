"""Whether a listing may be indexed, decided in one place and from signals alone; pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PUBLIC: Final = frozenset({"https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"})


class ConsentBasis(StrEnum):
    """Whose word a listing is indexed on."""

    OBJECT_SEARCHABLE = "object-searchable-by"
    ACTOR_SEARCHABLE = "actor-searchable-by"
    ACTOR_INDEXABLE = "actor-indexable"
    HUB = "hub"


@dataclass(frozen=True)
class Signals:
    """What a listing, its author and its hub say about being indexed.

    None means that nothing is said. `to` is None only for sources without addressing, such as a
    page of an interface; an ActivityPub object without `to` has an empty one.
    """

    object_searchable_by: tuple[str, ...] | None = None
    actor_searchable_by: tuple[str, ...] | None = None
    actor_indexable: bool | None = None
    to: tuple[str, ...] | None = None
    noindex: bool = False
    suspended: bool = False
    blocked: bool = False
    hub_consented: bool = False


@dataclass(frozen=True)
class Consent:
    """The decision: `basis` where it is yes, and in any case the reason as a sentence."""

    allowed: bool
    basis: ConsentBasis | None
    reason: str


def decide(signals: Signals) -> Consent:
    """Decide by FEP-268d (searchableBy), FEP-5feb (indexable) and addressing.

    Any no wins; the first yes, in the order of the standards above, is the basis. Where the
    person says nothing, the hub's own consent for its members' public listings counts.
    """
    refusal = _refusal(signals)
    if refusal is not None:
        return Consent(allowed=False, basis=None, reason=refusal)
    return _basis(signals)


def _refusal(signals: Signals) -> str | None:
    searchable_by = signals.object_searchable_by
    if searchable_by is None:
        searchable_by = signals.actor_searchable_by
    noes = (
        (_leaves_out_public(searchable_by), "searchableBy does not hold the public"),
        (signals.actor_indexable is False, "the author's indexable is false"),
        (_leaves_out_public(signals.to), "it is not addressed to the public"),
        (signals.noindex, "its page or its author asks not to be indexed"),
        (signals.suspended, "its author is suspended"),
        (signals.blocked, "its author blocks this service"),
    )
    return next((reason for holds, reason in noes if holds), None)


def _basis(signals: Signals) -> Consent:
    if signals.object_searchable_by is not None:
        return _yes(ConsentBasis.OBJECT_SEARCHABLE, "the listing's searchableBy holds the public")
    if signals.actor_searchable_by is not None:
        return _yes(ConsentBasis.ACTOR_SEARCHABLE, "the author's searchableBy holds the public")
    if signals.actor_indexable:
        return _yes(ConsentBasis.ACTOR_INDEXABLE, "the author's indexable is true")
    if signals.hub_consented:
        return _yes(ConsentBasis.HUB, "the hub consents for its members' public listings")
    return Consent(allowed=False, basis=None, reason="nobody consented")


def _leaves_out_public(addressed: tuple[str, ...] | None) -> bool:
    return addressed is not None and not PUBLIC & set(addressed)


def _yes(basis: ConsentBasis, reason: str) -> Consent:
    return Consent(allowed=True, basis=basis, reason=reason)
