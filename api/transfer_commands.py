"""`localpay transfer`: what groups pay each other, as the operator sees it and takes it back."""

from typing import Annotated, Final
from uuid import UUID, uuid4

import typer

from api.hub_commands import AsJson
from api.terminal import moment_of, operator_engine, print_json, print_table
from clearing import transfers
from clearing.calls import Reverse, handle
from clearing.transfers import TransferState, Wanted
from commons.database import reading, transaction

app: Final = typer.Typer(help="Payments between groups, without what members are called and say.")

MOST_AT_ONCE: Final = 500
OPERATOR: Final = "operator"

TransferId = Annotated[UUID, typer.Argument(metavar="ID", help="The transfer's id.")]


@app.command("list")
def list_transfers(  # noqa: PLR0913 (each is a question that may be asked)
    *,
    state: Annotated[TransferState | None, typer.Option(help="Only those in this state.")] = None,
    party: Annotated[str | None, typer.Option(help="Only those with this group.")] = None,
    made_from: Annotated[
        str | None, typer.Option("--from", help="Only those made at or after this moment.")
    ] = None,
    made_to: Annotated[
        str | None, typer.Option("--to", help="Only those made before this moment.")
    ] = None,
    union: Annotated[str | None, typer.Option(help="Only those through this union.")] = None,
    reverses: Annotated[
        UUID | None, typer.Option(help="Only what takes back this transfer.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=MOST_AT_ONCE)] = 50,
    cursor: Annotated[
        str | None, typer.Option(help="Where the page before ended, as it says in JSON.")
    ] = None,
    json: AsJson = False,
) -> None:
    """List transfers, newest first."""
    wanted = Wanted(
        states=() if state is None else (state,),
        counterparty=party,
        made_from=None if made_from is None else moment_of(made_from, "--from"),
        made_to=None if made_to is None else moment_of(made_to, "--to"),
        union=union,
        reverses=reverses,
    )
    with operator_engine() as engine, reading(engine) as session:
        found, more = transfers.search(session, None, wanted, limit, cursor)
    if json:
        print_json({"transfers": [vars(one) for one in found], "cursor": more})
        return
    rows = [
        [
            one.id,
            one.state,
            one.union,
            one.payer.partition("/")[0],
            one.payee.partition("/")[0],
            f"{one.payer_amount} {one.payer_currency}",
            f"{one.payee_amount} {one.payee_currency}",
            one.payer_clearing,
            one.reverses,
            one.created_at,
        ]
        for one in found
    ]
    print_table(
        ["id", "state", "union", "payer", "payee", "pays", "gets", "clearing", "reverses", "made"],
        rows,
    )


@app.command("show")
def show_transfer(transfer: TransferId) -> None:
    """Show a transfer as JSON."""
    with operator_engine() as engine, reading(engine) as session:
        print_json(vars(transfers.find(session, transfer, None)))


@app.command("reverse")
def reverse_transfer(
    transfer: TransferId,
    amount: Annotated[
        str | None, typer.Option(help="How much, in the payee's currency; the rest if left out.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, as both hubs are told; no member's name.")] = "",
) -> None:
    """Take a payment back, at once and whatever the limits; both hubs are told.

    A reversal that waits for one of them is cancelled.
    """
    call = Reverse(uuid4(), None, transfer, amount, reason, actor=OPERATOR)
    with operator_engine() as engine:
        with transaction(engine) as session:
            outcome = handle(session, [call])[0]
            if outcome.error is not None:
                raise outcome.error
        with reading(engine) as session:
            print_json(vars(transfers.find(session, call.id, None)))
