"""Record the messages of a step."""

from __future__ import annotations

from dafxtool.utils.progress import Progress


class Messages(Progress):
    """Progress that keeps its messages in `lines`."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)
