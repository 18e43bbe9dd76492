# ruff: noqa: E501 (rows of tables are one line each)
"""The page of the figures, from what the registry says of each: `python` this file writes it."""

import sys
import textwrap
from typing import Final

from clearing.network.figures import FIGURES, PARAMETERS, Figure, Span

_WIDTH: Final = 100
_INTRODUCTION: Final = """\
# Figures of the network

For analysts and operators: what groups owe each other, how near they are to their limits, what
rounds cleared, who trades with whom. Groups are in it and never their members. Each figure is a
table with totals, over one snapshot of the database, so that all that stands in one answer agrees.

## Asking

    GET /network/balances?at=2026-11-01&by=region
    Authorization: Bearer 4f1d….…

with the token of an analyst or operator (`localpay token create analyst NAME`); a token of one
union sees that union alone. `GET /network` lists the figures with formula, unit and source. The
operator asks by `localpay network NAME` (`localpay network list` lists them), with the same words:

    localpay network balances --at 2026-11-01 --by region --format csv

| parameter | what |
|---|---|
| `union` | the union's id; else all that the token opens |
| `at` | right before which moment: a date, which begins in UTC, or a moment with its zone; else now |
| `from`, `to` | the period, `to` no longer in it; else the last twelve whole months (UTC). Figures of payments by group or region, and `trade` and `failures` always, take whole months that are over alone; `volume` and `velocity` by union whole days |
| `by` | what a row is about: `group`, `region` or `union`; each figure says what it knows: `velocity` is of unions alone; `reciprocity`, `concentration` and `cycles` know no `union` |
| `every` | how long a step of a series is: `day`, `week` (from Monday) or `month`; else `month`; at most 1,000 steps. `volume` by group or region takes `month` alone |
| `format` | `json`, `csv`, `parquet` or `html`; else as the `Accept` header says |

Nothing may lie in the future. An answer is of all that was posted before its end: whoever posts
just then is waited for. So what is told of a moment once is told the same ever after, also when
payments, limits and rounds have come since; but for regions, where a group has moved, and for what
the erasure of members makes too small to be told. A group's region is that of the town nearest to the
place it says it is at, as it says now: the country by ISO 3166, for some with its part (`GB,
England`), `unknown` where it says of none.

| form | `Accept` | what comes |
|---|---|---|
| `json` | `application/json`, or nothing | what was asked, columns with unit and meaning, rows by the names of the columns, totals; decimals and moments as strings |
| `csv` | `text/csv` | a header and the rows; empty where there is nothing; texts that a spreadsheet would take for a formula are led by an apostrophe |
| `parquet` | `application/vnd.apache.parquet` | typed columns, units and meanings beside them, the rest as JSON in the file's metadata under `localpay`; wants `localpay[parquet]` |
| `html` | `text/html` | a page to look at: the table, and a picture of it, lines for series and bars else |

    {"figure": "balances", "union": "main", "at": "2026-11-01T00:00:00.000000Z", "by": "union",
     "totals": {"accounts": 3, "sum": "0.0000", "net_internal_debt": "30.0000"}, "withheld": 0,
     "columns": [{"name": "union", "unit": "id", "meaning": "The union."}],
     "rows": [{"union": "main", "accounts": 3, "balance": "0.0000", "owed": "30.0000"}]}

(shortened). `null`, and an empty cell, is what there is none of, or what is withheld; `withheld`
counts the latter. What is withheld so that nobody's single payments can be told, and why some
figures take whole months only, stands in [decision 36](decisions/0036-what-analysts-are-not-shown.md).
Stocks (balances, positions, limits, the obligations of cycles) and rounds withhold nothing: what a
group's account stands at is told to the bearers of tokens anyway. How many queued payments a round
released and what they come to, be it a single one, stands in its public certificate, which anybody
may read; and what groups owed in it has these payments in it.

The service keeps no copy of an answer and asks nobody to (`Cache-Control: private, no-store`).
"""
_QUERIES: Final = {
    Span.MOMENT: {"at": "2026-11-01"},
    Span.PERIOD: {"from": "2026-01-01", "to": "2026-11-01"},
    Span.SERIES: {"from": "2026-01-01", "to": "2026-11-01", "every": "month"},
}


def figures_page() -> str:
    """Return docs/network.md."""
    return "\n".join([_INTRODUCTION, *map(_section, FIGURES.values())])


def _section(figure: Figure) -> str:
    grains = ", ".join(f"`{grain}`" for grain in figure.grains)
    takes = ", ".join(f"`{name}`" for name in PARAMETERS[figure.span])
    query = {**_QUERIES[figure.span], "by": str(figure.grains[0])}
    address = "&".join(f"{name}={value}" for name, value in query.items())
    words = " ".join(f"--{name} {value}" for name, value in query.items())
    paragraphs = (
        f"{figure.title}. By {grains}; takes {takes}.",
        *(f"**{part}:** {figure.told(part)}" for part in ("Formula", "Unit", "Source")),
    )
    wrapped = (_wrapped(paragraph) for paragraph in paragraphs)
    return (
        f"## {figure.name}\n\n" + "\n\n".join(wrapped) + "\n\n"
        f"    GET /network/{figure.name}?{address}\n    localpay network {figure.name} {words}\n"
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.stdout.write(figures_page())
