"""Export a setting as a command to copy, an audio file or a sheet."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.reader import load_audio
from dafxtool.audio.writer import save_audio
from dafxtool.config import Configuration
from dafxtool.effects.apply import apply
from dafxtool.errors import InputError
from dafxtool.explorer.recordings import BUILT_IN, Source
from dafxtool.explorer.renderer import Rendered
from dafxtool.plots.spectrograms import Panel, Sheet, draw_sheet

LONGEST_EXPORT_SECONDS = 900.0


def effect_line(rendered: Rendered) -> str:
    """Return the option that gives this setting: --effect 'delay:time=350,mix=50'."""
    line = f"--effect {shlex.quote(rendered.text)}"
    paths = dict.fromkeys(file.path for file in rendered.effect.plugins)
    return " ".join([*(f"--plugin {shlex.quote(path)}" for path in paths), line])


def command_line(rendered: Rendered, source: Source, start: int, sample_rate: int) -> str:
    """Return the command that opens this recording, segment and setting again."""
    name = "" if source.kind == BUILT_IN else f" {shlex.quote(source.name)}"
    if source.kind != "upload" and source.kind != BUILT_IN:
        name = f" {shlex.quote(str(source.path))}"
    seconds = f"{start / sample_rate:.6f}".rstrip("0").rstrip(".")
    return f"dafxtool explore{name} --start {seconds} {effect_line(rendered)}"


def segment_wav(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    """Encode samples as a WAV file in 32-bit floating point, without any change."""
    return _file("segment.wav", lambda path: save_audio(path, samples, sample_rate))


def recording_wav(rendered: Rendered, source: Source, gain: float) -> bytes:
    """Apply a setting to every channel of the complete recording; return a WAV file.

    gain  factor that the segment had before the effect. The recording gets the same factor, so
          that a threshold or a drive has the same effect, and its inverse afterwards

    The file has the recording's own sample rate. InputError for a long recording, EffectError for
    a setting that is out of range at this rate.
    """
    info = source.info
    if info.seconds > LONGEST_EXPORT_SECONDS:
        raise InputError(
            f"{source.name}: too long to export here (found {info.seconds:.0f} s, expected at most "
            f"{LONGEST_EXPORT_SECONDS:.0f} s). Copy the command and use a terminal."
        )
    channels = []
    for number in range(1, info.n_channels + 1):
        samples, rate = load_audio(source.path, channel=str(number))
        wet = apply(rendered.effect, samples * np.float32(gain), rate, rendered.setting)[0]
        channels.append(wet / np.float32(gain))
    audio = np.stack(channels) if len(channels) > 1 else channels[0]
    return _file("recording.wav", lambda path: save_audio(path, audio, info.sample_rate))


def sheet_png(
    rendered: Rendered, source: Source, start: int, configuration: Configuration
) -> bytes:
    """Draw dry, wet and their difference as a sheet."""
    from dafxtool.spectrogram.stft import magnitude

    config = configuration.spectrogram
    dry, wet = (magnitude(each, config).numpy() for each in (rendered.dry, rendered.wet))
    seconds = start / configuration.segments.sample_rate
    sheet = Sheet(
        [[Panel(dry), Panel(wet), Panel(wet, minus=dry)]],
        config.frequencies_hz(),
        config.frame_times_s(),
        column_labels=["dry", "wet", "wet over dry"],
        title=f"{source.name} from {seconds:.2f} s: {rendered.effect.label(rendered.setting)}",
    )
    return _file("sheet.png", lambda path: draw_sheet(path, sheet))


def _file(name: str, write: Callable[[Path], None]) -> bytes:
    """Return the bytes of a file that a function writes."""
    with TemporaryDirectory(prefix="dafxtool-") as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()
