"""The operator's commands for what is posted beside payments: adjustments, levies, periods."""

from datetime import date
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import typer

from api.hub_commands import AsJson
from api.routes.unions import period_views, union_view
from api.terminal import operator_engine, print_json, print_table
from clearing import adjustments, disputes, levies, periods
from clearing.accounts import DEFAULT_UNION
from clearing.adjustments import AdjustmentKind, AdjustmentState, Move, Proposal, Verb
from clearing.disputes import DisputeState
from clearing.periods import Return
from commons.database import reading, transaction
from commons.errors import InvalidError
from commons.money import CLEARING_SCALE, format_amount, parse_rate

adjustments_app: Final = typer.Typer(
    help="What groups owe each other, changed besides payments: settled outside, assigned, opened."
)
disputes_app: Final = typer.Typer(help="What hubs dispute of what is owed; rounds leave it alone.")
periods_app: Final = typer.Typer(help="Days that are closed, so that nothing is dated into them.")

OPERATOR: Final = "operator"

AdjustmentId = Annotated[UUID, typer.Argument(metavar="ID", help="The adjustment's id.")]
UnionId = Annotated[str, typer.Argument(metavar="UNION", help="The union's id.")]
InUnion = Annotated[str, typer.Option(help="The union.")]


def register(app: typer.Typer, union_app: typer.Typer) -> None:
    """Add these commands to the command line, a union's levy to its other commands."""
    app.add_typer(adjustments_app, name="adjustment")
    app.add_typer(disputes_app, name="dispute")
    app.add_typer(periods_app, name="period")
    union_app.command("levy")(levy)


@adjustments_app.command("open", context_settings={"ignore_unknown_options": True})  # as in -5
def open_position(  # noqa: PLR0913 (an opening position has that much to say)
    debtor: Annotated[str, typer.Argument(help="The group that owes.")],
    creditor: Annotated[str, typer.Argument(help="The group that is owed.")],
    amount: Annotated[str, typer.Argument(help="How much, in clearing units.")],
    *,
    union: InUnion = DEFAULT_UNION,
    day: Annotated[
        str | None, typer.Option("--date", help="The day it counts for, such as 2026-01-31.")
    ] = None,
    note: Annotated[str, typer.Option(help="What it is; no member's name.")] = "",
) -> None:
    """Open a position: posted at once while both accounts have openings alone.

    Afterwards it is proposed, and both hubs have to agree; `waits_for` tells who has to yet.
    """
    if amount.startswith("-"):
        raise InvalidError("amount", "must be more than zero; who owes is named first")
    call = Proposal(
        id=uuid4(),
        caller=None,
        kind=AdjustmentKind.OPENING,
        debtor=debtor,
        creditor=creditor,
        amount=amount,
        union=union,
        value_date=None if day is None else _day(day, "--date"),
        note=note,
    )
    with operator_engine() as engine, transaction(engine) as session:
        found, _ = adjustments.propose(session, call)
    print_json(vars(found))


@adjustments_app.command("list")
def list_adjustments(
    group: Annotated[str | None, typer.Option(help="Only those of this group.")] = None,
    state: Annotated[AdjustmentState | None, typer.Option(help="Only in this state.")] = None,
    *,
    json: AsJson = False,
) -> None:
    """List adjustments, newest first."""
    with operator_engine() as engine, reading(engine) as session:
        found = adjustments.search(session, group, state)
    if json:
        print_json({"adjustments": [vars(one) for one in found]})
        return
    columns = ("id", "kind", "state", "union", "debtor", "creditor", "amount", "created_at")
    rows = [[*(getattr(one, name) for name in columns), ", ".join(one.waits_for)] for one in found]
    print_table([*columns, "waits for"], rows)


@adjustments_app.command("show")
def show_adjustment(adjustment: AdjustmentId) -> None:
    """Show an adjustment as JSON."""
    with operator_engine() as engine, reading(engine) as session:
        print_json(vars(adjustments.find(session, adjustment)))


@adjustments_app.command("agree")
def agree(adjustment: AdjustmentId) -> None:
    """Agree for the union where its own account is a side: what was settled outside with it."""
    _move(adjustment, Verb.AGREE)


@adjustments_app.command("decline")
def decline(adjustment: AdjustmentId) -> None:
    """Decline for the union where its own account is a side."""
    _move(adjustment, Verb.DECLINE)


@adjustments_app.command("cancel")
def cancel(adjustment: AdjustmentId) -> None:
    """Cancel what the operator proposed."""
    _move(adjustment, Verb.CANCEL)


@adjustments_app.command("erase")
def erase_note(adjustment: AdjustmentId) -> None:
    """Erase an adjustment's note; the chains stay checkable."""
    with operator_engine() as engine, transaction(engine) as session:
        adjustments.erase_note(session, adjustment)
        found = adjustments.find(session, adjustment)
    print_json(vars(found))


def _move(adjustment_id: UUID, verb: Verb) -> None:
    with operator_engine() as engine, transaction(engine) as session:
        found = adjustments.move(session, Move(adjustment_id, None, verb))
    print_json(vars(found))


@disputes_app.command("list")
def list_disputes(
    group: Annotated[str | None, typer.Option(help="Only those of this group.")] = None,
    state: Annotated[DisputeState | None, typer.Option(help="Only in this state.")] = None,
    *,
    json: AsJson = False,
) -> None:
    """List disputes, newest first."""
    with operator_engine() as engine, reading(engine) as session:
        found = disputes.search(session, group, state)
    if json:
        print_json({"disputes": [vars(one) for one in found]})
        return
    columns = ("id", "state", "union", "debtor", "creditor", "amount", "marked_by", "marked_at")
    print_table(
        [*columns, "reason"], [[getattr(one, c) for c in (*columns, "reason")] for one in found]
    )


@disputes_app.command("lift")
def lift(dispute: Annotated[UUID, typer.Argument(metavar="ID", help="The dispute's id.")]) -> None:
    """Lift a dispute in its hub's place."""
    with operator_engine() as engine, transaction(engine) as session:
        found = disputes.lift(session, dispute, None)
    print_json(vars(found))


@disputes_app.command("erase")
def erase_reason(
    dispute: Annotated[UUID, typer.Argument(metavar="ID", help="The dispute's id.")],
) -> None:
    """Erase a dispute's reason; the dispute stays as it is."""
    with operator_engine() as engine, transaction(engine) as session:
        found = disputes.erase_reason(session, dispute)
    print_json(vars(found))


@periods_app.command("close")
def close_period(
    union: UnionId,
    until: Annotated[str, typer.Option(help="The last day, such as 2026-10-31; it must be over.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")
    ] = False,
) -> None:
    """Close a union's books up to a day and give every group its residue back."""
    day = _day(until, "--until")
    with operator_engine() as engine:
        if dry_run:
            with reading(engine) as session:
                done = _told(periods.preview(session, union, day))
        else:
            with transaction(engine) as session:
                done = _told(periods.close(session, union, day, OPERATOR))
    print_json({"union": union, "until": day, "dry_run": dry_run, **done})


def _told(returns: list[Return]) -> dict[str, Any]:
    told = [
        (
            back.fits,
            {"group": back.group.name, "residue": format_amount(back.amount, CLEARING_SCALE)},
        )
        for back in returns
        if back.moves
    ]
    return {
        "returned": [one for fits, one in told if fits],
        "left_for_want_of_room": [one for fits, one in told if not fits],
    }


@periods_app.command("list")
def list_periods(
    union: Annotated[str | None, typer.Option(help="Only those of this union.")] = None,
    *,
    json: AsJson = False,
) -> None:
    """List the days up to which books were closed, newest first."""
    with operator_engine() as engine, reading(engine) as session:
        found = period_views(session, union)
    if json:
        print_json({"periods": [one.model_dump() for one in found]})
        return
    print_table(["union", "until", "closed at"], [[o.union, o.until, o.closed_at] for o in found])


def levy(
    union: UnionId,
    share: Annotated[
        str,
        typer.Argument(
            metavar="SHARE", help='What part of each payment the union takes, "1/100", or "none".'
        ),
    ],
) -> None:
    """Set what share of each payment the payer's group owes the union; in a quarter of an hour."""
    rule = None if share == levies.NONE else parse_rate(share, "SHARE", "1/100")
    with operator_engine() as engine:
        with transaction(engine) as session:
            levies.set_rule(session, union, rule, OPERATOR)
        with reading(engine) as session:
            print_json(union_view(session, union).model_dump())


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidError(option, "must be a day such as 2026-10-31") from error
