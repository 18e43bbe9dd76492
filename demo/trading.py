"""The third part of the demo: sixty made-up groups trade, and a round clears among them.

Nobody's groups: they are made up by a program (`demo.trade`), admitted by the operator in a union
of their own, and have no hubs. Their payments go the way of all payments all the same, through
`clearing.calls` with all its limits, so that what is posted, refused or waits is what the ledger
decided; and the round among them is the operator's own command, as is the check of what proves it.
"""

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np
import orjson
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy.orm import Session

from clearing import acceptance, calls
from clearing.acceptance import ANY_GROUP, Rule
from clearing.accounts import set_limits, set_pair_limit
from clearing.calls import Create
from clearing.transfers import Party, TransferState, Unit
from commons.database import make_engine, transaction
from commons.money import CLEARING_SCALE, format_amount
from demo.checks import Checks, Summary
from demo.documents import Json
from demo.made_up import admit
from demo.service import Service
from demo.trade import Network, Payments, network, trade

UNION: Final = "demo-60"
GROUPS: Final = 60
TIES: Final = 150
PAYMENTS: Final = 1_200
SEED: Final = 6

_HOUR: Final = 10**CLEARING_SCALE
_LINE: Final = 80 * _HOUR
_PAIR: Final = 30 * _HOUR
_UP_TO: Final = 1_000 * _HOUR
_AT_ONCE: Final = 200
_WAITING_SHARE: Final = 0.1
_SHOWN: Final = 5


def trade_among_sixty(service: Service, console: Console) -> Counter[TransferState]:
    """Admit the made-up groups and have them trade; return how many payments ended in which state.

    On the running service's own database, in the transactions that its calls are.
    """
    among = network(SEED, GROUPS, TIES)
    made = trade(SEED, among, PAYMENTS)
    engine = make_engine(service.database_url)
    try:
        with transaction(engine) as session:
            groups = admit(session, UNION, among)
            _limit(session, groups, among)
        ended: Counter[TransferState] = Counter()
        creates = _creates(groups, made)
        batches = range(0, len(creates), _AT_ONCE)
        for first in track(batches, "  made-up payments", console=console, transient=True):
            with transaction(engine) as session:
                outcomes = calls.handle(session, creates[first : first + _AT_ONCE])
            ended.update(one.transfer.state for one in outcomes if one.transfer is not None)
        return ended
    finally:
        engine.dispose()


def _limit(session: Session, groups: Sequence[str], among: Network) -> None:
    """Set the limits of the groups and of who deals with whom; all accept what they are paid."""
    for group in groups:
        set_limits(session, group, _LINE, _LINE, UNION)
        acceptance.set_rules(session, group, [Rule(Party.PAYER, ANY_GROUP, _UP_TO)])
    for one, other in zip(among.one.tolist(), among.other.tolist(), strict=True):
        for debtor, creditor in ((one, other), (other, one)):
            set_pair_limit(session, groups[debtor], groups[creditor], _PAIR, UNION)


def _creates(groups: Sequence[str], made: Payments) -> list[Create]:
    waits = np.random.default_rng(SEED).random(len(made)) < _WAITING_SHARE
    rows = zip(
        made.payer.tolist(), made.payee.tolist(), made.amount.tolist(), waits.tolist(), strict=True
    )
    return [
        Create(
            id=uuid.uuid4(),
            caller=groups[payer],
            payer=f"{groups[payer]}/made-up",
            payee=f"{groups[payee]}/made-up",
            amount=format_amount(amount, CLEARING_SCALE),
            unit=Unit.CLEARING,
            union=UNION,
            wait=wait,
        )
        for payer, payee, amount, wait in rows
    ]


def clear_among_sixty(
    service: Service, folder: Path, checks: Checks, summary: Summary, console: Console
) -> None:
    """Have them trade, run a round, have what proves it checked, and read a figure of it."""
    ended = trade_among_sixty(service, console)
    told = ", ".join(f"{number} {state}" for state, number in sorted(ended.items()))
    console.print(f"  {GROUPS} made-up groups, {PAYMENTS} payments among them: {told}")
    checks.equal("made-up payments that were decided upon", ended.total(), PAYMENTS)
    said: Json = orjson.loads(service.command("settle", "--union", UNION, "--json"))
    _sum_up(said, checks, summary)
    _show(said, summary, console)
    _verify(service, folder, said["round"], checks, console)
    _read_figure(service, said, checks, console)


def _sum_up(said: Json, checks: Checks, summary: Summary) -> None:
    """Note what the round came to, and hold its rows against its totals."""
    before, after, cleared = (
        Decimal(said[key]) for key in ("obligations_before", "obligations_after", "cleared")
    )
    summary.round_groups, summary.round_released = GROUPS, said["released"]
    summary.round_obligations, summary.round_cleared = before, cleared
    summary.round_cleared_share = round(cleared / before, 4)
    rows = [(Decimal(row["set_off"]), Decimal(row["remaining"])) for row in said["set_offs"]]
    checks.equal("set-offs among sixty add up", sum(row[0] for row in rows), cleared)
    checks.equal("what is left among sixty adds up", sum(row[1] for row in rows), after)
    checks.equal("and is what was owed less what was cleared", after, before - cleared)
    groups = {row[side] for row in said["set_offs"] for side in ("debtor", "creditor")}
    checks.at_least("made-up groups in the round", len(groups), GROUPS * 9 // 10)


def _show(said: Json, summary: Summary, console: Console) -> None:
    """Print the round's totals and what it set off most of."""
    table = Table("debtor", "creditor", "owed", "set off", "left", title="The largest set-offs")
    largest = sorted(said["set_offs"], key=lambda row: -Decimal(row["set_off"]))
    for row in largest[:_SHOWN]:
        amounts = (row["obligation"], row["set_off"], row["remaining"])
        table.add_row(row["debtor"], row["creditor"], *amounts)
    console.print(
        table,
        f"  of {summary.round_obligations} owed, {summary.round_cleared} was set off: a share of "
        f"{summary.round_cleared_share}, {summary.round_released} waiting payments released",
    )


def _verify(
    service: Service, folder: Path, round_id: str, checks: Checks, console: Console
) -> None:
    """Check what proves the round from files alone, and that a row changed in it is found."""
    actor, whole, bent = (folder / name for name in ("actor.json", "round.json", "bent.json"))
    actor.write_bytes(orjson.dumps(service.get("/actor")))
    proof: Json = orjson.loads(service.command("round", "certificate", round_id, "--form", "full"))
    whole.write_bytes(orjson.dumps(proof))
    told = service.command("verify-round", str(whole), "--key", str(actor))
    console.print(*(f"  {line}" for line in told.strip().splitlines()), sep="\n", markup=False)
    checks.equal("the round is proven whole", "proven whole" in told, expected=True)
    row = next(row for row in proof["rows"] if Decimal(row["amount"]))
    row["amount"] = f"{Decimal(row['amount']) - Decimal('0.0001'):.4f}"
    bent.write_bytes(orjson.dumps(proof))
    status = service.exit_status("verify-round", str(bent), "--key", str(actor))
    checks.equal("a certificate with one row changed ends with", status, 1)


def _read_figure(service: Service, said: Json, checks: Checks, console: Console) -> None:
    """Read, as an analyst by a token, how much netting could have removed at most."""
    made = orjson.loads(service.command("token", "create", "analyst", "Demo", "--union", UNION))
    until = datetime.now(UTC)
    span = {"from": (until - timedelta(days=1)).isoformat(), "to": until.isoformat()}
    figure = service.get("/network/rounds", {"union": UNION, **span}, made["token"])
    (row,) = figure["rows"]
    checks.equal("cleared, as an analyst reads it", row["cleared"], said["cleared"])
    console.print(
        f"  an analyst reads: netting efficiency {row['netting_efficiency']}, cleared of what was "
        f"possible {row['of_possible']}"
    )
