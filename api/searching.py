"""How every route searches: in turn, and with what the payer can pay looked up before."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from typing import Protocol, TypeVar

from sqlalchemy import Engine

from api.services import Services
from commons.database import reading
from marketplace.index import Index
from marketplace.payable import Purses
from marketplace.payment import read_pay
from marketplace.query import Page, Query

Result = TypeVar("Result")


class Searched(Protocol):
    """What is searched in: of a running service, or of this machine by a command."""

    @property
    def engine(self) -> Engine:
        """Where groups, accounts and limits are."""

    @property
    def index(self) -> Index:
        """Where listings are found."""

    @property
    def purses(self) -> Purses:
        """Who knows what can be paid."""


async def in_turn(services: Services, work: Callable[[], Result]) -> Result:
    """Do what searches in one of the threads for it, and return what it gives."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(services.searchers, copy_context().run, work)


def resolved(services: Searched, query: Query) -> Query:
    """Return a question with the groups that `payer_group` can pay now, which an index asks for.

    Who also asks for the group's own currency means all that it can pay: what is priced in
    another one is paid in it through clearing. Raises InvalidError where there is no such group.
    """
    if query.payer_group is None or query.payees is not None:
        return query
    with reading(services.engine) as session:
        payees = services.purses.payees(session, query.payer_group)
        own = services.purses.units(session, query.payer_group) if query.pay else frozenset()
    asks_for_own = any(read_pay(value) in own for value in query.pay)
    return replace(query, payees=payees, own_pays=asks_for_own)


def search(services: Searched, query: Query) -> Page:
    """Answer a question, resolved or not: its hits tell how they can be paid, the page its place.

    Raises InvalidError as `resolved` does, UnavailableError where the index does not answer.
    """
    query = resolved(services, query)
    words = None if query.typed is None else query.q
    page = replace(services.index.search(query), place=query.place, words=words)
    if query.payees is None:
        return page
    ways = {payee.group: payee.shown() for payee in query.payees}
    hits = [replace(hit, payable=ways.get(hit.group or "")) for hit in page.hits]
    return replace(page, hits=hits)
