"""`localpay account`: group accounts, their limits, and who takes part no longer."""

from dataclasses import replace
from typing import Annotated, Final

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from api import line_commands
from api.hub_commands import AsJson, GroupId, limit_minor
from api.routes.accounts import account_view
from api.terminal import operator_engine, print_json, print_table
from clearing import accounts, participation
from clearing.accounts import Account, AccountKind, Limit, LimitKind, Position
from commons.database import reading, transaction
from commons.errors import InvalidError

OPERATOR: Final = "operator"
UNION: Final = typer.Option(
    "--union", help="The union's id; without it the group's only one, or main."
)

app: Final = typer.Typer(help="Group accounts: limits, freezing, closing.")

InUnion = Annotated[str | None, UNION]
Level = Annotated[str | None, typer.Option(help='In clearing units, or "none".')]
Pairs = Annotated[
    list[str] | None,
    typer.Option(help='OTHER=AMOUNT: how much this group may owe group OTHER, or "none".'),
]
line_commands.register(app)


@app.command("list")
def list_accounts(*, json: AsJson = False) -> None:
    """List all group accounts: balance, what is pending and available, limits, status."""
    own = select(Account).where(Account.kind == AccountKind.GROUP)
    own = own.order_by(Account.union_id, Account.name)
    with operator_engine() as engine, reading(engine) as session:
        found = [account_view(session, account) for account in session.scalars(own)]
    if json:
        print_json({"accounts": [account.model_dump() for account in found]})
        return
    columns = ["union", "group", "state", "balance", "pending_out", "pending_in"]
    columns += ["credit_limit", "surplus_limit", "available_out", "available_in"]
    columns += ["status", "version"]
    headings = [name.replace("_", " ") for name in columns]  # these wrap in a narrow terminal
    print_table(headings, [[getattr(one, name) for name in columns] for one in found])


@app.command("show")
def show_account(group: GroupId, union: InUnion = None) -> None:
    """Show one account as JSON, with its positions and what is available towards each other."""
    with operator_engine() as engine, reading(engine) as session:
        account = accounts.account_in(session, group, union)
        print_json(account_view(session, account).model_dump())


@app.command("limits")
def limits(  # noqa: PLR0913, PLR0917 (two levels of three limits)
    group: GroupId,
    union: InUnion = None,
    credit_limit: Annotated[
        str | None,
        typer.Option(help='How far the account may go below zero, clearing units, or "none".'),
    ] = None,
    credit_warn: Annotated[
        str | None, typer.Option(help='Below zero, what is flagged though it passes, or "none".')
    ] = None,
    surplus_limit: Annotated[
        str | None,
        typer.Option(help='How far the account may go above zero, clearing units, or "none".'),
    ] = None,
    surplus_warn: Annotated[
        str | None, typer.Option(help='Above zero, what is flagged though it passes, or "none".')
    ] = None,
    pair: Pairs = None,
    pair_warn: Annotated[
        list[str] | None,
        typer.Option(help="OTHER=AMOUNT: owed to OTHER, what is flagged though it passes."),
    ] = None,
) -> None:
    """Set limits of a group's account; those that are not named stay as they are."""
    stops = dict(_pair(text, "--pair") for text in pair or [])
    warns = dict(_pair(text, "--pair-warn") for text in pair_warn or [])
    with operator_engine() as engine, transaction(engine) as session:
        account = accounts.account_in(session, group, union)
        others = {
            other: accounts.account_of(session, other, account.union_id)
            for other in {**stops, **warns}
        }
        # All at once and in the order of ids, as payments do, so that nobody waits in a circle.
        accounts.lock_accounts(session, [account.id, *(other.id for other in others.values())])
        changes = [
            accounts.set_limit(session, account, kind, _levels(account, kind, warn, stop))
            for kind, warn, stop in (
                (LimitKind.CREDIT, credit_warn, credit_limit),
                (LimitKind.SURPLUS, surplus_warn, surplus_limit),
            )
            if warn is not None or stop is not None
        ]
        changes += [
            accounts.set_pair(
                session,
                account,
                other,
                _levels(
                    _towards(session, account, other), LimitKind.PAIR, *_named(warns, stops, name)
                ),
            )
            for name, other in others.items()
        ]
        accounts.tell(session, OPERATOR, changes)
        print_json(account_view(session, account).model_dump())


def _pair(text: str, option: str) -> tuple[str, str]:
    other, equals, amount = text.partition("=")
    if not equals:
        raise InvalidError(option, "must be OTHER=AMOUNT")
    return other, amount


def _named(
    warns: dict[str, str], stops: dict[str, str], name: str
) -> tuple[str | None, str | None]:
    return warns.get(name), stops.get(name)


def _towards(session: Session, account: Account, other: Account) -> Position:
    found = session.get(Position, (account.id, other.id), populate_existing=True)
    return found or accounts.new_position(account.id, other.id)


def _levels(of: Account | Position, kind: LimitKind, warn: str | None, stop: str | None) -> Limit:
    """Read both levels: "none" lifts one, and without any word it stays as it is."""
    limit = accounts.limit_of(of, kind)
    if warn is not None:
        limit = replace(limit, warn=_level(warn, f"--{kind}-warn"))
    if stop is not None:
        option = "--pair" if kind is LimitKind.PAIR else f"--{kind}-limit"
        limit = replace(limit, stop=_level(stop, option))
    return limit


def _level(text: str, option: str) -> int | None:
    return None if text == "none" else limit_minor(text, option)


@app.command("freeze")
def freeze(
    group: GroupId,
    reason: Annotated[str, typer.Option(help="Why, for the group's own hub.")],
    union: InUnion = None,
) -> None:
    """Freeze an account: nothing new is made or accepted there until it is thawed."""
    with operator_engine() as engine, transaction(engine) as session:
        account = accounts.account_in(session, group, union)
        frozen = participation.freeze(session, group, reason, account.union_id)
        told = _told(frozen)
    print_json(told)


@app.command("thaw")
def thaw(group: GroupId, union: InUnion = None) -> None:
    """Open a frozen account again."""
    with operator_engine() as engine, transaction(engine) as session:
        account = accounts.account_in(session, group, union)
        told = _told(participation.thaw(session, group, account.union_id))
    print_json(told)


@app.command("close")
def close(group: GroupId, union: InUnion = None) -> None:
    """Close an account for good, or tell all that stands in the way and what to do about it."""
    with operator_engine() as engine, transaction(engine) as session:
        account = accounts.account_in(session, group, union)
        told = _told(participation.close(session, group, account.union_id))
    print_json(told)


def _told(account: Account) -> dict[str, str | None]:
    return {
        "group": account.name,
        "union": account.union_id,
        "state": account.state,
        "reason": account.state_reason,
    }
