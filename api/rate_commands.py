"""`localpay rate`: what the currencies are worth, and how operator and hub change that."""

from typing import Annotated, Final
from uuid import UUID, uuid4

import typer
from sqlalchemy import select

from api.routes.rates import group_rates, proposal_view
from api.terminal import moment_of, operator_engine, print_json, print_table
from clearing import rate_proposals
from clearing.rate_proposals import Answer, ProposalState, RateSide, Reply, Wish
from clearing.rates import Rate
from commons.database import reading, transaction
from commons.money import parse_rate

_OPERATOR: Final = "operator"

app: Final = typer.Typer(help="The rates of the groups' currencies, and proposals of others.")

GroupId = Annotated[str, typer.Argument(metavar="GROUP", help="The group's short id.")]
ProposalId = Annotated[UUID, typer.Argument(metavar="ID", help="The proposal's id.")]


@app.command("list")
def list_rates(
    *, json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False
) -> None:
    """List what the currencies are worth, since when, and the proposals that are open."""
    with operator_engine() as engine, reading(engine) as session:
        ids = session.scalars(select(Rate.group_id).distinct().order_by(Rate.group_id)).all()
        found = group_rates(session, list(ids))
        proposals = [proposal_view(one) for one in rate_proposals.latest(session)]
    if json:
        groups = [one.model_dump() for one in found]
        print_json({"groups": groups, "proposals": [one.model_dump() for one in proposals]})
        return
    rows = [
        [of.group, of.currency, dated.rate, dated.valid_from, dated.known_from, ""]
        for of in found
        for dated in of.history
    ]
    rows += [
        [one.group, "", one.rate, one.wanted_from, "", f"{one.side} proposes {one.id}"]
        for one in proposals
        if one.state is ProposalState.PROPOSED
    ]
    print_table(["group", "currency", "rate", "valid from", "known from", "proposal"], rows)


@app.command("propose")
def propose(
    group: GroupId,
    rate: Annotated[
        str, typer.Argument(metavar="RATE", help='Clearing units per unit, such as "2/13".')
    ],
    valid_from: Annotated[
        str | None, typer.Option(help="When it is to apply, such as 2027-01-01T00:00:00Z.")
    ] = None,
) -> None:
    """Propose another rate for a group's currency, with which its hub has to agree."""
    wish = Wish(
        id=uuid4(),
        group_id=group,
        side=RateSide.OPERATOR,
        actor=_OPERATOR,
        rate=parse_rate(rate),
        wanted_from=None if valid_from is None else moment_of(valid_from, "--valid-from"),
    )
    with operator_engine() as engine, transaction(engine) as session:
        proposal, _ = rate_proposals.propose(session, wish)
        told = proposal_view(proposal)
    print_json(told.model_dump())


@app.command("agree")
def agree(proposal: ProposalId) -> None:
    """Agree with the rate that a hub proposed; it applies 16 minutes from now at the earliest."""
    _end(proposal, Answer.AGREE)


@app.command("decline")
def decline(proposal: ProposalId) -> None:
    """Decline the rate that a hub proposed."""
    _end(proposal, Answer.DECLINE)


@app.command("withdraw")
def withdraw(proposal: ProposalId) -> None:
    """Withdraw a rate that you proposed, while the hub has not answered."""
    _end(proposal, Answer.WITHDRAW)


def _end(proposal_id: UUID, answer: Answer) -> None:
    reply = Reply(answer, RateSide.OPERATOR, _OPERATOR)
    with operator_engine() as engine, transaction(engine) as session:
        told = proposal_view(rate_proposals.answer(session, proposal_id, reply))
    print_json(told.model_dump())
