"""What the routes of one running service share, and the sessions that they read in."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.allowances import Allowances
from api.event_watch import EventWatch
from api.keyring import Keyring
from api.worker import Worker
from clearing.poster import Poster
from commons.database import reading
from commons.fetch import Door
from commons.keys import OwnKeys
from commons.settings import Settings
from crawler.inbox import Inbox
from crawler.interest.home import Homes
from marketplace.index import Index
from marketplace.payable import Purses


@dataclass(frozen=True)
class Services:
    """Everything that a running service is made of; `door` belongs to the server's event loop.

    `searchers` are the threads that search: for the index in this process as many as processors,
    since more would only take turns.
    """

    settings: Settings
    engine: Engine
    index: Index
    purses: Purses
    door: Door
    keys: OwnKeys
    poster: Poster
    events: EventWatch
    inbox: Inbox
    worker: Worker
    searchers: ThreadPoolExecutor
    allowances: Allowances = field(default_factory=Allowances)
    homes: Homes = field(default_factory=Homes)
    keyring: Keyring = field(default_factory=Keyring)


async def services_of(request: Request) -> Services:  # async: else a thread is waited for
    """Return the services of the application that the request came to."""
    services: Services = request.app.state.services
    return services


Shared = Annotated[Services, Depends(services_of)]


def read_session(services: Shared) -> Iterator[Session]:
    """Yield a session over one snapshot, for a route that reads."""
    with reading(services.engine) as session:
        yield session


# "function": the session ends before the answer leaves, however slowly that is taken.
Reading = Annotated[Session, Depends(read_session, scope="function")]
