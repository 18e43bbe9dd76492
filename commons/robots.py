"""What a host lets us read, by its robots.txt (RFC 9309), and index, by its headers; pure."""

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

NAME: Final = "LocalPay"
"""The name by which a robots.txt addresses us."""

READ_MAX_BYTES: Final = 64 * 1024
DELAY_MAX_SECONDS: Final = 60.0

_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset(string.ascii_letters + string.digits + "-._~")
_RULES_WITH_VALUE: Final = frozenset(
    {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
)
_DELAY: Final = re.compile(r"\d{1,6}(?:\.\d{1,6})?")


@dataclass(frozen=True)
class Rules:
    """The paths that are allowed and refused to us, and how long to wait between two fetches."""

    allowed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    delay_seconds: float = 0.0

    def allow(self, path: str) -> bool:
        """Tell whether a path, with its query, may be read: the longest rule says, at a tie yes."""
        path = _plain(path)
        return _longest(self.allowed, path) >= _longest(self.refused, path)


def read_rules(body: bytes) -> Rules:
    """Read the rules for us, else those for everybody, from the first 64 KiB of a robots.txt."""
    if len(body) > READ_MAX_BYTES:
        body = body[:READ_MAX_BYTES].rpartition(b"\n")[0]  # half a rule would be another rule
    ours: list[tuple[str, str]] = []
    everybodys: list[tuple[str, str]] = []
    is_ours_named, names, is_naming = False, set[str](), False
    for line in body.decode("utf-8-sig", "replace").splitlines():
        field, colon, value = (part.strip() for part in line.partition("#")[0].partition(":"))
        field = field.lower()
        if not colon:
            continue
        if field == "user-agent":
            names = names if is_naming else set()
            names.add(value.lower())
            is_naming = True
            is_ours_named = is_ours_named or NAME.lower() in names
        elif field in {"allow", "disallow", "crawl-delay"}:
            is_naming = False
            for name, lines in ((NAME.lower(), ours), ("*", everybodys)):
                if name in names:
                    lines.append((field, value))
    return _rules(ours if is_ours_named else everybodys)


def _rules(lines: list[tuple[str, str]]) -> Rules:
    delays = [float(value) for field, value in lines if field == "crawl-delay" and _is_delay(value)]
    return Rules(
        allowed=tuple(_plain(value) for field, value in lines if field == "allow" and value),
        refused=tuple(_plain(value) for field, value in lines if field == "disallow" and value),
        delay_seconds=min(max(delays, default=0.0), DELAY_MAX_SECONDS),
    )


def _is_delay(value: str) -> bool:
    return value.isascii() and _DELAY.fullmatch(value) is not None


def _plain(path: str) -> str:
    """Return the one spelling of a path among those that differ only in their escapes."""
    escaped = quote(path, safe="%" + string.punctuation)
    return _ESCAPE.sub(_unescaped, escaped)


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def _longest(patterns: tuple[str, ...], path: str) -> int:
    return max((len(pattern) for pattern in patterns if _matches(pattern, path)), default=0)


def _matches(pattern: str, path: str) -> bool:
    """Match the beginning of a path, in which `*` stands for anything and a last `$` for its end.

    Without a regular expression, which many a `*` would make slow.
    """
    is_whole = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    if not others:
        return not is_whole or path == first
    last = others.pop() if is_whole else ""
    end = len(first)
    for part in others:
        start = path.find(part, end)
        if start < 0:
            return False
        end = start + len(part)
    return path.endswith(last) and len(path) - len(last) >= end


def index_rules(headers: Iterable[tuple[str, str]]) -> list[str]:
    """Return what X-Robots-Tag headers say to us about indexing, such as `noindex`.

    A line may be for one crawler alone, whose name then comes first.
    """
    said = []
    for name, value in headers:
        if name.lower() != "x-robots-tag":
            continue
        first, colon, rest = value.partition(":")
        crawler = first.strip().lower()
        if not colon or "," in crawler or crawler in _RULES_WITH_VALUE:
            said.append(value)
        elif crawler == NAME.lower():
            said.append(rest)
    return said
