"""What the bench of figures prints, of a few payments between a few groups."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from bench import network
from clearing.network.figures import FIGURES
from clearing.transfers import Transfer, TransferState
from commons.database import make_engine, reading

TRANSFERS = 300


def test_each_figure_is_measured_over_a_year_of_payments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"GROUPS": 30, "RUNS": 2}.items():
        monkeypatch.setattr(network, name, value)
    url = f"sqlite:///{tmp_path / 'network.sqlite'}"
    figures = list(network.measure_on(url, "s on SQLite", TRANSFERS))
    assert [one.figure for one in figures] == [f"network_{name}_s" for name in FIGURES]
    assert {(one.unit, one.runs) for one in figures} == {("s on SQLite", 2)}
    assert all(one.ours > 0 and one.peer and one.ratio for one in figures)
    engine = make_engine(url)
    with reading(engine) as session:
        states = select(Transfer.state, func.count().label("number")).group_by(Transfer.state)
        made = {row.state: row.number for row in session.execute(states)}
        groups = session.scalar(select(func.count(Transfer.payer_group.distinct())))
    engine.dispose()
    assert sum(made.values()) == TRANSFERS
    assert 0.9 * TRANSFERS < made[TransferState.POSTED] < TRANSFERS
    assert groups is not None
    assert 10 < groups <= 30
