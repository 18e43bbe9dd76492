"""A measured figure, as one line of JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Protocol


class Told(Protocol):
    """What a bench found, as one line of JSON."""

    def as_json(self) -> str:
        """Return one line of JSON."""


@dataclass(frozen=True)
class Figure:
    """The median over runs of ours and of the peer's; `spread` is ours from least to most.

    `peer_is` says what the peer is; `ratio` is ours by the peer's. Both are None without a
    peer, the ratio where the peer's is 0 too.
    """

    figure: str
    ours: float
    peer: float | None
    ratio: float | None
    unit: str
    runs: int
    spread: tuple[float, float]
    peer_is: str

    def as_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))


def figure(
    name: str, unit: str, peer_is: str, ours: Sequence[float], peers: Sequence[float]
) -> Figure:
    """Return the figure of as many runs as there are values of ours; `peers` may be empty."""
    own = median(ours)
    peer = median(peers) if peers else None
    return Figure(
        figure=name,
        ours=_short(own),
        peer=None if peer is None else _short(peer),
        ratio=_short(own / peer) if peer else None,
        unit=unit,
        runs=len(ours),
        spread=(_short(min(ours)), _short(max(ours))),
        peer_is=peer_is,
    )


def _short(value: float) -> float:
    """Return a measured value in four digits, of which more would say nothing."""
    return float(f"{value:.4g}")
