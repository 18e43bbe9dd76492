"""What is wrong with a folder of the embedded index: each file is there, whole and unchanged."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import tantivy

_META: Final = "meta.json"
_ENDINGS: Final = ("fast", "fieldnorm", "idx", "pos", "store", "term")
# How tantivy ends each file of a segment: JSON with the CRC-32 of all before it, the length of
# that JSON, and a number by which it is known (tantivy 0.27, `directory/footer.rs`).
_TAIL_BYTES: Final = 8
_MAGIC: Final = 1337
_LONGEST_FOOTER: Final = 50_000
_CHUNK: Final = 1 << 20


def damage_in(folder: Path) -> str | None:
    """Return what is wrong with the folder of one build, None where nothing is.

    Reads every byte, a gigabyte in about a second. A file that is gone because of a commit
    meanwhile is no damage.
    """
    before, flaw = None, None
    while True:
        try:
            meta = (folder / _META).read_bytes()
        except OSError as error:
            return _said(_META, error)
        if meta == before:
            return flaw
        before = meta
        flaw = _first_flaw(folder, meta) or _opening_flaw(folder)
        if flaw is None:
            return None


def came_from_tantivy(error: BaseException) -> bool:
    """Tell whether an error can be what tantivy makes of a damaged file.

    It raises ValueError for whatever it finds wrong, and panics at what it never expected: such
    a PanicException is no Exception, and its class cannot be imported.
    """
    return isinstance(error, ValueError | OSError) or type(error).__name__ == "PanicException"


def _first_flaw(folder: Path, meta: bytes) -> str | None:
    try:
        names = list(_files(json.loads(meta)))
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"{_META} cannot be read"
    return next((flaw for name in names if (flaw := _flaw(folder / name))), None)


def _opening_flaw(folder: Path) -> str | None:
    try:
        index = tantivy.Index.open(str(folder))
        index.reload()
    except BaseException as error:
        if came_from_tantivy(error):
            return f"it cannot be opened: {error}"
        raise
    return None


def _files(meta: dict[str, list[dict[str, object]]]) -> Iterator[str]:
    """Name the files that meta.json says belong to the build."""
    for segment in meta["segments"]:
        stem = str(segment["segment_id"]).replace("-", "")
        yield from (f"{stem}.{ending}" for ending in _ENDINGS)
        deletes = segment["deletes"]
        if isinstance(deletes, dict):
            yield f"{stem}.{deletes['opstamp']}.del"


def _flaw(path: Path) -> str | None:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read()
            length, magic = int.from_bytes(tail[:4], "little"), int.from_bytes(tail[4:], "little")
            content = size - _TAIL_BYTES - length
            if magic != _MAGIC or length > _LONGEST_FOOTER or content < 0:
                return f"{path.name} is cut short"
            file.seek(content)
            told = _told_crc(file.read(length))
            file.seek(0)
            crc, left = 0, content
            while left and (chunk := file.read(min(left, _CHUNK))):
                crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    except OSError as error:
        return _said(path.name, error)
    return None if crc == told else f"{path.name} is not as it was written"


def _told_crc(footer: bytes) -> int | None:
    try:
        return int(json.loads(footer)["crc"])
    except (ValueError, TypeError, KeyError):
        return None


def _said(name: str, error: OSError) -> str:
    return f"{name}: {error.strerror}"
