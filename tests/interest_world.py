"""Two hubs and an interest between them: one's member answers what the other's publishes."""

from typing import Any
from uuid import uuid4

from hub_server import Crawling, HubServer, Json
from sqlalchemy import func, select

from commons.database import reading, transaction
from crawler.interest.asking import View, ask, view
from crawler.interest.rows import Interest
from crawler.interest.saying import Said, read_message, read_offer
from marketplace.drafts import listing_id

WORDS = "the third bell, after dusk"


class Between:
    """The author's hub, whose ines publishes a listing, and the hub of bob, who answers it."""

    def __init__(self, crawling: Crawling, authors: HubServer, members: HubServer) -> None:
        self.crawling, self.authors, self.members = crawling, authors, members
        self.author = authors.member(
            "ines", preferredUsername="ines", inbox=f"{authors.base}/members/ines/inbox"
        )
        self.member = members.member("bob", inbox=f"{members.base}/members/bob/inbox")
        crawling.follow(authors)
        crawling.register(members)
        self.proposal = authors.serve(authors.proposal(1))
        crawling.push_and_work(authors, authors.activity("Create", self.proposal))
        crawling.work()
        self.listing_id = listing_id(self.proposal["id"])
        authors.taken.clear()
        members.taken.clear()

    def offer(self, number: int = 1, **more: Any) -> Json:  # noqa: ANN401 (any JSON)
        """An Offer of an agreement, as FEP-0837 has it."""
        return {
            "id": f"{self.members.base}/offers/{number}",
            "type": "Offer",
            "actor": self.member,
            "to": self.author,
            "content": WORDS,
            "object": {
                "type": "Agreement",
                "stipulates": {
                    "type": "Commitment",
                    "satisfies": f"{self.proposal['id']}#primary",
                    "resourceQuantity": {"hasUnit": "one", "hasNumericalValue": "1"},
                },
            },
            **more,
        }

    def said(self, number: int = 1, **more: Any) -> Said:  # noqa: ANN401 (any JSON)
        return read_offer(self.offer(number, **more), self.author)

    def message(self, text: str = WORDS) -> Said:
        return read_message(uuid4(), self.member, text)

    def tell(self, said: Said | None = None, hub: HubServer | None = None) -> View:
        with transaction(self.crawling.engine) as session:
            group_id = (hub or self.members).name
            return ask(session, group_id, self.listing_id, said or self.said())[0]

    def stands(self, told: View) -> View:
        with reading(self.crawling.engine) as session:
            return view(session, self.members.name, told.id)

    def row(self, told: View) -> Interest:
        with reading(self.crawling.engine) as session:
            return session.scalars(select(Interest).where(Interest.uuid == told.id)).one()

    def interests(self) -> int:
        with reading(self.crawling.engine) as session:
            return session.scalar(select(func.count()).select_from(Interest)) or 0

    def answer(self, kind: str, told: View, *, by: str | None = None, **more: object) -> Json:
        """What the author says to the offer that it was sent."""
        offer = f"http://testserver/interests/{told.id}/offer"
        return self.authors.activity(kind, offer, by=by or self.author, **more)
