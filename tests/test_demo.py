"""The whole main job, end to end, as `python -m demo --check` runs it."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

from demo.checks import Checks

REPOSITORY = Path(__file__).resolve().parent.parent
WITHIN_SECONDS = 120


def test_the_demo_does_the_whole_main_job() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["listings_found"] >= 3 * 40
    assert 0 < summary["seconds_to_searchable"] <= 2
    assert (summary["transfers_posted"], summary["transfers_refused"]) == (15, 2)
    assert summary["freed_by_round"] == 1
    units = ("obligations_before", "obligations_after", "cleared", "balances_sum")
    assert [Decimal(summary[key]) for key in units] == [24, 3, 21, 0]
    owed, cleared, share = (
        Decimal(summary[f"round_{key}"]) for key in ("obligations", "cleared", "cleared_share")
    )
    assert summary["round_groups"] == 60
    assert summary["round_released"] >= 1
    assert 0.3 < share == round(cleared / owed, 4) < 0.7


def test_one_wrong_check_makes_a_run_wrong() -> None:
    checks = Checks()
    checks.equal("as expected", 1, 1)
    assert checks.passed
    checks.at_most("too much", 2.1, 2)
    checks.equal("as expected again", 1, 1)
    assert not checks.passed
