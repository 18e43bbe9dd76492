"""A pushed activity while it is handled: what it says, who pushed it, and on whose word."""

from dataclasses import dataclass

from sqlalchemy import Engine

from commons.fetch import Door
from crawler.terms import PUBLIC, Activity, Document, first_id, id_of, objects, types


@dataclass(frozen=True)
class Push:
    """A stored activity being handled, and the hub that pushed it."""

    engine: Engine
    door: Door
    our_actor: str
    message_id: int
    peer_id: int
    peer_uri: str
    follow_uri: str | None
    is_relays: bool
    is_vouched: bool
    object_uri: str
    activity: Activity
    document: Document

    @property
    def is_by_hub(self) -> bool:
        """Whether the group's actor itself speaks, not one of its members."""
        return self.activity.actor == self.peer_uri

    def answers_our_follow(self, answer: Document) -> bool:
        """Tell whether the hub answers our Follow, which it may embed or only name."""
        if not self.is_by_hub:
            return False
        if self.follow_uri is not None and first_id(answer, "object") == self.follow_uri:
            return True
        follow = next(objects(answer, "object"), {})
        asked = {self.peer_uri, *([PUBLIC] if self.is_relays else [])}
        return (
            "Follow" in types(follow)
            and id_of(follow.get("actor")) == self.our_actor
            and id_of(follow.get("object")) in asked
        )
