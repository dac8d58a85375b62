"""Reconstruct audio from STFT magnitudes (phase retrieval).

A solution lies in two sets of spectra: those with the given magnitudes, and those that are the STFT
of some audio. All methods project alternately onto the two sets.

griffin-lim  random phase, then fast Griffin-Lim (Perraudin, Balazs & Søndergaard 2013)
fast         PGHI phase (`pghi`), then relaxed averaged alternating reflections (RAAR; Luke 2005,
             arXiv:math/0405208), then fast Griffin-Lim
best         the same with more iterations

If the dry recording is known, start from its phase: this helps more than any choice of method.

Internal spectra are (..., n_frames, n_bins), time first, as torch.fft returns them. Arguments and
results are (n_bins, n_frames). The reported spectral convergence is
20 log10(|| |STFT(audio)| - magnitude || / || magnitude ||) in dB; lower is better. It compares
methods on one spectrogram and does not measure audio quality.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafxtool.config import SpectrogramConfig
from dafxtool.errors import ConfigError, InputError
from dafxtool.spectrogram.fast_stft import FastStft
from dafxtool.spectrogram.pghi import pghi_phase
from dafxtool.spectrogram.stft import as_audio, modulus, stft
from dafxtool.utils.device import pick_device

if TYPE_CHECKING:
    from dafxtool.spectrogram.stft import Array

TINY = 1e-30  # avoids division by a magnitude of 0
EXACT_DB = -200.0  # reported convergence of an exact inversion, instead of minus infinity


@dataclass(frozen=True)
class RaarSchedule:
    """Parameters of RAAR.

    b, last_b  relaxation in the first and the last iteration, interpolated linearly
    g          over-relaxation of the projection onto the magnitudes; 1 is a reflection

    b near or slightly above 1 explores; lower values converge. Above b = 1.1 or g = 2 the iteration
    diverges.
    """

    b: float
    last_b: float
    g: float


# Decoded magnitudes are the STFT of no audio. Exploring does not help there, so b is lower, and
# more of the iterations are Griffin-Lim.
DECODED_RAAR = RaarSchedule(b=0.8, last_b=0.8, g=1.0)
DECODED_RAAR_SHARE = 0.78  # of the iterations
MOMENTUM = 0.99  # of fast Griffin-Lim


@dataclass(frozen=True)
class Method:
    """A phase-retrieval method of METHODS.

    iterations        default number of iterations
    known_iterations  default if the phase of a recording is given, which starts closer
    decoded_iterations
                      default if, besides, the magnitude is decoded: its errors would move the phase
                      away from the recording's
    start             initial phase: "gradient" (PGHI) or "random"
    raar              None: fast Griffin-Lim only
    raar_share        fraction of the iterations that are RAAR; the rest is fast Griffin-Lim
    """

    iterations: int
    summary: str
    known_iterations: int
    decoded_iterations: int
    start: str = "gradient"
    raar: RaarSchedule | None = None
    raar_share: float = 0.0


# Tuned on 16 clips of speech and instruments; benchmarks/bench_inversion.py evaluates others.
METHODS: dict[str, Method] = {
    "griffin-lim": Method(32, "fast Griffin-Lim from random phase", 32, 32, start="random"),
    "fast": Method(
        62,
        "PGHI phase, then RAAR with decreasing relaxation, then Griffin-Lim",
        48,
        2,
        raar=RaarSchedule(b=1.08, last_b=0.75, g=1.85),
        raar_share=0.92,
    ),
    "best": Method(
        340,
        "the same with stronger relaxation and five times as many iterations",
        340,
        2,
        raar=RaarSchedule(b=1.03, last_b=0.93, g=1.85),
        raar_share=0.9,
    ),
}


@dataclass(frozen=True)
class Inversion:
    """Result of `invert`.

    audio           float32 (n_samples,)
    convergence_db  spectral convergence of its magnitude with the one given, in dB; NaN for silence
    """

    audio: NDArray[np.float32]
    convergence_db: float
    method: str
    iterations: int


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one CPU thread; does nothing outside the main thread.

    The arrays of one clip are small. With more threads, synchronisation costs more than it saves,
    and several times as much on a busy machine.
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
    """Reconstruct audio (n_samples,) from a linear magnitude (n_bins, n_frames).

    n_samples   by default the configuration's, if the number of frames allows it; otherwise
                (n_frames - 1) * hop_length
    method      name in METHODS
    iterations  by default the method's number; 0 returns the audio of the initial phase
    phase_from  recording (n_samples,), such as the dry one, whose phase is the initial phase
    phase       initial phase (n_bins, n_frames) in radians
    seed        of the random initial phase
    consistent  False for decoded magnitudes, which are the STFT of no audio

    Negative values, which decoders produce, count as 0.

    ConfigError  the method is unknown
    InputError   NaN, infinity, wrong shapes or lengths
    """
    chosen = find_method(method)
    is_blind = phase_from is None and phase is None
    known = chosen.known_iterations if consistent else chosen.decoded_iterations
    default = chosen.iterations if is_blind else known
    n_iterations = default if iterations is None else iterations
    if n_iterations < 0:
        raise InputError(
            f"iterations: out of range (found {n_iterations}, expected 0 or more). Use a larger "
            "--iterations."
        )
    target = _check_magnitude(magnitude, config).to(pick_device(device))
    length = _resolve_length(n_samples, target.shape[0], config)
    # Scaling to a peak of 1 keeps quiet spectrograms precise and loud ones finite in float32.
    scale = float(target.max())
    if scale == 0:
        silence = np.zeros(length, dtype=np.float32)
        return Inversion(silence, math.nan, method, n_iterations)
    target = target / scale
    transform = FastStft(config, length, target.device)
    angle = _initial_phase(target, transform, chosen, phase_from, phase, seed)
    spectrum = torch.polar(target, angle)
    scaled = _iterate(spectrum, target, transform, chosen, n_iterations, consistent)
    convergence = _convergence_db(modulus(transform.analyse(scaled)), target)
    audio = (scaled * scale).cpu().numpy()
    return Inversion(audio, convergence, method, n_iterations)


def find_method(name: str) -> Method:
    """Return the method of a name. Raises ConfigError for an unknown name."""
    if name not in METHODS:
        raise ConfigError(f"method: unknown name {name!r}. Use {', '.join(METHODS)}.")
    return METHODS[name]


def spectral_convergence_db(audio: Array, magnitude: Array, config: SpectrogramConfig) -> float:
    """Compute the spectral convergence of audio (n_samples,) with a magnitude, in dB.

    magnitude  linear (n_bins, n_frames)

    Silent audio has 0 dB; lower is better. NaN for the magnitude of silence.
    """
    target = _check_magnitude(magnitude, config)
    samples = as_audio(audio).to(target.device)
    _resolve_length(samples.shape[-1], target.shape[0], config)
    return _convergence_db(modulus(stft(samples, config)).transpose(-1, -2), target)


def _convergence_db(magnitude: Tensor, target: Tensor) -> float:
    error, norm = float(torch.linalg.norm(magnitude - target)), float(torch.linalg.norm(target))
    if norm == 0:
        return math.nan
    return 20 * math.log10(error / norm) if error > 0 else EXACT_DB


def _check_magnitude(magnitude: Array, config: SpectrogramConfig) -> Tensor:
    """Return the magnitude as contiguous (n_frames, n_bins) without negative values."""
    values = torch.as_tensor(magnitude)
    if values.ndim != 2 or values.shape[0] != config.n_bins or values.shape[1] < 1:
        raise InputError(
            f"magnitude: wrong shape (found {tuple(values.shape)}, expected ({config.n_bins}, "
            f"n_frames) for n_fft {config.n_fft}). Transpose it or change n_fft."
        )
    if values.is_complex() or not bool(torch.isfinite(values).all()):
        raise InputError(
            "magnitude: complex, infinite or NaN values (expected finite real numbers). Check the "
            "program that computed it."
        )
    return values.to(torch.float32).clamp_min(0.0).transpose(0, 1).contiguous()


def _resolve_length(n_samples: int | None, n_frames: int, config: SpectrogramConfig) -> int:
    """Check n_samples against the number of frames; return a default for None."""
    shortest = max(1, (n_frames - 1) * config.hop_length)
    longest = n_frames * config.hop_length - 1 if config.hop_length > 1 else shortest
    if n_samples is None:
        return config.n_samples if shortest <= config.n_samples <= longest else shortest
    if not shortest <= n_samples <= longest:
        raise InputError(
            f"n_samples: does not fit {n_frames} frames every {config.hop_length} samples (found "
            f"{n_samples}, expected {shortest} to {longest}). Use another length."
        )
    return n_samples


def _initial_phase(
    target: Tensor,
    transform: FastStft,
    method: Method,
    phase_from: Array | None,
    phase: Array | None,
    seed: int,
) -> Tensor:
    """Return the initial phase (n_frames, n_bins), in the convention of `transform`."""
    config, shape = transform.config, (transform.config.n_bins, target.shape[0])
    if phase is not None and phase_from is not None:
        raise InputError("phase and phase_from: cannot be combined. Choose one.")
    if phase is not None:
        angle = torch.as_tensor(phase).to(target)
        if tuple(angle.shape) != shape or not bool(torch.isfinite(angle).all()):
            raise InputError(
                f"phase: wrong shape or not finite (found shape {tuple(angle.shape)}, expected "
                f"finite {shape}). Use the phase of this spectrogram."
            )
        return transform.shift_phase(angle.transpose(0, 1))
    if phase_from is not None:
        samples = as_audio(phase_from).to(target.device)
        expected = (transform.n_samples,)
        if tuple(samples.shape) != expected or not bool(torch.isfinite(samples).all()):
            raise InputError(
                f"phase_from: wrong shape or not finite (found shape {tuple(samples.shape)}, "
                f"expected finite {expected}). Use a recording as long as the result."
            )
        return transform.analyse(samples).angle()
    if method.start == "random":
        uniform = np.random.default_rng(seed).uniform(-np.pi, np.pi, tuple(target.shape))
        return torch.from_numpy(uniform.astype(np.float32)).to(target.device)
    estimate = pghi_phase(target.cpu().numpy(), config, seed)
    return transform.shift_phase(torch.from_numpy(estimate).to(target.device))


def _iterate(
    spectrum: Tensor,
    target: Tensor,
    transform: FastStft,
    method: Method,
    n_iterations: int,
    consistent: bool,
) -> Tensor:
    """Return audio (..., n_samples), starting from a spectrum with the target magnitudes."""
    if method.raar is None:
        return griffin_lim(spectrum, target, transform, n_iterations)
    schedule = method.raar if consistent else DECODED_RAAR
    share = method.raar_share if consistent else DECODED_RAAR_SHARE
    n_raar = round(share * n_iterations)
    spectrum = raar(spectrum, target, transform, n_raar, schedule)
    return griffin_lim(spectrum, target, transform, n_iterations - n_raar)


def raar(
    spectrum: Tensor,
    target: Tensor,
    transform: FastStft,
    n_iterations: int,
    schedule: RaarSchedule,
) -> Tensor:
    """Run relaxed averaged alternating reflections; return a spectrum with the target magnitudes.

    Let A be the projection of the iterate X onto the magnitudes, and C the projection of
    (1 + g) A - g X onto the spectra of audio. Each iteration replaces X by b (X + C) + (1 - 2b) A.
    Synthesis is linear, so the audio of X follows from the audio of A by the same formula, and only
    A needs to be synthesised.
    """
    g, workspace = schedule.g, torch.empty_like(target)
    spectrum = spectrum.clone()
    iterate, projection = torch.view_as_real(spectrum), torch.empty_like(spectrum)
    audio = transform.synthesise(spectrum)
    projected_audio, relaxed_audio = torch.empty_like(audio), torch.empty_like(audio)
    for b in np.linspace(schedule.b, schedule.last_b, n_iterations).tolist():
        project_onto_magnitudes(spectrum, target, projection, workspace)
        transform.synthesise(projection, projected_audio)
        torch.lerp(audio, projected_audio, 1 + g, out=relaxed_audio).mul_(b)
        audio.lerp_(projected_audio, 1 - b * (1 - g))
        iterate.mul_(b).add_(torch.view_as_real(projection), alpha=1 - 2 * b)
        iterate.add_(torch.view_as_real(transform.analyse(relaxed_audio)))
    return project_onto_magnitudes(spectrum, target, spectrum, workspace)


def griffin_lim(spectrum: Tensor, target: Tensor, transform: FastStft, n_iterations: int) -> Tensor:
    """Run fast Griffin-Lim; return audio (..., n_samples).

    Momentum is applied to the audio instead of the spectrum: equal, because the STFT is linear, and
    cheaper.
    """
    workspace = torch.empty_like(target)
    audio = transform.synthesise(spectrum)
    extrapolation = audio.clone()
    for _ in range(n_iterations):
        iterate = transform.analyse(extrapolation)
        torch.mul(audio, -MOMENTUM, out=extrapolation)
        transform.synthesise(project_onto_magnitudes(iterate, target, iterate, workspace), audio)
        extrapolation.add_(audio, alpha=1 + MOMENTUM)
    return audio


def project_onto_magnitudes(
    spectrum: Tensor, target: Tensor, out: Tensor | None = None, workspace: Tensor | None = None
) -> Tensor:
    """Return the nearest spectrum with the target magnitudes: the phase is kept.

    Bins of value 0 have no phase and stay 0.

    out        holds the result; may be the spectrum itself
    workspace  array like the target for intermediate values; allocating one in every iteration
               costs as much as the arithmetic

    On a CPU numpy computes this, several times as fast as torch.
    """
    if spectrum.device.type != "cpu":
        return torch.mul(spectrum, target / spectrum.abs().clamp_min_(TINY), out=out)
    workspace = torch.empty_like(target) if workspace is None else workspace
    out = torch.empty_like(spectrum) if out is None else out
    values = spectrum.numpy()
    np.abs(values, out=workspace.numpy())
    torch.div(target, workspace.clamp_min_(TINY), out=workspace)
    np.multiply(values, workspace.numpy(), out=out.numpy())
    return out
