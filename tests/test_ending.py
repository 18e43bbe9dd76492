"""A worker that is told to end does, whatever hangs."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from operating import WAIT_SECONDS, environment, running

from api.migrations import upgrade
from commons.settings import Settings

HANGS = """
import threading
from api.worker import end_soon

def hanging():
    threading.Event().wait()

threading.Thread(target=hanging).start()
end_soon(0.1)
"""

DIES = """
from api import commands, worker

worker.crawler_work.jobs = None
commands.app(["work"])
"""


def program(text: str, settings: Settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=2 * WAIT_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_worker_ends_well_when_it_is_told_to(
    number: signal.Signals, settings: Settings, tmp_path: Path
) -> None:
    upgrade(settings.effective_database_url)
    with running(settings, "work", tmp_path / "log") as worker:
        assert worker.says("Ctrl-C ends it")
        assert worker.process.poll() is None
        worker.process.send_signal(number)
        assert worker.process.wait(WAIT_SECONDS) == 0
    assert "Traceback" not in worker.said()


def test_a_process_in_which_a_thread_hangs_ends_and_says_where(settings: Settings) -> None:
    done = program(HANGS, settings)
    assert done.returncode == 1
    assert "in hanging" in done.stderr


def test_a_worker_that_dies_is_no_good_end(settings: Settings) -> None:
    upgrade(settings.effective_database_url)
    done = program(DIES, settings)
    assert done.returncode == 1
    assert "'NoneType' object is not callable" in done.stderr
