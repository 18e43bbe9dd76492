"""A figure as a page for people: its table, and a picture where there are numbers to compare."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from html import escape
from itertools import islice
from typing import Final

from clearing import chain
from clearing.network import Answer
from clearing.network.answers import Cell
from clearing.network.figures import FIGURES

MOST_BARS: Final = 40
MOST_LINES: Final = 8
MOST_ROWS: Final = 2_000

_WIDTH, _LABEL, _BAR, _HEIGHT, _MARGIN = 720, 220, 18, 260, 40
_COLOURS: Final = (
    "#1b6ca8", "#b5541c", "#2e7d32", "#7b3fa0", "#a8741b", "#00838f", "#c2185b", "#546e7a",
)  # fmt: skip
_NUMBERS: Final = (int, Decimal)


@dataclass(frozen=True)
class _Point:
    """A number of a row, whose it is, and when."""

    name: str
    at: datetime | None
    value: Decimal


def page(answer: Answer) -> str:
    """Return a page that needs nothing else: no script, no style, no picture from elsewhere."""
    title = escape(FIGURES[answer.figure].title)
    told = "".join(f"<p>{escape(line)}</p>" for line in _told(answer))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        '<meta name="color-scheme" content="light dark"/>'
        f"<title>{title}</title></head><body><main><h1>{title}</h1>{told}"
        f"{picture(answer)}{''.join(_table(answer))}{''.join(_totals(answer))}</main></body></html>\n"
    )


def _told(answer: Answer) -> Iterator[str]:
    figure = FIGURES[answer.figure]
    yield f"Union: {answer.asked.union_id or 'all'}. Until {_text(answer.asked.end)}."
    yield f"Formula: {figure.told('Formula')}"
    if answer.withheld:
        yield f"{answer.withheld} cells are withheld, so that nobody's single payments show."
    if len(answer.rows) > MOST_ROWS:
        yield f"The first {MOST_ROWS} of {len(answer.rows)} rows; the other forms have all."


def picture(answer: Answer) -> str:
    """Return lines over time, or else bars, as SVG; nothing where there is nothing to compare."""
    points = _points(answer)
    if not points:
        return ""
    moments = {point.at for point in points}
    return _lines(points) if len(moments) > 1 else _bars(points)


def _points(answer: Answer) -> list[_Point]:
    """Return the numbers of the column that is drawn, the others of a row being its name."""
    names = [column.name for column in answer.columns]
    wanted = [name for name in FIGURES[answer.figure].drawn if name in names]
    if not wanted:
        return []
    drawn = names.index(wanted[0])
    found = []
    for row in answer.rows:
        value = row[drawn]
        if isinstance(value, _NUMBERS) and not isinstance(value, bool):
            at = next((cell for cell in row if isinstance(cell, datetime)), None)
            words = (cell for cell in row[:drawn] if isinstance(cell, str))
            found.append(_Point(" ".join(words), at, Decimal(value)))
    return found


def _bars(points: Sequence[_Point]) -> str:
    """Draw the largest numbers, either way from a common zero."""
    shown = sorted(points, key=lambda point: -abs(point.value))[:MOST_BARS]
    low = min(Decimal(0), *(point.value for point in shown))
    high = max(Decimal(0), *(point.value for point in shown))
    room, span = Decimal(_WIDTH - _LABEL - 110), (high - low) or Decimal(1)
    zero = _LABEL + room * -low / span
    parts = []
    for n, point in enumerate(shown):
        y, length = n * _BAR, room * abs(point.value) / span
        x = zero - length if point.value < 0 else zero
        parts.append(
            f'<text x="{_LABEL - 6}" y="{y + 13}" text-anchor="end">'
            f"{escape(point.name[:32])}</text>"
            f'<rect x="{x:.1f}" y="{y + 3}" width="{length:.1f}" height="{_BAR - 6}" '
            f'fill="{_COLOURS[0] if point.value >= 0 else _COLOURS[1]}"/>'
            f'<text x="{_WIDTH - 4}" y="{y + 13}" text-anchor="end">{point.value:f}</text>'
        )
    return _svg(len(shown) * _BAR + 4, "Bars of the largest numbers", parts)


def _lines(points: Sequence[_Point]) -> str:
    """Draw the series with the largest numbers, each from step to step."""
    series: dict[str, list[_Point]] = {}
    for point in points:
        series.setdefault(point.name, []).append(point)
    largest = sorted(series, key=lambda name: -max(abs(one.value) for one in series[name]))
    moments = sorted({point.at for point in points if point.at})
    place = {moment: n for n, moment in enumerate(moments)}
    shown = list(islice(largest, MOST_LINES))
    values = [one.value for name in shown for one in series[name]]
    low, high = min(Decimal(0), *values), max(Decimal(0), *values)
    across = Decimal(_WIDTH - 2 * _MARGIN) / max(1, len(moments) - 1)
    up = Decimal(_HEIGHT - 2 * _MARGIN) / ((high - low) or 1)
    bottom, parts = _HEIGHT - _MARGIN, [_axis(low, high, moments)]
    for n, name in enumerate(shown):
        colour = _COLOURS[n % len(_COLOURS)]
        path = " ".join(
            f"{_MARGIN + across * place[one.at]:.1f},{bottom - up * (one.value - low):.1f}"
            for one in series[name]
            if one.at
        )
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = _HEIGHT + n * _BAR
        parts.append(
            f'<rect x="{_MARGIN}" y="{y + 3}" width="12" height="12" fill="{colour}"/>'
            f'<text x="{_MARGIN + 18}" y="{y + 13}">{escape(name)}</text>'
        )
    return _svg(_HEIGHT + len(shown) * _BAR + 4, "Lines over time", parts)


def _axis(low: Decimal, high: Decimal, moments: Sequence[datetime]) -> str:
    bottom = _HEIGHT - _MARGIN
    return (
        f'<path d="M{_MARGIN} {_MARGIN}V{bottom}H{_WIDTH - _MARGIN}" fill="none" stroke="#777"/>'
        f'<text x="{_MARGIN}" y="{_MARGIN - 6}">{high:f}</text>'
        f'<text x="{_MARGIN}" y="{bottom - 4}">{low:f}</text>'
        f'<text x="{_MARGIN}" y="{bottom + 16}">{_text(moments[0])}</text>'
        f'<text x="{_WIDTH - _MARGIN}" y="{bottom + 16}" text-anchor="end">'
        f"{_text(moments[-1])}</text>"
    )


def _svg(height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{label}" font-size="12" font-family="sans-serif" fill="currentColor" '
        f'width="{_WIDTH}">{"".join(parts)}</svg>'
    )


def _table(answer: Answer) -> Iterator[str]:
    yield "<table><thead><tr>"
    for column in answer.columns:
        told = escape(f"{column.meaning} ({column.unit})")
        yield f'<th scope="col" title="{told}">{escape(column.name)}</th>'
    yield "</tr></thead><tbody>"
    for row in answer.rows[:MOST_ROWS]:
        cells = "".join(_cell(value) for value in row)
        yield f"<tr>{cells}</tr>"
    yield "</tbody></table>"


def _cell(value: Cell) -> str:
    text = escape(_text(value))
    return f'<td align="right">{text}</td>' if isinstance(value, _NUMBERS) else f"<td>{text}</td>"


def _totals(answer: Answer) -> Iterator[str]:
    if answer.totals:
        yield "<h2>Totals</h2><dl>"
        for name, value in answer.totals.items():
            yield f"<dt>{escape(name)}</dt><dd>{escape(_text(value))}</dd>"
        yield "</dl>"


def _text(value: Cell) -> str:
    if isinstance(value, datetime):
        midnight = not (value.hour or value.minute or value.second or value.microsecond)
        return f"{value:%Y-%m-%d}" if midnight else chain.time_text(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return "" if value is None else str(value)
