"""The crawler's jobs: what a worker does for it, each row when it is due."""

from functools import partial
from typing import Final

from sqlalchemy import Engine

from commons.fetch import Door
from commons.jobs import Job
from commons.settings import Settings
from crawler import activities, authors, backfill, delivery, following
from crawler.authors import Author
from crawler.batches import Batches
from crawler.delivery import Delivery
from crawler.fasp import looking, sharing
from crawler.fasp.rows import AnnouncedObject, FaspServer
from crawler.interest import passing
from crawler.interest.rows import Interest
from crawler.kept import InboxMessage, PutAside
from crawler.peers import Peer

INBOX: Final = "inbox"
MESSAGE_ATTEMPTS: Final = 8
# A crawl's 50 pages at one request a second, and the authors that they name.
CRAWL_LONGEST_SECONDS: Final = 1_800
# A peer is given up by the time that it is silent, not by the number of attempts.
PEER_ATTEMPTS: Final = 1_000_000


def jobs(engine: Engine, door: Door, settings: Settings) -> list[Job]:
    """Return the crawler's jobs; what was pushed comes before what is fetched."""
    together = Batches(engine, door)
    return [
        Job(
            INBOX,
            InboxMessage,
            partial(activities.handle, engine, door, settings),
            max_attempts=MESSAGE_ATTEMPTS,
            give_up=activities.give_up,
            lane="peer_id",
            batch=together.handle,
            ready=together.ask_authors,
        ),
        Job(
            "interest",
            Interest,
            partial(passing.attend, engine, door, settings),
            give_up=passing.give_up,
        ),
        Job(
            "delivery",
            Delivery,
            partial(delivery.deliver, engine, door, taken=passing.delivered),
            give_up=passing.undeliverable,
            lane="lane",
        ),
        Job("put aside", PutAside, partial(backfill.try_again, engine, door)),
        Job("author", Author, partial(authors.ask_again, engine, door)),
        Job("fasp server", FaspServer, partial(sharing.attend, engine, door, settings)),
        Job(
            "announced object",
            AnnouncedObject,
            partial(looking.look, engine, door),
            give_up=looking.give_up,
            lane="server_id",
        ),
        Job(
            "peer",
            Peer,
            partial(following.attend, engine, door, settings),
            longest_seconds=CRAWL_LONGEST_SECONDS,
            max_attempts=PEER_ATTEMPTS,
        ),
    ]
