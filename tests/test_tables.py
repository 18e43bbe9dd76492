"""Tables for operators: nothing is cut, times are to the second, and pipes get plain lines."""

from datetime import datetime, timedelta, timezone

import pytest

from api.terminal import print_table

ADDRESS = "https://hub.example/groups/barcelona/" + "0123456789" * 9
AT = datetime(2026, 5, 2, 12, 0, 7, 123456, timezone(timedelta(hours=2)))


def test_a_pipe_gets_one_whole_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["group", "at", "address"], [[None, AT, ADDRESS], ["a\tb\nc\x1b[2J", AT, "x"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "group\tat\taddress",
        f"\t2026-05-02 10:00:07Z\t{ADDRESS}",
        "a b c [2J\t2026-05-02 10:00:07Z\tx",
    ]


def test_a_narrow_terminal_wraps_and_cuts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "40")
    print_table(["address"], [[ADDRESS]])
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert ADDRESS in "".join(shown.split())
