"""Slugs, suggestions, safe text."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


def slug(text: str) -> str:
    """Lower case, words joined by hyphens; a number stays the number that it is."""
    if re.fullmatch(r"[-+]?\d+(\.\d+)?", text.strip()):
        return text.strip()
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"


def unique_slugs(texts: Iterable[str]) -> list[str]:
    """A slug for each text; the second of a kind gets "-2", the third "-3"."""
    taken: list[str] = []
    for text in texts:
        first = slug(text)
        numbered = (f"{first}-{number}" for number in itertools.count(2))
        taken.append(next(name for name in itertools.chain([first], numbered) if name not in taken))
    return taken


def near_names(name: str, names: Sequence[str]) -> str:
    """A clause for error messages: the names that look like name, or all of them."""
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there is {', '.join(names)}." if names else "there is none."


def shown_name(path: Path) -> str:
    """A file's name as text for people and figures; bytes that are none are written out."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """On one line and harmless to a terminal: a file may be called anything."""
    unfit = ("Cc", "Cs")  # control characters, and bytes that are no text
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in unfit else c for c in text
    )


def duration(seconds: float) -> str:
    """0:04, 12:30 or 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 pair", "2 pairs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
