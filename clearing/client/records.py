"""What a hub's client keeps between its runs: heads that it was told, the service's key."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import orjson

Record = dict[str, str]


class Store(Protocol):
    """Where a client keeps its records; the hub's own database can be made one."""

    def read(self) -> list[Record]:
        """Return all records, oldest first."""

    def add(self, record: Record) -> None:
        """Add one record."""

    def replace(self, records: Sequence[Record]) -> None:
        """Put these records in the place of all others, at once or not at all."""


class MemoryStore:
    """Keeps nothing beyond this run; for tries and tests."""

    def __init__(self) -> None:
        self._records: list[Record] = []

    def read(self) -> list[Record]:
        """Return all records, oldest first."""
        return list(self._records)

    def add(self, record: Record) -> None:
        """Add one record."""
        self._records.append(record)

    def replace(self, records: Sequence[Record]) -> None:
        """Put these records in the place of all others."""
        self._records = list(records)


class FileStore:
    """Keeps records as lines of JSON in a file of one process; a check makes it short again.

    A last line that was cut off when the process ended is left out when it is read again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Record]:
        """Return all records, oldest first."""
        if not self._path.exists():
            return []
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            self._write(whole)
        return [orjson.loads(line) for line in whole.splitlines()]

    def add(self, record: Record) -> None:
        """Add one line; when this returns, it outlives a crash of the machine too."""
        is_new = not self._path.exists()
        with self._path.open("ab") as lines:
            lines.write(orjson.dumps(record) + b"\n")
            lines.flush()
            os.fsync(lines.fileno())
        if is_new:
            self._sync_folder()

    def replace(self, records: Sequence[Record]) -> None:
        """Write another file and put it in the place of this one."""
        self._write(b"".join(orjson.dumps(record) + b"\n" for record in records))

    def _write(self, content: bytes) -> None:
        draft = self._path.with_name(f"{self._path.name}.new")
        with draft.open("wb") as lines:
            lines.write(content)
            lines.flush()
            os.fsync(lines.fileno())
        draft.replace(self._path)
        self._sync_folder()

    def _sync_folder(self) -> None:
        """Have the folder, too, know the file by its name after a crash."""
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
