"""Three admitted groups with accounts, and the short ways to pay between them."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from clearing import acceptance, levies
from clearing.acceptance import ANY_GROUP, Rule
from clearing.accounts import DEFAULT_UNION, Account, Position, account_of, open_account, set_limits
from clearing.audit import audit
from clearing.calls import Call, Create, Move, Outcome, Verb, handle
from clearing.events import Event, EventKind
from clearing.ledger import Entry, Journal
from clearing.levies import LevyChange
from clearing.rates import agree
from clearing.transfers import Party, Transfer, TransferState, Unit
from commons import database
from commons.database import reading, transaction
from commons.groups import Currency, Group, Hub, HubState
from commons.money import CLEARING_SCALE, CurrencyKind, format_rate, parse_amount

HOUR = 10**CLEARING_SCALE
"""One hour of work in smallest clearing units."""


@dataclass(frozen=True)
class Terms:
    """What a group is admitted with: clearing units per unit, decimal places, kind."""

    rate: Fraction
    scale: int
    kind: CurrencyKind


GROUPS: Mapping[str, Terms] = {
    "barcelona": Terms(Fraction(1, 10), 2, CurrencyKind.LOCAL),
    "leeds": Terms(Fraction(1), 2, CurrencyKind.TIME),
    "ghent": Terms(Fraction(1, 2), 0, CurrencyKind.LOCAL),
}


def admit(session: Session, group_id: str, terms: Terms, union_id: str = DEFAULT_UNION) -> None:
    """Make an admitted group with a hub, a currency, a rate and accounts without limits."""
    uri, moment = f"https://{group_id}.example/group", database.now(session)
    currency = Currency(
        uri=f"{uri}/currency",
        code=group_id[:3].upper(),
        name=f"The money of {group_id}",
        scale=terms.scale,
        kind=terms.kind,
    )
    session.add(currency)
    session.flush()
    group = Group(id=group_id, uri=uri, name=group_id, currency_id=currency.id, created_at=moment)
    session.add(group)
    session.flush()
    session.add(
        Hub(
            group_id=group_id,
            state=HubState.ADMITTED,
            inbox_uri=f"{uri}/inbox",
            rate_wanted="1/1",
            registered_at=moment,
            admitted_at=moment,
        )
    )
    agree(session, group_id, terms.rate)
    open_account(session, group_id, union_id)


def open_world(engine: Engine) -> None:
    """Admit the three groups."""
    with transaction(engine) as session:
        for group_id, terms in GROUPS.items():
            admit(session, group_id, terms)


def push(  # noqa: PLR0913 (a payment has that much to say)
    payer: str,
    payee: str,
    amount: str,
    unit: Unit = Unit.CLEARING,
    *,
    description: str = "",
    expires_at: datetime | None = None,
    wait: bool = False,
) -> Create:
    """Return the payer's hub's call that makes a transfer between two groups' members."""
    return Create(
        id=uuid.uuid4(),
        caller=payer,
        payer=f"{payer}/ines",
        payee=f"{payee}/moss",
        amount=amount,
        unit=unit,
        description=description,
        expires_at=expires_at,
        wait=wait,
    )


def request(payer: str, payee: str, amount: str, unit: Unit = Unit.CLEARING) -> Create:
    """Return the payee's hub's call that asks for a payment."""
    return replace(push(payer, payee, amount, unit), caller=payee)


def call(engine: Engine, one: Call) -> Outcome:
    """Handle one call in a transaction of its own."""
    with transaction(engine) as session:
        return handle(session, [one])[0]


def accepting(engine: Engine, group_id: str, up_to: int, initiator: Party = Party.PAYER) -> None:
    """Have a group's hub accept at once what others make, up to so many smallest units."""
    with transaction(engine) as session:
        acceptance.set_rules(session, group_id, [Rule(initiator, ANY_GROUP, up_to)])


def told(engine: Engine, group_id: str) -> list[tuple[EventKind, str]]:
    """Return the kind and subject of what a hub was told, in its order."""
    with reading(engine) as session:
        own = select(Event).where(Event.group_id == group_id).order_by(Event.number)
        return [(event.kind, event.subject) for event in session.scalars(own)]


def accept(create: Create) -> Move:
    """Return the other hub's call that accepts a transfer."""
    return Move(create.id, other_hub(create), Verb.ACCEPT)


def other_hub(create: Create) -> str:
    """Return the group that did not make the transfer."""
    groups = {text.partition("/")[0] for text in (create.payer, create.payee)}
    return (groups - {create.caller}).pop()


def made(engine: Engine, create: Create) -> Create:
    """Make a transfer that has to be taken, and return its call."""
    outcome = call(engine, create)
    assert outcome.error is None
    assert outcome.transfer is not None
    assert outcome.transfer.state is TransferState.PENDING
    return create


def pay(engine: Engine, payer: str, payee: str, amount: str) -> Create:
    """Push a payment in clearing units and have it accepted."""
    create = made(engine, push(payer, payee, amount))
    outcome = call(engine, accept(create))
    assert outcome.transfer is not None
    assert outcome.transfer.state is TransferState.POSTED
    return create


def limit(
    engine: Engine, group_id: str, *, credit: str | None = None, surplus: str | None = None
) -> None:
    """Set both limits of a group; amounts as decimal strings, "0" too."""
    with transaction(engine) as session:
        set_limits(
            session,
            group_id,
            credit_limit=None if credit is None else minor(credit),
            surplus_limit=None if surplus is None else minor(surplus),
        )


def levied(engine: Engine, share: Fraction, union_id: str = DEFAULT_UNION) -> None:
    """Have a union take a levy from now on, as if its rule had been set long ago."""
    with transaction(engine) as session:
        levies.levy_account(session, union_id)
        moment = database.now(session)
        rule = {"share": format_rate(share), "valid_from": moment, "known_from": moment}
        session.add(LevyChange(union_id=union_id, **rule))


def minor(text: str) -> int:
    """Return hours, written as a decimal string, in smallest clearing units."""
    return 0 if text == "0" else parse_amount(text, CLEARING_SCALE)


def account(engine: Engine, group_id: str) -> Account:
    """Return a group's account as it is committed."""
    with reading(engine) as session:
        return account_of(session, group_id)


def position(engine: Engine, group_id: str, counterparty: str) -> Position:
    """Return a group's position towards another as it is committed."""
    with reading(engine) as session:
        pair = account_of(session, group_id).id, account_of(session, counterparty).id
        return session.get_one(Position, pair)


def balances(engine: Engine) -> dict[str, int]:
    """Return every account's balance by name, those of 0 left out."""
    with reading(engine) as session:
        rows = session.execute(select(Account.name, Account.balance))
        return {name: balance for name, balance in rows if balance}


def transfer(engine: Engine, transfer_id: uuid.UUID) -> Transfer | None:
    """Return a transfer as it is committed."""
    with reading(engine) as session:
        return session.get(Transfer, transfer_id)


def state(engine: Engine, create: Create) -> TransferState | None:
    """Return where a transfer stands; None where there is none."""
    found = transfer(engine, create.id)
    return None if found is None else found.state


def counted(engine: Engine, table: type[Journal | Entry | Transfer]) -> int:
    """Return how many rows a table has."""
    with reading(engine) as session:
        return len(session.scalars(select(table)).all())


def set_expiry(engine: Engine, create: Create, moment: datetime) -> None:
    """Have a transfer expire at another moment, as if time had passed."""
    with transaction(engine) as session:
        session.execute(update(Transfer).where(Transfer.id == create.id).values(expires_at=moment))


def assert_sound(engine: Engine) -> None:
    """Check every invariant of the ledger."""
    with reading(engine) as session:
        findings = audit(session)
    assert [(f.number, problem) for f in findings for problem in f.problems] == []


def ledger(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    """Return all that money is: accounts, positions, entries and transfers, to compare later."""
    found = {}
    for table in (Account, Position, Entry, Transfer):
        columns = table.__table__.columns
        with reading(engine) as session:
            rows = session.execute(select(*columns).order_by(*columns[:1]))
            found[table.__tablename__] = sorted((tuple(row) for row in rows), key=repr)
    return found
