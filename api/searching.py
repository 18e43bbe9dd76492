"""How every route searches: whom the payer can pay is looked up before, and told after."""

from dataclasses import replace

from api.services import Services
from commons.database import reading
from marketplace.query import Page, Query


def resolved(services: Services, query: Query) -> Query:
    """Return a question with the groups that `payer_group` can pay now, which an index asks for.

    Raises InvalidError where there is no such group.
    """
    if query.payer_group is None or query.payees is not None:
        return query
    with reading(services.engine) as session:
        payees = services.purses.payees(session, query.payer_group)
    return replace(query, payees=payees)


def search(services: Services, query: Query) -> Page:
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
