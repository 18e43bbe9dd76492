"""What sources write, made into what listings hold: bodies, titles, and drafts checked; pure."""

import html
import re
from dataclasses import replace
from typing import Final

from crawler.vocabulary import Found
from marketplace.drafts import LONGEST_TITLE, Draft, check

_TAG: Final = re.compile(
    r"</?(?:a|b|blockquote|br|code|div|em|font|h[1-6]|hr|i|img|li|ol|p|script|span|strong|style"
    r"|table|td|tr|u|ul)[\s/>]",
    re.IGNORECASE,
)
_PARAGRAPHS: Final = re.compile(r"\n[ \t]*\n\s*")
_STRONG: Final = re.compile(r"\*\*([^*\n]{1,500})\*\*")
_EMPHASIS: Final = re.compile(r"(?<![\w*])\*([^*\n]{1,500})\*(?![\w*])")
_MARKS: Final = re.compile(r"[*_#>`]+")
_SHORT_TITLE: Final = 80


def found(draft: Draft) -> Found:
    """Return a draft of a source without actors and addressing, checked here and now.

    Raises InvalidError and TooLargeError as `drafts.check` does.
    """
    return Found(draft=check(replace(draft, body=as_html(draft.body))), to=None, asks_author=False)


def as_html(text: str) -> str:
    """Return plain text with its paragraphs and lines, and Markdown's emphasis, as HTML.

    What holds usual tags is HTML already; it is sanitised with every other body.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text or _TAG.search(text):
        return text
    escaped = html.escape(text, quote=False)
    marked = _EMPHASIS.sub(r"<em>\1</em>", _STRONG.sub(r"<strong>\1</strong>", escaped))
    paragraphs = (part.strip().replace("\n", "<br>") for part in _PARAGRAPHS.split(marked))
    return "".join(f"<p>{part}</p>" for part in paragraphs if part)


def title_of(text: str) -> str:
    """Return a title for what has none: its first line, or as many words of it as are short."""
    first = next((line for line in _MARKS.sub("", text).splitlines() if line.strip()), "")
    words = " ".join(re.sub(r"<[^>]*>", " ", first[: 4 * LONGEST_TITLE]).split())
    if len(words) <= _SHORT_TITLE:
        return words
    return words[:_SHORT_TITLE].rpartition(" ")[0] + "…"
