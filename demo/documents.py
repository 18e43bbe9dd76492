"""The ActivityPub documents of a demo hub, as JSON objects; nothing here reads or writes.

Proposals are written by FEP-0837. Readers of that draft go by compact terms, so every document
spells its terms the way the draft's own examples do, and nests rather than refers.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from commons.signatures import encode_multikey, public_pem
from demo.listings import GroupProfile, Listing, Pay, Place

Json = dict[str, Any]

PUBLIC: Final = "https://www.w3.org/ns/activitystreams#Public"
ACTIVITY_TYPE: Final = "application/activity+json"
PAGE_SIZE: Final = 10

ACTOR_CONTEXT: Final = [
    "https://www.w3.org/ns/activitystreams",
    "https://w3id.org/security/v1",
    "https://www.w3.org/ns/cid/v1",
    {"indexable": "http://joinmastodon.org/ns#indexable"},
]
PROPOSAL_CONTEXT: Final = [
    "https://www.w3.org/ns/activitystreams",
    {
        "om2": "http://www.ontology-of-units-of-measure.org/resource/om-2/",
        "vf": "https://w3id.org/valueflows/ont/vf#",
        "Proposal": "vf:Proposal",
        "Intent": "vf:Intent",
        "action": "vf:action",
        "purpose": "vf:purpose",
        "unitBased": "vf:unitBased",
        "publishes": "vf:publishes",
        "reciprocal": "vf:reciprocal",
        "inScopeOf": "vf:inScopeOf",
        "resourceConformsTo": "vf:resourceConformsTo",
        "resourceQuantity": "vf:resourceQuantity",
        "hasUnit": "om2:hasUnit",
        "hasNumericalValue": "om2:hasNumericalValue",
        "Hashtag": "as:Hashtag",
    },
]

# CAIP-19 names an asset on a chain; these are the chains' own coins.
COINS: Final = {
    "btc": "caip:19:bip122:000000000019d6689c085ae165831e93/slip44:0",
    "eth": "caip:19:eip155:1/slip44:60",
    "xmr": "caip:19:monero:418015bb9ae982a1975da7d79277c270/slip44:128",
}
SERVICES: Final = frozenset({"deliverService", "work"})


@dataclass(frozen=True)
class Addresses:
    """Every address of a hub that lives at `base`."""

    base: str

    @property
    def actor(self) -> str:
        """Id of the group actor."""
        return f"{self.base}/actor"

    @property
    def inbox(self) -> str:
        """Inbox of the group and of all its members."""
        return f"{self.base}/inbox"

    @property
    def outbox(self) -> str:
        """Everything that members publish, newest first."""
        return f"{self.base}/outbox"

    @property
    def followers(self) -> str:
        """Collection of those that pushes go to."""
        return f"{self.base}/followers"

    @property
    def currency(self) -> str:
        """URI by which listings name the group's currency."""
        return f"{self.base}/currency"

    @property
    def rsa_key(self) -> str:
        """Id of the key that signs what goes to followers."""
        return f"{self.actor}#main-key"

    @property
    def ed25519_key(self) -> str:
        """Id of the key that signs registration and payments."""
        return f"{self.actor}#ed25519-key"

    def member(self, name: str) -> str:
        """Id of a member's actor."""
        return f"{self.base}/members/{name}"

    def proposal(self, number: int) -> str:
        """Id of a proposal."""
        return f"{self.base}/proposals/{number}"


@dataclass(frozen=True)
class Publication:
    """A listing under its number at the hub, with its times; `deleted` once withdrawn."""

    number: int
    listing: Listing
    published: datetime
    updated: datetime | None = None
    deleted: datetime | None = None


def timestamp(moment: datetime) -> str:
    """Return a time as ActivityStreams writes it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def group_actor(
    at: Addresses, group: GroupProfile, rsa: RSAPublicKey, ed25519: Ed25519PublicKey
) -> Json:
    """Return the group actor: whom LocalPay follows and whose keys sign.

    `publicKey` is what most of the fediverse reads, `assertionMethod` is FEP-521a's way.
    `indexable` says that the group wants its public listings to be found.
    """
    return {
        "@context": ACTOR_CONTEXT,
        "id": at.actor,
        "type": "Group",
        "preferredUsername": group.id,
        "name": group.name,
        "summary": html.escape(group.summary, quote=False),
        "location": place(group.place),
        "inbox": at.inbox,
        "outbox": at.outbox,
        "followers": at.followers,
        "endpoints": {"sharedInbox": at.inbox},
        "indexable": True,
        "publicKey": {"id": at.rsa_key, "owner": at.actor, "publicKeyPem": public_pem(rsa)},
        "assertionMethod": [
            {
                "id": at.ed25519_key,
                "type": "Multikey",
                "controller": at.actor,
                "publicKeyMultibase": encode_multikey(ed25519),
            }
        ],
    }


def member_actor(at: Addresses, name: str, *, unlisted: bool) -> Json:
    """Return a member's actor; `indexable` is there only where the person said no."""
    actor: Json = {
        "@context": ACTOR_CONTEXT,
        "id": at.member(name),
        "type": "Person",
        "preferredUsername": name,
        "name": name.capitalize(),
        "inbox": at.inbox,
        "outbox": f"{at.member(name)}/outbox",
        "endpoints": {"sharedInbox": at.inbox},
    }
    return actor | {"indexable": False} if unlisted else actor


def place(where: Place) -> Json:
    """Return a Place with its name and its coordinates."""
    return {
        "type": "Place",
        "name": where.name,
        "latitude": where.latitude,
        "longitude": where.longitude,
    }


def proposal(at: Addresses, publication: Publication) -> Json:
    """Return a listing as a FEP-0837 Proposal."""
    listing, own_id = publication.listing, at.proposal(publication.number)
    text = f"<p>{html.escape(listing.text, quote=False)}</p>"
    unit = "hour" if listing.action in SERVICES else "one"
    document: Json = {
        "@context": PROPOSAL_CONTEXT,
        "id": own_id,
        "type": "Proposal",
        "purpose": listing.purpose,
        "attributedTo": at.member(listing.member),
        "name": listing.title,
        "content": text,
        "contentMap": {listing.language: text},
        "published": timestamp(publication.published),
        "location": place(listing.place),
        "tag": [{"type": "Hashtag", "name": f"#{tag}"} for tag in listing.tags],
        "publishes": {
            "id": f"{own_id}#primary",
            "type": "Intent",
            "action": listing.action,
            "resourceQuantity": quantity(unit, "1"),
        },
        "unitBased": unit == "hour",
        "to": [PUBLIC],
        "cc": [at.followers],
    }
    if publication.updated is not None:
        document["updated"] = timestamp(publication.updated)
    if listing.pay.means == "group":
        document["inScopeOf"] = at.actor
    elif listing.pay.means != "gift":
        document["reciprocal"] = {
            "id": f"{own_id}#reciprocal",
            "type": "Intent",
            **reciprocal(at, listing.pay),
        }
    return document


def reciprocal(at: Addresses, pay: Pay) -> Json:
    """Return what is given in return: a currency's amount, hours, or a thing (barter)."""
    if pay.means == "barter":
        # A thing in words where a currency's URI would stand: FEP-0837 has no other term for it.
        wanted = {"resourceConformsTo": pay.what, "resourceQuantity": quantity("one", "1")}
        return {"action": "transfer", **wanted}
    if pay.means == "time":
        return {"action": "work", "resourceQuantity": quantity("hour", pay.what)}
    currency = currency_uri(at, pay.means)
    if currency is None:
        return {"action": "transfer", "resourceQuantity": quantity(pay.means, pay.what)}
    return {
        "action": "transfer",
        "resourceConformsTo": currency,
        "resourceQuantity": quantity("one", pay.what),
    }


def currency_uri(at: Addresses, means: str) -> str | None:
    """Return the URI of the currency that `means` stands for; None for an ISO 4217 code."""
    if means == "local":
        return at.currency
    if means.startswith("crypto:"):
        return COINS[means.removeprefix("crypto:")]
    return f"https://www.wikidata.org/wiki/{means}" if means.startswith("Q") else None


def quantity(unit: str, value: str) -> Json:
    """Return an amount as FEP-0837 writes it, the number as a string."""
    return {"hasUnit": unit, "hasNumericalValue": value}


def create(at: Addresses, publication: Publication) -> Json:
    """Return the member's Create of a listing; the activity can be fetched at its id.

    It names no `audience`: a listing without `reciprocal` that is addressed to a group costs
    what the group usually pays, and then nothing could be a gift.
    """
    return {
        "@context": PROPOSAL_CONTEXT,
        "id": f"{at.proposal(publication.number)}/create",
        "type": "Create",
        "actor": at.member(publication.listing.member),
        "published": timestamp(publication.published),
        "to": [PUBLIC],
        "cc": [at.followers],
        "object": proposal(at, publication),
    }


def update(at: Addresses, publication: Publication) -> Json:
    """Return the member's Update that carries the listing as it is now."""
    moment = timestamp(publication.updated or publication.published)
    return create(at, publication) | {
        "id": f"{at.proposal(publication.number)}#update-{moment}",
        "type": "Update",
        "published": moment,
    }


def delete(at: Addresses, publication: Publication) -> Json:
    """Return the member's Delete; its object is the Tombstone that now stands at the id."""
    return {
        "@context": PROPOSAL_CONTEXT,
        "id": f"{at.proposal(publication.number)}#delete",
        "type": "Delete",
        "actor": at.member(publication.listing.member),
        "to": [PUBLIC],
        "cc": [at.followers],
        "object": tombstone(at, publication),
    }


def tombstone(at: Addresses, publication: Publication) -> Json:
    """Return what is left of a withdrawn listing."""
    return {
        "@context": PROPOSAL_CONTEXT,
        "id": at.proposal(publication.number),
        "type": "Tombstone",
        "formerType": "Proposal",
        "deleted": timestamp(publication.deleted or publication.published),
    }


def announce(at: Addresses, activity: Json) -> Json:
    """Return the group's Announce of a member's activity (FEP-1b12)."""
    return {
        "@context": PROPOSAL_CONTEXT,
        "id": f"{activity['id']}#announce",
        "type": "Announce",
        "actor": at.actor,
        "to": [PUBLIC],
        "cc": [at.followers],
        "object": activity,
    }


def accept(at: Addresses, follow: Json) -> Json:
    """Return the group's yes to a Follow, with the Follow inside so that it can be matched."""
    return {
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": f"{at.actor}#accept-{follow['id'].rsplit('/', 1)[-1]}",
        "type": "Accept",
        "actor": at.actor,
        "to": [follow["actor"]],
        "object": follow,
    }


def collection(collection_id: str, total: int, members: Sequence[object] | None = None) -> Json:
    """Return a collection: with its members inside, or where they are many with a first page."""
    inside = (
        {"first": f"{collection_id}?page=1"} if members is None else {"orderedItems": list(members)}
    )
    return {
        "@context": PROPOSAL_CONTEXT,
        "id": collection_id,
        "type": "OrderedCollection",
        "totalItems": total,
        **inside,
    }


def page(collection_id: str, number: int, items: Sequence[Json], *, is_last: bool) -> Json:
    """Return one page of a collection, from 1, with the way to the next."""
    document: Json = {
        "@context": PROPOSAL_CONTEXT,
        "id": f"{collection_id}?page={number}",
        "type": "OrderedCollectionPage",
        "partOf": collection_id,
        "orderedItems": list(items),
    }
    return document if is_last else document | {"next": f"{collection_id}?page={number + 1}"}
