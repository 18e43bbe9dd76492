"""Saying at start what is wrong with the index, while everything else goes on."""

import threading
from typing import Final

import structlog

from commons.errors import UnavailableError
from marketplace.index import Build, Index

REMEDY: Final = "localpay reindex"

_log = structlog.get_logger(__name__)


def start_check(index: Index) -> threading.Thread:
    """Look through the index in a thread of its own, since that reads every byte of it.

    To be joined before the index is closed.
    """
    thread = threading.Thread(target=check, args=(index,), name="index check", daemon=True)
    thread.start()
    return thread


def check(index: Index) -> None:
    """Log in one line each what is wrong with the index in use."""
    try:
        builds = index.builds()
    except UnavailableError as error:
        _log.warning("the index cannot be looked at", reason=error.detail)
        return
    for build in builds:
        if build.in_use and build.broken:
            _log.error(sentence_on(build))


def sentence_on(build: Build) -> str:
    """Say what is wrong with a broken build, and how it is made good."""
    return (
        f"the index {build.place} is damaged ({build.broken}): searches answer 503 until "
        f"`{REMEDY}` has built it anew; everything else goes on"
    )
