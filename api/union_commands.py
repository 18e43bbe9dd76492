"""`localpay union`: sets of groups that clear together, and who takes part in them."""

import re
from typing import Annotated, Any, Final

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.hub_commands import AsJson, GroupId, limit_minor
from api.routes.accounts import account_view
from api.terminal import operator_engine, print_json, print_table
from clearing import accounts, participation
from clearing.accounts import Account, AccountKind, Union
from clearing.rounds import scheduling
from commons import audit_log
from commons.database import reading, transaction
from commons.errors import ConflictError, InvalidError, NotFoundError
from commons.groups import GROUP_ID_PATTERN, Hub, HubState
from commons.money import CLEARING_SCALE, format_amount

_SECONDS_AN_HOUR: Final = 3_600

app: Final = typer.Typer(help="Unions: sets of groups that clear together.")

UnionId = Annotated[str, typer.Argument(metavar="UNION", help="The union's id.")]
Credit = Annotated[
    str | None,
    typer.Option("--credit-limit", help="How far a new group may go below zero, clearing units."),
]
Surplus = Annotated[
    str | None,
    typer.Option("--surplus-limit", help="How far a new group may go above zero, clearing units."),
]


@app.command("create")
def create(union: UnionId, credit_limit: Credit = None, surplus_limit: Surplus = None) -> None:
    """Make a union, with the limits that a new group starts with."""
    if not re.fullmatch(GROUP_ID_PATTERN, union):
        raise InvalidError("union", "may have small letters, digits and hyphens, 40 at most")
    with operator_engine() as engine, transaction(engine) as session:
        if session.get(Union, union) is not None:
            raise ConflictError(f"there is a union {union!r} already")
        made = accounts.make_union(session, union)
        _set_defaults(made, credit_limit, surplus_limit)
        told = _view(session, made)
        _record(session, "union-created", made)
    print_json(told)


@app.command("list")
def list_unions(*, json: AsJson = False) -> None:
    """List the unions, how many groups take part, the limits of new ones, when rounds are held."""
    with operator_engine() as engine, reading(engine) as session:
        found = [_view(session, one) for one in session.scalars(select(Union).order_by(Union.id))]
    if json:
        print_json({"unions": found})
        return
    rows = [
        [
            one["id"],
            len(one["groups"]),
            one["credit_default"],
            one["surplus_default"],
            one["rounds"]["schedule"],
            one["rounds"]["next"],
        ]
        for one in found
    ]
    heads = ["union", "groups", "credit default", "surplus default", "rounds", "next round"]
    print_table(heads, rows)


@app.command("show")
def show(union: UnionId) -> None:
    """Show a union as JSON: its groups, their first limits, its accounts' balances, its rounds."""
    with operator_engine() as engine, reading(engine) as session:
        print_json(_view(session, accounts.union_of(session, union)))


@app.command("defaults")
def defaults(union: UnionId, credit_limit: Credit = None, surplus_limit: Surplus = None) -> None:
    """Set the limits that a new group starts with; those that are not named stay as they are."""
    with operator_engine() as engine, transaction(engine) as session:
        found = accounts.union_of(session, union)
        _set_defaults(found, credit_limit, surplus_limit)
        told = _view(session, found)
        _record(session, "union-defaults-changed", found)
    print_json(told)


@app.command("join")
def join(
    union: UnionId, group: GroupId, credit_limit: Credit = None, surplus_limit: Surplus = None
) -> None:
    """Have an admitted group take part in a union: open its account there."""
    credit, surplus = _minor(credit_limit, "credit_limit"), _minor(surplus_limit, "surplus_limit")
    with operator_engine() as engine, transaction(engine) as session:
        hub = session.get(Hub, group)
        if hub is None:
            raise NotFoundError(f"there is no hub of a group {group!r}")
        if hub.state is not HubState.ADMITTED:
            raise ConflictError(f"the hub of {group!r} is {hub.state}, not admitted")
        accounts.union_of(session, union)
        if accounts.find_account(session, group, union) is not None:
            raise ConflictError(f"group {group!r} has an account in union {union!r}")
        opened = participation.join(session, group, union, credit, surplus)
        told = account_view(session, opened).model_dump()
    print_json(told)


@app.command("rounds")
def rounds(
    union: UnionId,
    schedule: Annotated[
        str | None,
        typer.Option(metavar="CRON", help='When, in UTC, such as "0 6 * * 1": Mondays at six.'),
    ] = None,
    *,
    no_schedule: Annotated[
        bool, typer.Option("--no-schedule", help="Only by command from now on.")
    ] = False,
    notice: Annotated[
        int | None, typer.Option(metavar="HOURS", help="How long groups may opt out of one.")
    ] = None,
    credit_lines: Annotated[
        bool | None,
        typer.Option(
            "--credit-lines/--no-credit-lines",
            help="Whether rounds may use what pair limits leave free.",
        ),
    ] = None,
) -> None:
    """Set when a union's rounds are held and how; what is not named stays as it is."""
    if no_schedule and schedule is not None:
        raise InvalidError("--schedule", "give either this or --no-schedule")
    with operator_engine() as engine, transaction(engine) as session:
        found = accounts.union_of(session, union)
        if no_schedule or schedule is not None:
            scheduling.set_schedule(session, found, schedule)
        if notice is not None:
            scheduling.set_notice(found, notice * _SECONDS_AN_HOUR)
        if credit_lines is not None:
            found.credit_lines = credit_lines
        told = _view(session, found)
        session.flush()
        data = {name: _word(value) for name, value in told["rounds"].items()}
        audit_log.record(session, "operator", "union-rounds-changed", found.id, data)
    print_json(told)


def _word(value: object) -> str:
    """Return a setting as the audit log holds it, which holds texts alone."""
    return "none" if value is None else str(value)


def _minor(text: str | None, field: str) -> int | None:
    return None if text is None else limit_minor(text, field)


def _set_defaults(union: Union, credit: str | None, surplus: str | None) -> None:
    if credit is not None:
        union.credit_default = limit_minor(credit, "credit_limit")
    if surplus is not None:
        union.surplus_default = limit_minor(surplus, "surplus_limit")


def _view(session: Session, union: Union) -> dict[str, Any]:
    credit, surplus = _defaults(union)
    rows = session.scalars(select(Account).filter_by(union_id=union.id).order_by(Account.name))
    found = list(rows)
    return {
        "id": union.id,
        "credit_default": credit,
        "surplus_default": surplus,
        "groups": [one.name for one in found if one.kind is AccountKind.GROUP],
        "own_accounts": {
            one.name: format_amount(one.balance, CLEARING_SCALE)
            for one in found
            if one.group_id is None
        },
        "rounds": {
            "schedule": union.round_schedule,
            "next": union.round_at,
            "notice_seconds": union.round_notice_seconds,
            "credit_lines": union.credit_lines,
        },
    }


def _defaults(union: Union) -> tuple[str, str]:
    credit, surplus = union.starting_limits()
    return format_amount(credit, CLEARING_SCALE), format_amount(surplus, CLEARING_SCALE)


def _record(session: Session, action: str, union: Union) -> None:
    """Write what an operator did to the audit log; last of all."""
    session.flush()
    credit, surplus = _defaults(union)
    data = {"credit_default": credit, "surplus_default": surplus}
    audit_log.record(session, "operator", action, union.id, data)
