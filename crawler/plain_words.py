"""What went wrong with a hub, in words for whoever runs it, and the one thing to mend; pure.

An error's own text may hold addresses of somebody's inside or what a stranger wrote. Nothing of it
is repeated here but numbers and the name of a field, so these words may be told to anybody.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit


class StepName(StrEnum):
    """The way of a listing from its hub to the search, in its order."""

    ADDRESS = "address"
    CONNECTION = "connection"
    ROBOTS = "robots"
    SOFTWARE = "software"
    ACTOR = "actor"
    KEYS = "keys"
    CONSENT = "consent"
    HUB = "hub"
    FOLLOW = "follow"
    SOURCE = "source"
    LISTINGS = "listings"
    AUTHORS = "authors"
    INDEX = "index"
    VISIT = "visit"


@dataclass(frozen=True)
class Trouble:
    """What is wrong, and what to do; `step` is empty where it may be wrong at several steps."""

    step: StepName | None
    said: str
    mend: str


_Row = tuple[str, StepName | None, str, str]
_SERVE_PUBLICLY: Final = "Give the https address by which everybody reaches the hub."
_RENEW: Final = "Renew the certificate, with its whole chain and for this very name."
_LET_US_IN: Final = (
    "Let requests of the agent LocalPay through: a firewall, a login or a protection against "
    "robots stands before the hub."
)
_ANSWER_ACTIVITY: Final = (
    "Answer requests that accept application/activity+json with a document of that media type. "
    "Where the address is a page for people, give that of the group's actor instead."
)

_ALLOW: Final = (
    "Have whoever runs the hub's website put two lines into its /robots.txt: "
    "`User-agent: LocalPay` and below it `Allow: {}`."
)

# Searched in this order: what says more comes first.
_TABLE: Final[tuple[_Row, ...]] = (
    (
        r"is at .*, which is not a public address",
        StepName.ADDRESS,
        "The name leads to an address that is not public.",
        _SERVE_PUBLICLY,
    ),
    (
        r"is of a domain that the operator of this service blocks",
        StepName.ADDRESS,
        "The operator of this service blocks its domain.",
        "Write to the operator of this service.",
    ),
    (
        r"is not https",
        StepName.ADDRESS,
        "Only https addresses are read.",
        "Serve the hub over https, and give its https address.",
    ),
    (
        r"port \d+ is not asked",
        StepName.ADDRESS,
        "Only the usual port of https is asked.",
        "Serve the hub on port 443.",
    ),
    (
        r"names a user",
        StepName.ADDRESS,
        "The address holds a user name.",
        "Give the address without what stands before the @.",
    ),
    (
        r"is no URL|neither a name nor|URL of more than",
        StepName.ADDRESS,
        "This is no address that can be asked.",
        _SERVE_PUBLICLY,
    ),
    (
        r"redirects to another scheme",
        StepName.CONNECTION,
        "It leads on from https to an address that is not https.",
        "Have every address of the hub lead to an https address only.",
    ),
    (
        r"certificate has expired",
        StepName.CONNECTION,
        "Its TLS certificate has expired.",
        _RENEW,
    ),
    (
        r"[Hh]ostname mismatch|certificate is not valid for",
        StepName.CONNECTION,
        "Its TLS certificate is for another name.",
        _RENEW,
    ),
    (
        r"self.signed certificate",
        StepName.CONNECTION,
        "Its TLS certificate was signed by itself, so nobody can rely on it.",
        _RENEW,
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        StepName.CONNECTION,
        "Its TLS certificate cannot be verified.",
        _RENEW,
    ),
    (
        r"\[SSL|SSLError|TLSV1_ALERT",
        StepName.CONNECTION,
        "No secure connection could be made.",
        "Have the server speak TLS 1.2 or 1.3 on port 443.",
    ),
    (
        r"ame or service not known|nodename nor|o address associated|name resolution|no address",
        StepName.CONNECTION,
        "Its name has no address in DNS.",
        "See that the name is spelt rightly and has an A or AAAA record.",
    ),
    (
        r"was not done in [\d.]+ s",
        StepName.CONNECTION,
        "It did not answer in time.",
        "See why the hub is slow, or whether something on the way drops our requests.",
    ),
    (
        r"is left alone for another \d+ s",
        StepName.CONNECTION,
        "It failed several times or asked us to wait, so it is left alone for a while.",
        "See that the hub answers; it is asked again by itself when the while is over.",
    ),
    (
        r"is not asked today, after \d+ other new hosts",
        StepName.CONNECTION,
        "Many new hosts of the same domain were asked today, so this one waits.",
        "Come back tomorrow.",
    ),
    (
        r"attempts failed|call failed|onnection refused|: ConnectError| unreachable|No route",
        StepName.CONNECTION,
        "Nothing answers at its address.",
        "See that the hub runs and can be reached from the internet on port 443.",
    ),
    (
        r"could not be asked",
        StepName.CONNECTION,
        "The connection broke off before there was an answer.",
        "See what the hub's own log says of the request.",
    ),
    (
        r"robots\.txt of .* does not let",
        StepName.ROBOTS,
        "Its robots.txt does not let LocalPay read it.",
        _ALLOW.format("/"),
    ),
    (
        r"not crawled while .*/robots\.txt cannot be had",
        StepName.ROBOTS,
        "Its robots.txt does not answer, so what it allows is unknown.",
        "Have /robots.txt answer 200, or 404 where there is none.",
    ),
    (
        r"answered (?P<status>401|403)\b",
        None,
        "It answers {status}: we are not let in.",
        _LET_US_IN,
    ),
    (
        r"answered (?P<status>404|410|451)\b",
        None,
        "It answers {status}: there is nothing at this address.",
        "Publish it at the address that is given for it, or give the right address.",
    ),
    (
        r"answered (?P<status>429)\b",
        None,
        "It answers {status}: it asks us to come back later.",
        "Nothing, where that was meant; it is asked again by itself.",
    ),
    (
        r"answered (?P<status>5\d\d)\b",
        None,
        "It answers {status}: the hub itself has a fault.",
        "See what the hub's own log says of the request.",
    ),
    (
        r"answered (?P<status>\d{3})\b",
        None,
        "It answers {status}, which is no document.",
        _ANSWER_ACTIVITY,
    ),
    (
        r"is of the media type '?\"?text/html",
        None,
        "It answers with a page for people, not with a document for programs.",
        _ANSWER_ACTIVITY,
    ),
    (
        r"is of the media type '?\"?application/(?:activity|ld)\+json",
        None,
        "It answers with a media type of ActivityPub, which this document is not of.",
        "Answer WebFinger and NodeInfo with the media type application/json.",
    ),
    (
        r"is of the media type",
        None,
        "It answers with another media type than ActivityPub's.",
        _ANSWER_ACTIVITY,
    ),
    (
        r"redirects more than|redirects to (?:nowhere|what is no URL)|redirects a delivery",
        None,
        "It leads from address to address without an end.",
        "Have the address answer itself, after 3 redirects at most.",
    ),
    (
        r"has more than \d+ bytes|must have at most 1 MiB|larger than",
        None,
        "It is larger than 1 MiB.",
        "Publish smaller documents: fewer items on a page, shorter texts.",
    ),
    (
        r"is encoded as|not what its encoding says|does not end where its encoding does",
        None,
        "It is packed in a way that cannot be read.",
        "Send it plain or in gzip.",
    ),
    (
        r"an actor needs an id and one of the types|^actor: must be the id of the document",
        StepName.ACTOR,
        "The document there is no actor with this very id.",
        "Give the address that the group's actor has as its own `id`.",
    ),
    (
        r"^id: must be of the origin that answers",
        None,
        "The document names another host as its home than the one that answers.",
        "Give the address at the host that the document's `id` names.",
    ),
    (
        r"an outbox is a collection",
        StepName.SOURCE,
        "Its outbox is no collection.",
        "Publish the outbox as an OrderedCollection.",
    ),
    (
        r"JSON:API has its resources in data",
        StepName.SOURCE,
        "It answers with JSON that has no `data`, so it is no page of JSON:API.",
        "Give the address of a group at Komunitin's social interface, as https://host/GROUP.",
    ),
    (
        r"^links\.self: must be of the origin",
        None,
        "A listing's own address, `links.self`, is of another host than the one that answers.",
        "Have the server name its public address there, or give the address that it names.",
    ),
    (
        r"the hub rejected our Follow",
        StepName.FOLLOW,
        "The hub rejected our Follow.",
        "Accept the Follow of this service, or let the group's followers be accepted by itself.",
    ),
    (
        r"is no JSON|the JSON is nested|same key twice|number is too large|more than 64 bits",
        None,
        "What it answers is no well-formed JSON object.",
        "Publish one JSON object: no comments, no repeated keys, no number beyond 64 bits.",
    ),
    (
        r"holds NUL|half of a surrogate pair",
        None,
        "It holds characters that no text has.",
        "Publish text in UTF-8, without NUL and without halves of surrogate pairs.",
    ),
    (
        r"more would have to be fetched for this",
        None,
        "Too many other documents would have to be fetched for it.",
        "Publish what belongs to a listing within it, not by its address alone.",
    ),
)
_READ: Final = tuple((re.compile(row[0], re.DOTALL), *row[1:]) for row in _TABLE)
_FIELD: Final = re.compile(r"(?P<field>[A-Za-z][\w.\[\]-]{0,60}): (?P<rule>[^:/]{1,120})")
_PLAIN_PATH: Final = re.compile(r"/[\w.~@/-]{0,200}", re.ASCII)
_UNTOLD: Final = Trouble(
    None,
    "It went wrong in a way that there is no word for here.",
    "Ask the operator of this service, who sees more of it.",
)


def explain(detail: str) -> Trouble:
    """Return what an error's text means; the text itself is not for everybody."""
    found = known(detail)
    if found is not None:
        return found
    field = _FIELD.fullmatch(detail)
    if field is None:
        return _UNTOLD
    said = f"`{field['field']}` {field['rule']}."
    mend = f"Have whoever runs the hub's software mend `{field['field']}` where it is published."
    return Trouble(None, said, mend)


def allowing(trouble: Trouble, uri: str) -> Trouble:
    """Return a trouble with robots.txt with the very path that is to be allowed.

    `uri` is one that the hub itself publishes; all other troubles stay as they are.
    """
    path = urlsplit(uri).path
    if trouble.mend != _ALLOW.format("/") or not _PLAIN_PATH.fullmatch(path):
        return trouble
    return replace(trouble, mend=_ALLOW.format(path))


def known(detail: str) -> Trouble | None:
    """Return what the text of an error of the network means; None where it is none of those."""
    for pattern, step, said, mend in _READ:
        match = pattern.search(detail)
        if match:
            return Trouble(step, said.format(**match.groupdict()), mend)
    return None


REMEDIES: Final = {
    "searchableBy does not hold the public": (
        "Who wants to be found here lets `searchableBy` hold "
        "https://www.w3.org/ns/activitystreams#Public."
    ),
    "the author's indexable is false": "An author who wants to be found sets `indexable` to true.",
    "it is not addressed to the public": (
        "Put https://www.w3.org/ns/activitystreams#Public into `to` of each listing: what has it "
        "in `cc` alone is read by its followers and not listed."
    ),
    "its page or its author asks not to be indexed": (
        "Take `noindex` away from the author or the listing."
    ),
    "its author is suspended": "Nothing, as long as the hub has the author suspended.",
    "its author blocks this service": "An author who wants to be found ends the block.",
    "nobody consented": (
        "Set `indexable: true` on the group's actor, which speaks for its members' public "
        "listings, or on the authors' own actors."
    ),
    "its domain is blocked here": "Write to the operator of this service, who blocks the domain.",
    "its own hub has not agreed, or is suspended": (
        "Have the hub at which the listing was published join too."
    ),
}
"""What to do about each reason for which a listing is left out."""
