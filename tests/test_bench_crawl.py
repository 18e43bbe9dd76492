"""What the bench of the crawler prints, of a few hubs and listings."""

import pytest

from bench import crawl


def test_the_crawler_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {
        "RUNS": 1,
        "HUBS": 2,
        "LISTINGS_A_HUB": 3,
        "PUSHING_HUBS": 2,
        "PUSHES_A_RUN": 4,
        "IDLE_PEERS": 3,
        "IDLE_SECONDS": 0.2,
        "SETTLE_SECONDS": 0.0,
        "MEMORY_HUBS": 2,
        "MEMORY_LISTINGS": 4,
        "SENT_AT_ONCE": 8,
    }
    for name, value in small.items():
        monkeypatch.setattr(crawl, name, value)
    parts = (crawl.backfill(None), crawl.inbox(None), crawl.idle(None), crawl.memory(20, None))
    figures = {figure.figure: figure for part in parts for figure in part}
    assert figures.keys() == {
        "backfill_listings_per_s",
        "backfill_peak_mb",
        "backfill_second_half_mb",
        "inbox_activities_per_s",
        "inbox_accepted_per_s",
        "idle_peers_core_share",
        "memory_growth_mb",
        "memory_end_mb",
    }
    assert figures["backfill_listings_per_s"].ratio
    assert figures["inbox_activities_per_s"].ratio
