"""`localpay account propose-limits` and `confirm-limits`: lines computed from what was traded."""

import csv
from pathlib import Path
from typing import Annotated, Final

import typer

from api.hub_commands import limit_minor
from api.terminal import operator_engine, print_json, print_table
from clearing import accounts, volumes
from clearing.accounts import DEFAULT_UNION, Limit
from clearing.volumes import Line, Proposal
from commons.database import reading, transaction
from commons.errors import InvalidError, MalformedError
from commons.money import CLEARING_SCALE, format_amount

_LEVELS: Final = ("credit_warn", "credit_limit", "surplus_warn", "surplus_limit")
COLUMNS: Final = (
    "union",
    "group",
    "received",
    "paid",
    *_LEVELS,
    *(f"new_{name}" for name in _LEVELS),
)


def register(app: typer.Typer) -> None:
    """Add these commands to those of `localpay account`."""
    app.command("propose-limits")(propose_limits)
    app.command("confirm-limits")(confirm_limits)


def propose_limits(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The CSV file to write.")],
    union: Annotated[str, typer.Option(help="The union's id.")] = DEFAULT_UNION,
) -> None:
    """Compute limits from the last twelve months' volume; write and print them, set nothing."""
    with operator_engine() as engine, reading(engine) as session:
        found = [(_row(union, one), one) for one in volumes.propose(session, union)]
    with file.open("x", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        writer.writerows(row for row, _ in found)
    headings = [name.replace("_", " ") for name in COLUMNS[1 : -len(_LEVELS)]]
    print_table(headings, [[*row[1:4], *_beside(proposal)] for row, proposal in found])
    typer.echo("each: what is set now → what is proposed, where that is another")


def confirm_limits(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What propose-limits wrote, as you left it.")
    ],
) -> None:
    """Set the limits of a file of propose-limits, unless one was changed since it was written."""
    union, proposals = _read(file)
    with operator_engine() as engine, transaction(engine) as session:
        changes = volumes.confirm(session, proposals, union)
        accounts.tell(session, "operator", changes)
        changed = len(changes)
    print_json({"union": union, "groups": len(proposals), "limits_changed": changed})


def _row(union: str, proposal: Proposal) -> list[str]:
    levels = [_text(one) for one in (*_levels(proposal.standing), *_levels(proposal.proposed))]
    volume = [format_amount(one, CLEARING_SCALE) for one in (proposal.received, proposal.paid)]
    return [union, proposal.group_id, *volume, *levels]


def _levels(line: Line) -> list[int | None]:
    return [level for limit in (line.credit, line.surplus) for level in (limit.warn, limit.stop)]


def _beside(proposal: Proposal) -> list[str]:
    """Return each level as it is and as it is proposed, and whether that is above or below."""
    both = zip(_levels(proposal.standing), _levels(proposal.proposed), strict=True)
    return [_change(now, proposed) for now, proposed in both]


def _change(now: int | None, proposed: int | None) -> str:
    if now == proposed:
        return _text(now)
    is_above = proposed is None or (now is not None and proposed > now)
    return f"{_text(now)} → {_text(proposed)} {'above' if is_above else 'below'}"


def _text(minor: int | None) -> str:
    return "none" if minor is None else format_amount(minor, CLEARING_SCALE)


def _read(file: Path) -> tuple[str, list[Proposal]]:
    """Return the union of a file and its proposals; the volumes in it are not asked about."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise MalformedError(f"{file} is no CSV file in UTF-8: {error}") from error
    if not rows or any(set(row) != set(COLUMNS) or None in row.values() for row in rows):
        raise MalformedError(
            f"{file} must have the columns {','.join(COLUMNS)}, and a line a group"
        )
    unions = {row["union"] for row in rows}
    if len(unions) > 1:
        raise InvalidError("union", "must be one in the whole file")
    return unions.pop(), [_proposal(row) for row in rows]


def _proposal(row: dict[str, str]) -> Proposal:
    return Proposal(row["group"], 0, 0, _line(row, ""), _line(row, "new_"))


def _line(row: dict[str, str], prefix: str) -> Line:
    credit, surplus = (
        Limit(*(_level(row, f"{prefix}{side}_{level}") for level in ("warn", "limit")))
        for side in ("credit", "surplus")
    )
    return Line(credit, surplus)


def _level(row: dict[str, str], column: str) -> int | None:
    text = row[column].strip()
    return None if text == "none" else limit_minor(text, f"{row['group']}: {column}")
