"""Find audio whose spectrogram is the one given: inverting magnitudes.

Two sets of spectra meet here: those with the given magnitudes, and those that are the STFT of some
audio. A method goes back and forth between them; what is sought lies in both.

griffin-lim  random phase, fast Griffin-Lim (Perraudin, Balazs & Søndergaard 2013)
fast         phase-gradient start (`phase`), then relaxed averaged alternating reflections (Luke
             2005, arXiv:math/0405208), towards the end fast Griffin-Lim
best         the same, for longer

Where the dry recording is known, start from its phase: that is worth more than any method.
In here spectra are (..., n_frames, n_bins), time first, as the Fourier transform makes them; what
callers see is (n_bins, n_frames). How near the result is, is told as spectral convergence,
20 log10(|| |STFT(audio)| - magnitude || / || magnitude ||) in dB, lower is better. It compares
methods on one spectrogram; it is no measure of how good the sound is.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafxtool.config import SpectrogramConfig
from dafxtool.errors import ConfigError, InputError
from dafxtool.spectrogram.pghi import pghi_phase
from dafxtool.spectrogram.stft import (
    SMALLEST_ENVELOPE,
    as_audio,
    modulus,
    padding_mode,
    stft,
    window_of,
)
from dafxtool.utils.device import pick_device

if TYPE_CHECKING:
    from dafxtool.spectrogram.stft import Array

TINY = 1e-30  # keeps divisions by a magnitude of 0 finite
SILENT_DB = -200.0  # the convergence of an exact inversion, whose logarithm would not be finite


@dataclass(frozen=True)
class RaarSchedule:
    """How boldly to reflect: g how far beyond the magnitudes, b (to its last value) how freely.

    Near b = 1 an iteration travels far, slightly above 1 farther still, lower values settle; above
    b = 1.1 or g = 2 it soon diverges.
    """

    b: float
    last_b: float
    g: float


# A decoder's magnitudes belong to no signal: boldness has nothing to gain there.
DECODED = RaarSchedule(b=0.8, last_b=0.8, g=1.0)
DECODED_SHARE = 0.78  # of the iterations; descent at the end gains more here than elsewhere
MOMENTUM = 0.99  # of fast Griffin-Lim


@dataclass(frozen=True)
class Method:
    """A way to invert, as the registry METHODS knows it."""

    iterations: int
    summary: str
    known_iterations: int  # where the phase of a recording was given, which is nearer
    start: str = "gradient"  # or random
    reflections: RaarSchedule | None = None
    reflecting_share: float = 0.0  # of the iterations; the rest is fast Griffin-Lim


# The numbers were found on 16 clips of speech and instruments; benchmarks/bench_inversion.py tells
# what they do to others.
METHODS: dict[str, Method] = {
    "griffin-lim": Method(32, "fast Griffin-Lim from random phase", 32, start="random"),
    "fast": Method(
        62,
        "phase-gradient start, then reflections that settle",
        48,
        reflections=RaarSchedule(b=1.08, last_b=0.75, g=1.85),
        reflecting_share=0.92,
    ),
    "best": Method(
        340,
        "the same, bolder, for five times as long",
        340,
        reflections=RaarSchedule(b=1.03, last_b=0.93, g=1.85),
        reflecting_share=0.9,
    ),
}


@dataclass(frozen=True)
class Inversion:
    """The audio found, float32 (n_samples,), and how near its spectrogram is to the one given."""

    audio: NDArray[np.float32]
    convergence_db: float
    method: str
    iterations: int


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread of the CPU, where the main thread asks for it.

    The arrays of one clip are small: more threads wait for each other more than they save, and
    where other programs run take several times as long.
    """
    before = torch.get_num_threads()
    if before == 1 or threading.current_thread() is not threading.main_thread():
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def invert(
    magnitude: Array,
    config: SpectrogramConfig,
    n_samples: int | None = None,
    method: str = "fast",
    iterations: int | None = None,
    phase_from: Array | None = None,
    phase: Array | None = None,
    seed: int = 0,
    device: str = "cpu",
    consistent: bool = True,
) -> Inversion:
    """Audio of n_samples whose magnitude is near the linear magnitude (n_bins, n_frames).

    n_samples   the frames decide, up to a hop: the config's own where that fits, otherwise
                (n_frames - 1) * hop_length
    method      one of METHODS; `iterations` replaces its number, and 0 leaves the bare start
    phase_from  known recording of n_samples, such as the dry one, whose phase is the start
    phase       (n_bins, n_frames) in radians, as the start
    consistent  False for magnitudes that a model decoded, which no signal has exactly

    Negative values, which decoders make, count as 0. Raises InputError for NaN and wrong shapes.
    """
    chosen = find_method(method)
    own = chosen.iterations if phase_from is None and phase is None else chosen.known_iterations
    n_iterations = own if iterations is None else iterations
    if n_iterations < 0:
        raise InputError(f"{n_iterations} iterations were asked for: it has to be 0 or more.")
    target = _checked_magnitude(magnitude, config).to(pick_device(device))
    length = _checked_length(n_samples, target.shape[0], config)
    # Scaled so that quiet spectrograms keep float32's precision, loud ones its range.
    scale = float(target.max())
    if scale == 0:
        silence = np.zeros(length, dtype=np.float32)
        return Inversion(silence, SILENT_DB, method, n_iterations)
    target = target / scale
    frames = Frames(config, length, target.device)
    angle = _start(target, frames, chosen, phase_from, phase, seed)
    sound = _iterate(torch.polar(target, angle), target, frames, chosen, n_iterations, consistent)
    convergence = _convergence_db(modulus(frames.analyse(sound)), target)
    audio = (sound * scale).cpu().numpy()
    return Inversion(audio, convergence, method, n_iterations)


def find_method(name: str) -> Method:
    """The method of that name; ConfigError tells those there are."""
    if name not in METHODS:
        raise ConfigError(f"method {name!r} is unknown: use {', '.join(METHODS)}.")
    return METHODS[name]


def spectral_convergence_db(audio: Array, magnitude: Array, config: SpectrogramConfig) -> float:
    """How far the audio's magnitude is from the one given (n_bins, n_frames), in dB.

    0 dB is as bad as silence.
    """
    target = _checked_magnitude(magnitude, config)
    sound = as_audio(audio).to(target.device)
    _checked_length(sound.shape[-1], target.shape[0], config)
    return _convergence_db(modulus(stft(sound, config)).transpose(-1, -2), target)


def _convergence_db(found: Tensor, wanted: Tensor) -> float:
    error, size = float(torch.linalg.norm(found - wanted)), float(torch.linalg.norm(wanted))
    if error == 0:
        return SILENT_DB
    return 20 * math.log10(error / size) if size > 0 else math.inf


def _checked_magnitude(magnitude: Array, config: SpectrogramConfig) -> Tensor:
    """(n_frames, n_bins), contiguous, without negative values."""
    values = torch.as_tensor(magnitude)
    if values.ndim != 2 or values.shape[0] != config.n_bins or values.shape[1] < 1:
        raise InputError(
            f"a magnitude of shape {tuple(values.shape)} cannot be inverted: wanted (n_bins, "
            f"n_frames) with the {config.n_bins} bins of an n_fft of {config.n_fft}."
        )
    if values.is_complex() or not bool(torch.isfinite(values).all()):
        raise InputError(
            "a magnitude with complex, infinite or undefined (NaN) values cannot be inverted: "
            "look at what made it."
        )
    return values.to(torch.float32).clamp_min(0.0).transpose(0, 1).contiguous()


def _checked_length(n_samples: int | None, n_frames: int, config: SpectrogramConfig) -> int:
    shortest = max(1, (n_frames - 1) * config.hop_length)
    longest = n_frames * config.hop_length - 1 if config.hop_length > 1 else shortest
    if n_samples is None:
        return config.n_samples if shortest <= config.n_samples <= longest else shortest
    if not shortest <= n_samples <= longest:
        raise InputError(
            f"{n_frames} frames every {config.hop_length} samples are those of {shortest} to "
            f"{longest} samples, not of {n_samples}."
        )
    return n_samples


def _start(
    target: Tensor,
    frames: Frames,
    method: Method,
    phase_from: Array | None,
    phase: Array | None,
    seed: int,
) -> Tensor:
    """The phase to start from, turned as `frames` turns it."""
    config, shape = frames.config, (frames.config.n_bins, target.shape[0])
    if phase is not None and phase_from is not None:
        raise InputError("both phase and phase_from were given: choose one.")
    if phase is not None:
        angle = torch.as_tensor(phase).to(target)
        if tuple(angle.shape) != shape or not bool(torch.isfinite(angle).all()):
            raise InputError(f"the phase has shape {tuple(angle.shape)}: wanted finite {shape}.")
        return frames.turned(angle.transpose(0, 1))
    if phase_from is not None:
        sound = as_audio(phase_from).to(target.device)
        if tuple(sound.shape) != (frames.n_samples,) or not bool(torch.isfinite(sound).all()):
            raise InputError(
                f"the recording to take the phase from has shape {tuple(sound.shape)}: wanted "
                f"({frames.n_samples},), all finite, as long as the sound to be made."
            )
        return frames.analyse(sound).angle()
    if method.start == "random":
        drawn = np.random.default_rng(seed).uniform(-np.pi, np.pi, tuple(target.shape))
        return torch.from_numpy(drawn.astype(np.float32)).to(target.device)
    estimated = pghi_phase(target.cpu().numpy(), config, seed)
    return frames.turned(torch.from_numpy(estimated).to(target.device))


def _iterate(
    spectrum: Tensor,
    target: Tensor,
    frames: Frames,
    method: Method,
    n_iterations: int,
    consistent: bool,
) -> Tensor:
    """Audio (..., n_samples) from a first spectrum that has the wanted magnitudes."""
    if method.reflections is None:
        return griffin_lim(spectrum, target, frames, n_iterations)
    steps = method.reflections if consistent else DECODED
    share = method.reflecting_share if consistent else DECODED_SHARE
    n_reflections = round(share * n_iterations)
    spectrum = raar(spectrum, target, frames, n_reflections, steps)
    return griffin_lim(spectrum, target, frames, n_iterations - n_reflections)


def raar(
    spectrum: Tensor, target: Tensor, frames: Frames, n_iterations: int, steps: RaarSchedule
) -> Tensor:
    """Relaxed averaged alternating reflections, and back onto the magnitudes.

    With A the spectrum at the wanted magnitudes and C the projection of (1 + g) A - g X onto the
    spectra of audio, X becomes b (X + C) + (1 - 2b) A. Synthesis is linear, so that the audio of X
    follows from that of A by the same formula, and only A is ever synthesised.
    """
    g, room = steps.g, torch.empty_like(target)
    spectrum = spectrum.clone()
    parts, known = torch.view_as_real(spectrum), torch.empty_like(spectrum)
    sound = frames.synthesise(spectrum)
    near, beyond = torch.empty_like(sound), torch.empty_like(sound)
    for b in np.linspace(steps.b, steps.last_b, n_iterations).tolist():
        frames.synthesise(onto_magnitudes(spectrum, target, known, room), near)
        torch.lerp(sound, near, 1 + g, out=beyond).mul_(b)
        sound.lerp_(near, 1 - b * (1 - g))
        parts.mul_(b).add_(torch.view_as_real(known), alpha=1 - 2 * b)
        parts.add_(torch.view_as_real(frames.analyse(beyond)))
    return onto_magnitudes(spectrum, target, spectrum, room)


def griffin_lim(spectrum: Tensor, target: Tensor, frames: Frames, n_iterations: int) -> Tensor:
    """Fast Griffin-Lim; as the transform is linear its momentum can live on the audio."""
    room = torch.empty_like(target)
    sound = frames.synthesise(spectrum)
    ahead = sound.clone()
    for _ in range(n_iterations):
        found = frames.analyse(ahead)
        torch.mul(sound, -MOMENTUM, out=ahead)
        frames.synthesise(onto_magnitudes(found, target, found, room), sound)
        ahead.add_(sound, alpha=1 + MOMENTUM)
    return sound


def onto_magnitudes(
    spectrum: Tensor, target: Tensor, out: Tensor | None = None, room: Tensor | None = None
) -> Tensor:
    """The nearest spectrum with the wanted magnitudes: the phase is kept, 0 taken for none.

    `out`, which may be the spectrum itself, takes the result, and `room`, like the target, what is
    worked out on the way: arrays that are made anew each time cost as much as the arithmetic. On a
    CPU numpy is several times quicker at this than torch.
    """
    if spectrum.device.type != "cpu":
        return torch.mul(spectrum, target / spectrum.abs().clamp_min_(TINY), out=out)
    room = torch.empty_like(target) if room is None else room
    out = torch.empty_like(spectrum) if out is None else out
    values = spectrum.numpy()
    np.abs(values, out=room.numpy())
    torch.div(target, room.clamp_min_(TINY), out=room)
    np.multiply(values, room.numpy(), out=out.numpy())
    return out


class Frames:
    """The STFT of audio of one length and back, time first, quicker than torch's.

    The window's envelope and the ends are worked out once. A frame's phase counts from its
    window's first sample, not, as in `stft`, from the first of the zeros around the window.
    """

    def __init__(self, config: SpectrogramConfig, n_samples: int, device: Any = "cpu") -> None:
        self.config = config
        self.n_samples = n_samples
        self.n_frames = n_samples // config.hop_length + 1
        self._mode = padding_mode(n_samples, config)
        self._zeros_before = (config.n_fft - config.window_length) // 2
        self._before = config.n_fft // 2 - self._zeros_before  # samples mirrored at the beginning
        length = (self.n_frames - 1) * config.hop_length + config.window_length
        self._after = length - self._before - n_samples
        self._window = window_of(config, torch.device(device))
        self._n_blocks = -(-config.window_length // config.hop_length)
        self._rooms: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        envelope = self._overlap_add(self._window.expand(1, self.n_frames, -1))[0]
        self._per_envelope = 1 / envelope.clamp_min(SMALLEST_ENVELOPE * float(envelope.max()))

    def analyse(self, sound: Tensor) -> Tensor:
        """(..., n_samples) -> (..., n_frames, n_bins)."""
        flat = sound.reshape(-1, self.n_samples)
        padded, pieces, _ = self._room(len(flat))
        before, after, n = self._before, self._after, self.n_samples
        padded[:, before : before + n] = flat
        if self._mode == "reflect":
            padded[:, :before] = flat[:, 1 : before + 1].flip(-1)
            padded[:, before + n :] = flat[:, n - 1 - after : n - 1].flip(-1)
        views = padded.unfold(-1, self.config.window_length, self.config.hop_length)
        spectrum = torch.fft.rfft(torch.mul(views, self._window, out=pieces), self.config.n_fft)
        return spectrum.reshape(*sound.shape[:-1], *spectrum.shape[-2:])

    def synthesise(self, spectrum: Tensor, out: Tensor | None = None) -> Tensor:
        """(..., n_frames, n_bins) -> (..., n_samples), the nearest in the sense of least squares.

        Mirrored ends count as what they are: the same samples once more. `out` takes the result.
        """
        pieces = torch.fft.irfft(spectrum, self.config.n_fft)
        sound = self._overlap_add(pieces.reshape(-1, *pieces.shape[-2:]))
        shape = (*spectrum.shape[:-2], self.n_samples)
        return torch.mul(sound.view(shape), self._per_envelope, out=out)

    def project(self, spectrum: Tensor) -> Tensor:
        """The nearest spectrum that some audio has."""
        return self.analyse(self.synthesise(spectrum))

    def turned(self, angle: Tensor) -> Tensor:
        """Phases (..., n_frames, n_bins) of `stft` as phases of this class."""
        if not self._zeros_before:
            return angle
        bins = torch.arange(self.config.n_bins, device=angle.device, dtype=torch.float64)
        turn = 2 * math.pi * torch.remainder(bins * self._zeros_before / self.config.n_fft, 1.0)
        return (angle + turn).to(angle.dtype)

    def _overlap_add(self, pieces: Tensor) -> Tensor:
        """(batch, n_frames, window_length or more) -> (batch, n_samples), under the window.

        Block by block of a hop; mirrored ends are added to the samples that they mirror. What is
        returned lasts until the next call.
        """
        hop, before, after, n = self.config.hop_length, self._before, self._after, self.n_samples
        total = self._room(len(pieces))[2].zero_()
        for block in range(self._n_blocks):
            part = self._window[block * hop : (block + 1) * hop]
            piece = pieces[..., block * hop : block * hop + len(part)]
            total[:, block : block + self.n_frames, : len(part)].addcmul_(piece, part)
        padded = total.flatten(1)
        sound = padded[:, before : before + n]
        if self._mode == "reflect":
            sound[:, 1 : before + 1] += padded[:, :before].flip(-1)
            sound[:, n - 1 - after : n - 1] += padded[:, before + n :][:, :after].flip(-1)
        return sound

    def _room(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Padded audio, windowed pieces and blocks of a hop, made once for a size of batch."""
        if batch not in self._rooms:
            config, new = self.config, self._window.new_zeros
            n_blocks = self.n_frames + self._n_blocks - 1
            self._rooms[batch] = (
                new(batch, self._before + self.n_samples + self._after),
                new(batch, self.n_frames, config.window_length),
                new(batch, n_blocks, config.hop_length),
            )
        return self._rooms[batch]
