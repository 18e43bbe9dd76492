"""What was acknowledged outlives kill -9, and the harness that says so can find a loss."""

from dataclasses import replace

import pytest

from bench import crash, soak


def test_nothing_acknowledged_is_lost_by_killing_the_service_or_the_database() -> None:
    *rounds, total = crash.measure(2)
    assert {(one.database, one.killed) for one in rounds} == {
        ("postgresql", "postgresql"),
        ("postgresql", "service"),
        ("sqlite", "service"),
    }
    assert all(one.acknowledged for one in rounds)
    assert (total.missing, total.over_limit, total.sum, total.unsound) == (0, 0, 0, 0)


def test_a_database_that_forgets_what_it_confirmed_is_found_out() -> None:
    *_, total = crash.measure(1, prove=True)
    assert total.missing > 0


def test_what_was_found_is_how_it_ends() -> None:
    sound = crash.Crash(1, "all", "all", acknowledged=9)
    lost = replace(sound, missing=1)
    crash.judge(sound, prove=False)
    crash.judge(lost, prove=True)
    with pytest.raises(SystemExit, match="proves nothing"):
        crash.judge(sound, prove=True)
    for wrong in (lost, replace(sound, sum=1), replace(sound, over_limit=1)):
        with pytest.raises(SystemExit, match="the books are wrong"):
            crash.judge(wrong, prove=False)


def test_many_clients_at_few_accounts_get_no_error_and_end_each_transfer_once() -> None:
    (soaked,) = soak.measure(400, races=100)
    assert soaked.answers >= 400
    assert soaked.races == 100
    wrong = (soaked.failed, soaked.missing, soaked.over_limit, soaked.unsound, soaked.sum)
    assert (*wrong, soaked.ended_twice_or_never) == (0, 0, 0, 0, 0, 0)
