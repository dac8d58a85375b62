"""Format text: slugs, suggestions for misspelt names, durations and safe names."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


def slug(text: str) -> str:
    """Convert text to lower-case words joined by hyphens; numbers keep their sign and point."""
    if re.fullmatch(r"[-+]?\d+(\.\d+)?", text.strip()):
        return text.strip()
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"


def unique_slugs(texts: Iterable[str]) -> list[str]:
    """Convert texts to distinct slugs: the second equal one gets "-2", the third "-3"."""
    slugs: list[str] = []
    for text in texts:
        first = slug(text)
        numbered = (f"{first}-{number}" for number in itertools.count(2))
        slugs.append(next(name for name in itertools.chain([first], numbered) if name not in slugs))
    return slugs


def near_names(name: str, names: Sequence[str]) -> str:
    """Return a sentence for error messages: it suggests similar names, or lists all of them."""
    matches = get_close_matches(name, names, n=3, cutoff=0.5)
    if matches:
        return f"Did you mean {' or '.join(matches)}?"
    return f"Use {', '.join(names)}." if names else "There is none."


def shown_name(path: Path) -> str:
    """Return a file's name as text for messages and figures; undecodable bytes are escaped."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """Escape control characters and undecodable bytes, so that text fits on one line.

    File names may contain any characters, including those that control a terminal.
    """
    unprintable = ("Cc", "Cs")  # categories: control characters, and undecodable bytes
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in unprintable else c
        for c in text
    )


def duration(seconds: float) -> str:
    """Format a duration: 0:04, 12:30 or 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 pair", "2 pairs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
