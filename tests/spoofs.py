"""What a hostile hub says of what is another's: refused at the door, or believed by nobody."""

from collections.abc import Callable
from typing import Final

from hub_server import HubServer, Json
from spoofing_world import FAKE, World


def served_at(hub: HubServer, path: str, document: Json | bytes, media_type: str) -> str:
    hub.headers[path] = {"Content-Type": media_type}
    return hub.put(path, document)


def upload(w: World, media_type: str) -> str:
    """What a user of the honest server put there as a file: a listing of another member's."""
    number = next(w.numbers)
    path = f"/uploads/{number}.json"
    told = w.honest.proposal(number, name=FAKE, id=w.honest.base + path)
    return served_at(w.honest, path, told, media_type)


def leading(hub: HubServer, path: str, to: str) -> str:
    """A page that redirects."""
    hub.headers[path] = {"Location": to}
    return hub.put(path, {}, 302)


def copy(w: World, document: Json) -> str:
    """Serve on the hostile hub what names another's id as its own."""
    return w.evil.put(f"/copies/{next(w.numbers)}", document)


def misspelt(base: str, change: Callable[[str, str], str]) -> str:
    """Write a server's address otherwise."""
    host, _, port = base.removeprefix("http://").partition(":")
    return change(host, port)


def under(w: World, start: str) -> Json:
    """A listing, pushed by the hostile hub, whose id begins so."""
    return w.says("Create", {**w.own(), "id": f"{start}/proposals/1"})


# Refused at the door: status, and what is sent there.
Spoof = Callable[[World], Json]
REFUSED: Final[dict[str, tuple[int, Spoof]]] = {
    "a Create by another hub's member": (403, lambda w: w.honest.activity("Create", w.fake)),
    "a Create by another hub": (
        403,
        lambda w: w.says("Create", w.fake, actor=w.honest.actor_uri),
    ),
    "an Update by another hub's member": (403, lambda w: w.says("Update", w.fake, actor=w.ines)),
    "a Delete by another hub's member": (
        403,
        lambda w: w.says("Delete", w.listing["id"], actor=w.ines),
    ),
    "a Delete by another hub of itself": (
        403,
        lambda w: w.says("Delete", w.honest.actor_uri, actor=w.honest.actor_uri),
    ),
    "a Block in another's name": (
        403,
        lambda w: w.says("Block", f"{w.service.url}/actor", actor=w.honest.actor_uri),
    ),
    "an Accept in another's name": (
        403,
        lambda w: w.says("Accept", w.waiting.taken[-1]["id"], actor=w.waiting.actor_uri),
    ),
    "a Reject in another's name": (
        403,
        lambda w: w.says("Reject", w.honest.taken[-1]["id"], actor=w.honest.actor_uri),
    ),
    "a Move in another's name": (
        403,
        lambda w: w.says(
            "Move", w.honest.actor_uri, actor=w.honest.actor_uri, target=w.evil.actor_uri
        ),
    ),
    "an Undo in another's name": (
        403,
        lambda w: w.says("Undo", {"type": "Accept"}, actor=w.honest.actor_uri),
    ),
    "an embedded actor of another": (
        403,
        lambda w: w.says("Create", w.fake, actor={"id": w.ines, "type": "Person"}),
    ),
    "another's actor first of two": (
        403,
        lambda w: w.says("Create", w.fake, actor=[w.ines, w.eve]),
    ),
    "an activity of another's origin": (
        403,
        lambda w: w.says("Create", w.own(), id=f"{w.honest.base}/activities/1"),
    ),
    "an activity with a user in its id": (
        403,
        lambda w: w.says("Create", w.own(), id=w.evil.base.replace("//", "//honest@") + "/a"),
    ),
    "an activity with a backslash in its id": (
        403,
        lambda w: w.says("Create", w.own(), id=w.evil.base.replace("//", "//honest\\@") + "/a"),
    ),
    "an actor with a user": (
        403,
        lambda w: w.says("Create", w.own(), actor=w.eve.replace("//", "//ines@")),
    ),
    "an actor of another port": (
        403,
        lambda w: w.says("Create", w.own(), actor=misspelt(w.evil.base, lambda h, _: f"http://{h}/e")),
    ),
    "an actor of another spelling": (
        403,
        lambda w: w.says(
            "Create", w.own(), actor=misspelt(w.honest.base, lambda _, p: f"http://127.1:{p}/members/ines")
        ),
    ),
    "an actor by another scheme": (
        403,
        lambda w: w.says("Create", w.own(), actor=w.eve.replace("http:", "https:")),
    ),
    "no id": (400, lambda w: {**w.says("Create", w.fake), "id": None}),
    "an empty id": (400, lambda w: w.says("Create", w.fake, id="")),
    "an array of ids": (400, lambda w: w.says("Create", w.fake, id=[f"{w.evil.base}/a"])),
    "a number for an id": (400, lambda w: w.says("Create", w.fake, id=7)),
    "a truth for an id": (400, lambda w: w.says("Create", w.fake, id=True)),
    "no actor": (400, lambda w: {**w.says("Create", w.fake), "actor": None}),
    "an attribution for an actor": (
        400,
        lambda w: {**w.says("Create", w.fake), "actor": [], "attributedTo": w.eve},
    ),
    "no type": (400, lambda w: {**w.says("Create", w.fake), "type": None}),
    "an id that is no address": (403, lambda w: w.says("Create", w.fake, id="urn:uuid:1")),
    "an id without a host": (403, lambda w: w.says("Create", w.fake, id="http:///a")),
    "an id in a script": (403, lambda w: w.says("Create", w.fake, id="javascript:alert(1)")),
}  # fmt: skip

# Taken in, or read in an outbox; what it says of others is not believed.
BELIEVED_BY_NOBODY: Final[dict[str, Spoof]] = {
    "another's listing, embedded": lambda w: w.says("Create", w.fake),
    "another's listing, newer": lambda w: w.says("Update", w.fake),
    "another's listing, added": lambda w: w.says("Add", w.fake, target=w.honest.base + "/outbox"),
    "another's listing in an array": lambda w: w.says("Create", [w.fake, w.own()]),
    "another's listing, one deeper": lambda w: w.says("Create", w.says("Create", w.fake)),
    "another's listing by its author, one deeper": lambda w: w.says(
        "Create", w.honest.activity("Update", w.fake)
    ),
    "an announcement of what was altered": lambda w: w.says("Announce", w.fake),
    "an announcement of an altered Create": lambda w: w.says(
        "Announce", w.honest.activity("Create", w.fake)
    ),
    "an announcement of another's Delete": lambda w: w.says(
        "Announce", w.honest.delete(w.listing, hours=60)
    ),
    "an announcement of another's Tombstone": lambda w: w.says(
        "Announce", {"id": w.listing["id"], "type": "Tombstone"}
    ),
    "an own listing that another is to have written": lambda w: w.says(
        "Create", w.own(attributedTo=w.ines)
    ),
    "an own listing that another wrote with one": lambda w: w.says(
        "Create", w.own(attributedTo=[w.ines, w.eve])
    ),
    "an author whose id only begins like the own": lambda w: w.says(
        "Create", w.own(attributedTo=f"{w.evil.base}.evil.example/members/eve")
    ),
    "an author with a user": lambda w: w.says(
        "Create", w.own(attributedTo=w.eve.replace("//", "//ines@"))
    ),
    "an author with a query for a host": lambda w: w.says(
        "Create", w.own(attributedTo=w.honest.base + "?@" + w.evil.base)
    ),
    "a listing with a user in its id": lambda w: under(
        w, w.evil.base.replace("//", "//" + w.honest.base.removeprefix("http://") + "@")
    ),
    "a listing with a backslash in its id": lambda w: under(
        w, w.evil.base.replace("//", "//honest.example\\@")
    ),
    "a listing with a backslash before its path": lambda w: under(
        w, w.evil.base + "\\@honest.example"
    ),
    "a listing with a tab in its id": lambda w: under(w, w.evil.base.replace("//", "/\t/")),
    "a listing with a blank before its id": lambda w: under(w, " " + w.evil.base),
    "a listing of a dotted host": lambda w: under(
        w, misspelt(w.evil.base, lambda h, p: f"http://{h}.:{p}")
    ),
    "a listing of a host in other digits": lambda w: under(
        w, misspelt(w.evil.base, lambda h, p: f"http://{h.replace('1', chr(0xFF11))}:{p}")
    ),
    "a listing of another's host in other digits": lambda w: under(
        w, misspelt(w.honest.base, lambda h, p: f"http://{h.replace('.', chr(0x3002))}:{p}")
    ),
    "a listing of another's host in hex": lambda w: under(
        w, misspelt(w.honest.base, lambda _, p: f"http://0x7f000001:{p}")
    ),
    "a listing of another's alias": lambda w: under(
        w, misspelt(w.honest.base, lambda _, p: f"http://localhost:{p}")
    ),
    "a listing of a letter that looks alike": lambda w: under(w, "https://h\u043enest.example"),
    "a Delete of another's listing": lambda w: w.says("Delete", w.listing["id"]),
    "a Delete of another's Tombstone": lambda w: w.says(
        "Delete", {"id": w.listing["id"], "type": "Tombstone", "attributedTo": w.eve}
    ),
    "a Delete of two": lambda w: w.says("Delete", [f"{w.evil.base}/proposals/9", w.listing["id"]]),
    "a Delete of another's member": lambda w: w.says("Delete", w.ines),
    "a Delete of another hub": lambda w: w.says(
        "Delete", w.honest.actor_uri, by=w.evil.actor_uri
    ),
    "an Undo of what another announced": lambda w: w.says(
        "Undo", {"type": "Announce", "id": f"{w.honest.base}/a", "object": w.listing["id"]}
    ),
    "an Undo of what another accepted": lambda w: w.says(
        "Undo", {"type": "Accept", "actor": w.honest.actor_uri, "object": w.honest.taken[-1]["id"]}
    ),
    "an Undo of what another blocked": lambda w: w.says(
        "Undo", {"type": "Block", "actor": w.honest.actor_uri, "object": f"{w.service.url}/actor"}
    ),
    "a Move of another hub": lambda w: w.says(
        "Move", w.honest.actor_uri, by=w.evil.actor_uri, target=w.evil.actor_uri
    ),
    "a Move of another's member": lambda w: w.says("Move", w.ines, target=w.eve),
    "a Move to another hub that does not know of it": lambda w: w.says(
        "Move", w.evil.actor_uri, by=w.evil.actor_uri, target=w.waiting.actor_uri
    ),
    "an Accept of what another was asked": lambda w: w.says(
        "Accept", w.waiting.taken[-1]["id"], by=w.evil.actor_uri
    ),
    "an Accept that embeds what another was asked": lambda w: w.says(
        "Accept", w.waiting.taken[-1], by=w.evil.actor_uri
    ),
    "a Reject of what another was asked": lambda w: w.says(
        "Reject", w.honest.taken[-1], by=w.evil.actor_uri
    ),
    "a Block of another hub": lambda w: w.says("Block", w.honest.actor_uri, by=w.evil.actor_uri),
    "an Update of another's actor": lambda w: w.says(
        "Update", {"id": w.ines, "type": "Person", "indexable": False}
    ),
    "an Update of another hub's actor": lambda w: w.says(
        "Update", {"id": w.honest.actor_uri, "type": "Group", "indexable": False, "movedTo": w.eve}
    ),
    "a copy that names another's id": lambda w: w.says("Announce", copy(w, w.fake)),
    "a copy without an id": lambda w: w.says("Announce", copy(w, {**w.fake, "id": None})),
    "a copy with an array of ids": lambda w: w.says("Announce", copy(w, {**w.fake, "id": [w.eve]})),
    "a redirect to another's listing": lambda w: w.says(
        "Announce", leading(w.evil, f"/to/{next(w.numbers)}", w.listing["id"])
    ),
    "an open redirect of another's to a copy": lambda w: w.says(
        "Announce", leading(w.honest, f"/out/{next(w.numbers)}", copy(w, w.fake))
    ),
    "a file that somebody uploaded there, as JSON": lambda w: w.says(
        "Announce", upload(w, "application/json")
    ),
    "a file that somebody uploaded there, as text": lambda w: w.says(
        "Announce", upload(w, "text/plain; charset=utf-8")
    ),
    "a file that somebody uploaded there, as an image": lambda w: w.says(
        "Announce", upload(w, "image/png")
    ),
    "a file that somebody uploaded there, as linked data": lambda w: w.says(
        "Announce", upload(w, 'application/ld+json; profile="https://evil.example"')
    ),
    "a file that somebody uploaded there, as two types": lambda w: w.says(
        "Announce", upload(w, "text/html, application/activity+json")
    ),
    "a file that somebody uploaded there, as no type": lambda w: w.says("Announce", upload(w, "")),
    "an announced listing of nobody who agreed": lambda w: w.says(
        "Announce", w.evil.serve(w.own(to=[f"{w.evil.base}/followers"]))["id"]
    ),
    "a proof that is not one": lambda w: w.says(
        "Announce",
        {
            **w.fake,
            "proof": {
                "type": "DataIntegrityProof",
                "cryptosuite": "eddsa-jcs-2022",
                "verificationMethod": w.evil.key_id,
                "proofPurpose": "assertionMethod",
                "proofValue": "z" + "1" * 88,
                "created": "2026-10-01T00:00:00Z",
            },
        },
    ),
}  # fmt: skip
