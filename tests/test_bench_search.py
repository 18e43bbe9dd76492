"""What the bench of the search prints of an index and one ten times as large."""

import pytest

from bench import search


def test_an_index_is_measured_beside_a_tenth_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("QUESTIONS", 3), ("RUNS", 1), ("WARMING", 2), ("TENFOLD_FROM", 2_000)):
        monkeypatch.setattr(search, name, value)
    figures = {figure.figure: figure for figure in search.measure(2_000, None)}
    assert {figure.peer_is for figure in figures.values()} == {search.TENTH}
    assert {
        "index_build_s_10m",
        "words_place_payment_p50_ms_10m",
        "words_place_payment_p99_ms_10m",
        "words_p95_ms_10m",
        "place_payment_p99_ms_10m",
        "typo_prefix_p99_ms_10m",
        "facets_p99_ms_10m",
    } <= figures.keys()
    assert all(figure.ratio and figure.ratio > 0 for figure in figures.values())
