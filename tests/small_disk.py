"""A file system so small that a test can fill it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BLOCK = 4096


class SmallDisk:
    """A file system of a few megabytes, and what fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, but_bytes: int = 0) -> None:
        room = os.statvfs(self.folder)
        blocks = (room.f_bavail * room.f_bsize - but_bytes) // BLOCK
        self._ballast.write_bytes(b"x" * BLOCK * blocks)

    def make_room(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a new file system on the folder; the test is skipped where that is not permitted."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("a small file system may not be mounted here")
    try:
        yield SmallDisk(folder)
    finally:
        unmount = ["umount", "--lazy", str(folder)]
        subprocess.run(unmount, check=True)
