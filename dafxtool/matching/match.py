"""Match recordings on disk, and write the matched recording, a sheet and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.reader import load_audio, read_info
from dafxtool.audio.writer import save_audio
from dafxtool.effects.apply import known_effects, parse_effects
from dafxtool.effects.effect import EffectChoice
from dafxtool.errors import InputError
from dafxtool.matching.answer import Answer
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.objective import (
    SILENT_RMS,
    Array,
    rms,
    spectrum,
)
from dafxtool.matching.outputs import check_match_outputs
from dafxtool.matching.paired import Choice, Options, match_pair
from dafxtool.matching.prepare import (
    HIGHEST_RATE,
    Prepared,
    loudest_window,
    prepare_files,
    read_recording,
)
from dafxtool.matching.unpaired.match import match_like
from dafxtool.matching.unpaired.statistics import SAMPLE_RATE
from dafxtool.plots.spectrograms import Panel, Sheet, draw_sheet
from dafxtool.utils import notebook
from dafxtool.utils.files import atomic_write
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import shown_name

SHEET_SECONDS = 6.0
SHEET_FFT, SHEET_HOP = 2048, 512  # samples


@dataclass(frozen=True, repr=False)
class Match(notebook.Displayed):
    """The answer of a match, and the files that were written."""

    answer: Answer
    outputs: tuple[Path, ...]

    def __repr__(self) -> str:
        distances = f"{self.answer.distance:.4g} of {self.answer.distance_unprocessed:.4g}"
        return f"Match({self.answer.effect!r}, distance {distances} unprocessed)"

    def _parts(self) -> Iterator[str]:
        yield notebook.paragraph(f"{self.answer.effect}: {self.answer.verdict}")
        yield notebook.table(
            ("effect", "setting", "value", "as good from"), settings_of(self.answer)
        )
        for path in self.outputs:
            if path.suffix == ".png" and path.is_file():
                yield notebook.image(path, "dry, reference, matched and difference")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return self.answer.to_dict() | {"outputs": [str(path) for path in self.outputs]}


def choices_from(
    names: Sequence[str | EffectChoice],
    plugins: Sequence[Path],
    sample_rate: int,
    progress: Progress = SILENT,
) -> list[Choice] | None:
    """Return the candidates of `--effect` and `--plugin`; None stands for every built-in effect.

    A plugin is a candidate beside the built-in effects unless --effect names candidates.
    """
    if not names and not plugins:
        return None
    known = known_effects(plugins, sample_rate, progress)
    choices = parse_effects(names or known.plugin_names(), known)
    return [(effect, fixed) for effect, fixed in choices]


def match_files(
    dry: Path,
    wet: Path,
    output: Path,
    options: Options,
    names: Sequence[str | EffectChoice] = (),
    plugins: Sequence[Path] = (),
    strength: float = 1.0,
    overwrite: bool = False,
    progress: Progress = SILENT,
    channel: str | None = None,
    matcher: Path | None = None,
) -> Match:
    """Find the chain that turns one recording into another, apply it to the first, and write it.

    output    the matched recording; the sheet and the JSON file are named like it
    names     candidate effects as `--effect` takes them
    strength  share of the effect in the matched recording, 0 to 1
    channel   of both recordings, for the search; None takes the first, or the mean if it fits
              better. The chain is applied to all channels
    matcher   run folder or file whose predictions the search starts from
    """
    paths = check_match_outputs(output, overwrite)
    prepared = prepare_files(dry, wet, None if plugins else HIGHEST_RATE, channel)
    if matcher is not None:
        from dafxtool.matching.controller.proposals import (  # they load torch
            load_proposer,
            starts_for_pair,
        )

        starts = starts_for_pair(load_proposer(matcher), prepared)
        options = replace(options, proposals=starts)
        progress.message(f"{matcher} proposes {', '.join(list(starts)[:3])}")
    effects = choices_from(names, plugins, prepared.sample_rate, progress)
    answer = match_pair(prepared, replace(options, effects=effects), progress)
    write_matched(dry, output, answer.best.stages, strength, overwrite)
    draw_match(paths[1], prepared, answer, (shown_name(dry), shown_name(wet)), overwrite)
    return _write_json(answer, paths, overwrite)


def match_like_files(
    dry: Path,
    references: Sequence[Path],
    output: Path,
    options: Options,
    names: Sequence[str | EffectChoice] = (),
    plugins: Sequence[Path] = (),
    strength: float = 1.0,
    overwrite: bool = False,
    progress: Progress = SILENT,
    channel: str | None = None,
) -> Match:
    """Find the chain that makes a recording sound like references with other content.

    references  files and folders; other arguments as in match_files
    """
    paths = check_match_outputs(output, overwrite)
    own = _read(dry, channel)
    files = find_recordings(references)
    others = [_read(path, channel) for path in files]
    effects = choices_from(names, plugins, SAMPLE_RATE, progress)
    answer = match_like(own, others, replace(options, effects=effects), progress)
    write_matched(dry, output, answer.best.stages, strength, overwrite)
    n_samples = round(SHEET_SECONDS * SAMPLE_RATE)
    matched = render_chain(answer.best.stages, own, SAMPLE_RATE)
    start, end = loudest_window(own, 0, own.size, n_samples, SAMPLE_RATE)
    first, last = loudest_window(others[0], 0, others[0].size, n_samples, SAMPLE_RATE)
    shown = [
        _fit_length(each, n_samples)
        for each in (own[start:end], others[0][first:last], matched[start:end])
    ]
    level = rms(shown[1])
    panels = [Panel(_magnitude(_at_level(each, level))) for each in shown]
    labels = (f"dry\n{shown_name(dry)}", f"reference\n{shown_name(files[0])}", "matched")
    draw_match_sheet(paths[1], panels, SAMPLE_RATE, labels, answer, overwrite)
    return _write_json(answer, paths, overwrite)


def _read(path: Path, channel: str | None) -> Array:
    """Read a channel of a recording; of a mono recording the only one."""
    mono = channel is None or read_info(path).n_channels == 1
    return read_recording(path, SAMPLE_RATE, "first" if mono else str(channel))


def _fit_length(samples: Array, n_samples: int) -> Array:
    """Cut samples, or pad them with zeros."""
    return np.pad(samples[:n_samples], (0, max(0, n_samples - samples.size)))


def _write_json(answer: Answer, paths: Sequence[Path], overwrite: bool) -> Match:
    """Return the match, and write it as the last of the paths."""
    result = Match(answer, tuple(paths))
    with atomic_write(paths[-1], overwrite) as temporary:
        text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", "utf-8")
    return result


def write_matched(
    dry: Path, output: Path, stages: Sequence[Stage], strength: float, overwrite: bool
) -> None:
    """Apply the chain to every channel of a recording at its own rate."""
    info = read_info(dry)
    channels: list[Array] = []
    for number in range(1, info.n_channels + 1):
        samples = load_audio(dry, channel=str(number))[0]
        wet = render_chain(stages, samples, info.sample_rate)
        if strength < 1:
            wet = samples + np.float32(strength) * (wet - samples)
        channels.append(wet)
    matched = np.stack(channels)
    peak = float(np.abs(matched).max())
    if peak > 1 and output.suffix.lower() != ".wav":
        raise InputError(
            f"{output}: the matched recording peaks at {20 * np.log10(peak):+.1f} dBFS, which "
            "FLAC cannot store. Write a .wav file."
        )
    save_audio(output, matched, info.sample_rate, overwrite)


def draw_match(
    path: Path, prepared: Prepared, answer: Answer, names: tuple[str, str], overwrite: bool
) -> None:
    """Draw dry, reference, matched and their difference, all at the level of the reference."""
    n_samples = round(SHEET_SECONDS * prepared.sample_rate)
    pair = prepared.excerpt(n_samples)
    matched = render_chain(answer.best.stages, pair.dry, prepared.sample_rate)
    scored = slice(pair.start, pair.start + n_samples)
    level = rms(pair.wet[scored])
    dry, wet, ours = (
        _magnitude(_at_level(each[scored], level)) for each in (pair.dry, pair.wet, matched)
    )
    panels = [Panel(dry), Panel(wet), Panel(ours), Panel(ours, minus=wet)]
    draw_match_sheet(
        path,
        panels,
        prepared.sample_rate,
        (f"dry\n{names[0]}", f"reference\n{names[1]}", "matched", "matched over reference"),
        answer,
        overwrite,
    )


def draw_match_sheet(
    path: Path,
    panels: Sequence[Panel],
    sample_rate: int,
    labels: Sequence[str],
    answer: Answer,
    overwrite: bool,
) -> None:
    """Draw panels side by side, with the answer as title."""
    n_frames = np.asarray(panels[0].magnitude).shape[1]
    sheet = Sheet(
        [list(panels)],
        np.arange(SHEET_FFT // 2 + 1) * sample_rate / SHEET_FFT,
        np.arange(n_frames) * SHEET_HOP / sample_rate,
        column_labels=list(labels),
        title=f"{_title(answer.best.stages)}: distance {answer.distance:.3g}, unprocessed "
        f"{answer.distance_unprocessed:.3g}",
    )
    draw_sheet(path, sheet, overwrite)


def _title(stages: Sequence[Stage]) -> str:
    return " > ".join(stage.effect.label(stage.setting) for stage in stages) or "no effect"


def _at_level(samples: Array, level: float) -> Array:
    current = rms(samples)
    return samples * np.float32(level / current) if current > SILENT_RMS else samples


def _magnitude(samples: Array) -> NDArray[np.float32]:
    half = np.zeros(SHEET_FFT // 2, dtype=np.float32)
    padded = np.concatenate([half, samples, half])
    return np.abs(spectrum(padded, SHEET_FFT, SHEET_HOP)).T


def settings_of(answer: Answer) -> list[tuple[str, str, str, str]]:
    """List effect, parameter, value and the interval in which the match is as good."""
    intervals: Mapping[tuple[int, str], tuple[float, float]] = {
        (each.stage, each.parameter): (each.low, each.high) for each in answer.intervals
    }
    rows = []
    for index, stage in enumerate(answer.best.stages):
        for parameter in stage.effect.parameters:
            ends = intervals.get((index, parameter.name))
            as_good = "" if ends is None else " to ".join(parameter.text(end) for end in ends)
            value = parameter.text(stage.setting[parameter.name])
            rows.append((stage.effect.name, parameter.name, value, as_good))
    return rows
