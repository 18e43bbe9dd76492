"""A group's page of a round as a person takes it: a page that stands for itself, or a table."""

import base64
import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from io import StringIO
from typing import Final

from api.round_views import PageView, PairView
from api.routes.pages import render

HTML: Final = "text/html"
CSV: Final = "text/csv"
CSV_AS_SENT: Final = "text/csv; charset=utf-8; header=present"
_STEERING: Final = ("=", "+", "-", "@", "\t", "\r")

STYLE: Final = """\
:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #8884}
th:first-child,td:first-child{text-align:left}
td{font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
dl{display:grid;grid-template-columns:max-content auto;gap:.2rem 1rem}dd{margin:0}
svg{width:100%;height:auto}svg text{font-size:13px;fill:currentColor}
.kept{fill:#3b7ea1}.gone{fill:#3b7ea1;fill-opacity:.25}.axis{stroke:currentColor}
code{overflow-wrap:anywhere}
"""

_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""What the page may do: nothing but its own style, which it carries."""

WIDTH: Final = 800
_LABEL: Final = 200
_ROW: Final = 26
_BAR: Final = 16


@dataclass(frozen=True)
class Bar:
    """One counterparty in the picture: what lay between the two, and how much of it is left.

    Places and lengths in the picture's own units; `x` and `left_x` are the bars' left ends.
    """

    label: str
    y: int
    x: int
    length: int
    left_x: int
    left_length: int


def page_html(page: PageView) -> str:
    """Return the page: no script, no address of anything else, what is in it escaped."""
    context = {
        "page": page,
        "bars": _bars(page.pairs),
        "style": STYLE,
        "width": WIDTH,
        "height": _ROW * len(page.pairs) + _ROW,
        "axis": _axis(),
        "bar": _BAR,
    }
    return bytes(render("round.html", context).body).decode()


def _axis() -> int:
    return _LABEL + (WIDTH - _LABEL) // 2


def _bars(pairs: Sequence[PairView]) -> list[Bar]:
    """Draw what the group owes to the left of the axis, and what it is owed to the right."""
    owed = [(Decimal(one.before) + Decimal(one.released), Decimal(one.after)) for one in pairs]
    most = max((abs(amount) for both in owed for amount in both), default=Decimal(0)) or Decimal(1)
    half = (WIDTH - _LABEL) // 2
    bars = []
    for number, (pair, (then, after)) in enumerate(zip(pairs, owed, strict=True)):
        length, left = (int(abs(amount) * half / most) for amount in (then, after))
        bars.append(
            Bar(
                label=pair.counterparty,
                y=_ROW * number + _ROW // 2,
                x=_axis() - (length if then < 0 else 0),
                length=length,
                left_x=_axis() - (left if after < 0 else 0),
                left_length=left,
            )
        )
    return bars


COLUMNS: Final = (
    "kind",
    "counterparty",
    "before",
    "released",
    "set_off",
    "drawn",
    "after",
    "now",
    "least",
    "at_most",
    "disputed",
    "kept_back",
    "room_before",
    "room_after",
    "their_room_before",
    "their_room_after",
    "price",
    "transfer",
    "payer",
    "payee",
    "amount",
    "first",
    "proposed",
    "was_released",
)


def page_csv(page: PageView) -> str:
    """Return a header, a row `pair` for each counterparty, and one `payment` (RFC 4180).

    A text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    written = StringIO()
    writer = csv.DictWriter(written, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for pair in page.pairs:
        told = pair.model_dump()
        writer.writerow({"kind": "pair", **told, "counterparty": _harmless(pair.counterparty)})
    for payment in page.payments:
        told = payment.model_dump()
        told["was_released"] = told.pop("released")
        told |= {name: _harmless(told[name]) for name in ("payer", "payee")}
        told |= {name: str(told[name]).lower() for name in ("first", "proposed", "was_released")}
        writer.writerow({"kind": "payment", **told})
    return written.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_STEERING) else text
