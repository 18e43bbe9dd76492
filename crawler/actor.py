"""Our own actor, and how it is found: its document, WebFinger and NodeInfo."""

import hashlib
from html import escape
from typing import Any, Final
from urllib.parse import urlsplit

from commons.errors import InvalidError, NotFoundError
from commons.key_formats import encode_multikey, public_pem
from commons.keys import OwnKeys
from commons.settings import Settings

USERNAME: Final = "localpay"
VERSION: Final = "0.1.0"
ACTIVITYSTREAMS: Final = "https://www.w3.org/ns/activitystreams"
NODEINFO_SCHEMA: Final = "http://nodeinfo.diaspora.software/ns/schema/2.1"

_CONTEXT: Final = [
    ACTIVITYSTREAMS,
    "https://w3id.org/security/v1",
    "https://www.w3.org/ns/cid/v1",
    {
        "toot": "http://joinmastodon.org/ns#",
        "PropertyValue": "http://schema.org/PropertyValue",
        "value": "http://schema.org/value",
        "indexable": "toot:indexable",
        "discoverable": "toot:discoverable",
        "implements": {
            "@id": "https://w3id.org/fep/844e/implements",
            "@type": "@id",
            "@container": "@list",
        },
    },
]
_IMPLEMENTS: Final = (
    ("https://www.w3.org/TR/activitypub/", "ActivityPub"),
    ("https://datatracker.ietf.org/doc/html/rfc9421", "RFC 9421: HTTP Message Signatures"),
    ("https://w3id.org/fep/0837", "FEP-0837: Federated Marketplace"),
    ("https://w3id.org/fep/1b12", "FEP-1b12: Group federation"),
    ("https://w3id.org/fep/268d", "FEP-268d: Search consent signals"),
    ("https://w3id.org/fep/5feb", "FEP-5feb: Search indexing consent"),
    ("https://w3id.org/fep/521a", "FEP-521a: Representing actor's public keys"),
    ("https://w3id.org/fep/8b32", "FEP-8b32: Object Integrity Proofs"),
    ("https://w3id.org/fep/844e", "FEP-844e: Capability discovery"),
    ("https://w3id.org/fep/d556", "FEP-d556: Server-level actor discovery"),
    ("https://w3id.org/fep/2677", "FEP-2677: Identifying the application actor"),
    ("https://w3id.org/fep/ae0c", "FEP-ae0c: Fediverse relay protocols"),
    ("https://w3id.org/fep/19b3", "FEP-19b3: Specifying properties of a service"),
)


def actor_uri(settings: Settings) -> str:
    """Return our actor's id."""
    return f"{settings.base_url}/actor"


def actor_key_id(settings: Settings) -> str:
    """Return the id of the RSA key that signs our fetches and deliveries."""
    return f"{actor_uri(settings)}#main-key"


def service_key_id(settings: Settings) -> str:
    """Return the id of the Ed25519 key that signs our answers to hubs."""
    return f"{actor_uri(settings)}#ed25519-key"


def document(settings: Settings, keys: OwnKeys) -> dict[str, Any]:
    """Return our actor's document, of `application/activity+json`; anybody may fetch it."""
    uri, base = actor_uri(settings), settings.base_url
    return {
        "@context": _CONTEXT,
        "id": uri,
        "type": "Application",
        "name": "LocalPay marketplace",
        "preferredUsername": USERNAME,
        "summary": _summary(settings),
        "url": base,
        "inbox": f"{base}/inbox",
        "outbox": f"{base}/outbox",
        "endpoints": {"sharedInbox": f"{base}/inbox"},
        "manuallyApprovesFollowers": True,
        "discoverable": False,
        "indexable": False,
        "attachment": _properties(settings),
        "implements": [{"href": href, "name": name} for href, name in _IMPLEMENTS],
        "publicKey": {
            "id": actor_key_id(settings),
            "owner": uri,
            "publicKeyPem": public_pem(keys.actor.public_key()),
        },
        "assertionMethod": [
            {
                "id": service_key_id(settings),
                "type": "Multikey",
                "controller": uri,
                "publicKeyMultibase": encode_multikey(keys.service.public_key()),
            }
        ],
    }


def outbox(settings: Settings) -> dict[str, Any]:
    """Return our outbox: this actor follows and publishes nothing, so it is empty."""
    return {
        "@context": ACTIVITYSTREAMS,
        "id": f"{settings.base_url}/outbox",
        "type": "OrderedCollection",
        "totalItems": 0,
        "orderedItems": [],
    }


def webfinger(settings: Settings, resource: str) -> dict[str, Any]:
    """Return the descriptor of our actor, or of the server itself (FEP-d556).

    `resource` is `acct:localpay@host`, the actor's id or the server's address. InvalidError where
    it is no URI, NotFoundError where it is another's.
    """
    uri = actor_uri(settings)
    account = f"acct:{USERNAME}@{urlsplit(settings.base_url).netloc}"
    if ":" not in resource:
        raise InvalidError("resource", "must be a URI")
    if resource.rstrip("/") == settings.base_url:
        links = [_link(f"{ACTIVITYSTREAMS}#Service", uri), _link("self", uri)]
        return {"subject": resource, "links": links}
    if resource not in {account, uri}:
        raise NotFoundError("there is no such account")
    return {"subject": account, "aliases": [uri], "links": [_link("self", uri)]}


def nodeinfo_links(settings: Settings) -> dict[str, Any]:
    """Return `/.well-known/nodeinfo`, with the link to our actor of FEP-2677."""
    return {
        "links": [
            {"rel": NODEINFO_SCHEMA, "href": f"{settings.base_url}/nodeinfo/2.1"},
            {"rel": f"{ACTIVITYSTREAMS}#Application", "href": actor_uri(settings)},
        ]
    }


def nodeinfo() -> dict[str, Any]:
    """Return our NodeInfo 2.1; there are no accounts of persons here, so there is no usage."""
    return {
        "version": "2.1",
        "software": {"name": "localpay", "version": VERSION},
        "protocols": ["activitypub"],
        "services": {"inbound": [], "outbound": []},
        "openRegistrations": False,
        "usage": {"users": {}},
        "metadata": {"nodeName": "LocalPay"},
    }


def follow(settings: Settings, follow_uri: str, followed: str) -> dict[str, Any]:
    """Return the Follow by which we ask an actor for its activities, or a relay for all."""
    return {
        "@context": ACTIVITYSTREAMS,
        "id": follow_uri,
        "type": "Follow",
        "actor": actor_uri(settings),
        "object": followed,
        "to": [followed],
    }


def undo_follow(settings: Settings, follow_uri: str, followed: str) -> dict[str, Any]:
    """Return the Undo of a Follow, which it embeds, since some servers look for nothing else."""
    undone = follow(settings, follow_uri, followed)
    return {
        "@context": ACTIVITYSTREAMS,
        "id": f"{follow_uri}/undo",
        "type": "Undo",
        "actor": actor_uri(settings),
        "object": {name: value for name, value in undone.items() if name != "@context"},
        "to": [followed],
    }


def accept_follow(uri: str, follow_id: str, follower: str) -> dict[str, Any]:
    """Return the Accept of a Follow of our actor `uri`, which publishes nothing."""
    return {
        "@context": ACTIVITYSTREAMS,
        "id": f"{uri}/accepts/{hashlib.sha256(follow_id.encode()).hexdigest()[:32]}",
        "type": "Accept",
        "actor": uri,
        "object": {"id": follow_id, "type": "Follow", "actor": follower, "object": uri},
        "to": [follower],
    }


def _link(relation: str, href: str) -> dict[str, str]:
    return {"rel": relation, "type": "application/activity+json", "href": href}


def _summary(settings: Settings) -> str:
    contact = f" The operator is reached at {escape(settings.contact)}." if settings.contact else ""
    join = f'<a href="{escape(settings.base_url)}/join">{escape(settings.base_url)}/join</a>'
    return (
        "<p>This service collects public offers and wants of local currency groups, so that "
        "members of other groups find them. It reads only hubs that have agreed: by "
        "<code>indexable</code> true on their group's actor, by a signed registration, or by an "
        f"invitation ({join}). It follows their actor, and looks at each listing again once a "
        "week.</p>"
        "<p>To be left out: set <code>indexable</code> to false on your actor, or leave "
        "<code>as:Public</code> out of <code>searchableBy</code>; what is there is then removed. "
        "A deleted listing is removed as its Delete arrives. A whole hub is left out when it "
        "blocks this actor or sets <code>indexable</code> to false on its own; "
        f"<code>robots.txt</code> is heeded for <code>LocalPay</code>.{contact}</p>"
    )


def _properties(settings: Settings) -> list[dict[str, str]]:
    """Return what FEP-19b3 would have an automated actor tell of itself, for people to read."""
    told = {
        "ServiceType": f"Marketplace crawler, {settings.base_url}",
        "Frequency": "Each listing once a week; what is pushed, at once",
    }
    if settings.contact:
        told["Support"] = settings.contact
    return [
        {"type": "PropertyValue", "name": name, "value": escape(value)}
        for name, value in told.items()
    ]
