"""Define the options of segments and splits that `render` and `import` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

from dafxtool.cli._options import (
    FRACTION,
    SAMPLE_RATE,
    Number,
    channel_option,
    min_mean_square_option,
)

F = TypeVar("F", bound=Callable[..., Any])

SEGMENT_OPTIONS = ("sample_rate", "channel", "short", "min_mean_square", "level")
SPLIT_OPTIONS = ("validation", "test", "copies", "validation_match", "test_match")

_SHORT = {"join": "join them within their folder", "pad": "pad", "skip": "skip them"}


SPLIT = (
    click.option(
        "--split-by",
        type=click.Choice(("recording", "folder")),
        help="Unit of the split; folder where folders are speakers.  [default: recording]",
    ),
    click.option(
        "--copies",
        type=click.Choice(("together", "ignore")),
        help="Recordings with the same content, also in another format: keep them together in "
        "one split, or do not compare recordings.  [default: together]",
    ),
    click.option(
        "--validation",
        type=FRACTION,
        metavar="FRACTION",
        help="Fraction of recordings for validation.  [default: the preset's]",
    ),
    click.option(
        "--test",
        type=FRACTION,
        metavar="FRACTION",
        help="Fraction of recordings for testing.  [default: the preset's]",
    ),
    click.option(
        "--validation-match",
        multiple=True,
        metavar="PATTERN",
        help="Files or folders for validation, such as 'p3*'; repeat for more.",
    ),
    click.option(
        "--test-match",
        multiple=True,
        metavar="PATTERN",
        help="Files or folders for testing; repeat for more.",
    ),
)


def segment_options(*short: str) -> Callable[[F], F]:
    """Add options of segments and split; `short` has the values of --short, the default first."""
    options = (
        click.option(
            "--segment-seconds",
            type=Number(min=0.01, max=3600),
            help="Length of a segment in s.  [default: the preset's]",
        ),
        click.option(
            "--sample-rate",
            type=SAMPLE_RATE,
            help="Sample rate of the pairs in Hz.  [default: 24000]",
        ),
        channel_option("first"),
        click.option(
            "--short",
            type=click.Choice(short),
            help="Recordings shorter than a segment: "
            + ", ".join(_SHORT[each] for each in short[:-1])
            + f" or {_SHORT[short[-1]]}.  [default: {short[0]}]",
        ),
        min_mean_square_option,
        click.option(
            "--level",
            type=click.Choice(("match", "keep")),
            help="Level of the wet segment: match the peak of the dry one, or keep the level that "
            "the effect gives it.  [default: match]",
        ),
        *SPLIT,
    )

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def take_segment_options(options: dict[str, Any]) -> dict[str, Any]:
    """Remove these options, and return the arguments `segments` and `split` of the library."""
    segments = {name: options.pop(name) for name in SEGMENT_OPTIONS}
    split = {"by": options.pop("split_by")}
    for name in SPLIT_OPTIONS:
        value = options.pop(name)
        split[name] = None if value == () else value  # a fraction of 0 is a value
    return {"segments": segments, "split": split}
