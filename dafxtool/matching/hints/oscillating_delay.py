"""Estimate chorus, flanger and vibrato: a delay that follows a sine.

The cross-correlation of dry and wet frames is an image over time and delay, in which the delayed
voice is a sinusoidal path. Sums along all paths of a grid find it (Hough transform). The peak of a
single frame is often that of the period of the signal.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.matching.chain import Stage, render_stage
from dafxtool.matching.hints.start import Start, clipped
from dafxtool.matching.objective import frames, hann
from dafxtool.matching.pair import Array, Pair

SHORTEST_MS = 1.0  # of the delay; a sweep below it is clipped (JUCE's chorus)
SWING_MS = 10.0  # of a depth of 100 %, to either side (JUCE's chorus)
FRAME_SECONDS = 0.032
HOP_SECONDS = 0.016
N_PATHS = 7  # paths that are refined in the first rounds
N_FIRST_ROUNDS, N_TRACKED = 2, 4  # after these rounds, the best paths are refined further
N_STARTS = 3
FEEDBACKS = (60.0, -60.0)  # %
CLEAR = 0.1  # share of the voice that the right path misses at most
REACHES_MS = (1.2, 0.8, 0.5, 0.3, 0.2)  # largest correction of a path in each round
N_PHASES = 12


@dataclass(frozen=True)
class Path:
    """delay(t) = centre - depth / 100 * 10 ms * sin(2 pi (rate * t + phase)), at least 1 ms."""

    score: float
    rate: float  # Hz
    depth: float  # %
    centre: float  # ms
    phase: float  # cycles


@dataclass(frozen=True)
class Grid:
    """Paths to try: rates in Hz, depths in % and centres in ms."""

    rates: NDArray[np.float64]
    depths: NDArray[np.float64]
    centres: NDArray[np.float64]


def starts(pair: Pair, effect: Effect, any_phase: bool = False) -> list[Start]:
    """Propose rate, depth and centre of the delay.

    any_phase  whether the oscillator may have any phase at the start of the audio
    """
    grid = _grid(effect, pair.seconds)
    longest = (grid.centres.max() + grid.depths.max() / 100 * SWING_MS) / 1000 + 1e-3
    image, times = correlation_image(pair, longest)
    phases = tuple(np.arange(N_PHASES) / N_PHASES) if any_phase else (0.0,)
    scores = _scores(image, times, grid, phases, pair.sample_rate / 1000)
    paths = [Path(*each) for each in _best(scores, grid, phases, N_PATHS)]
    begun = [track(pair, path, reaches_ms=REACHES_MS[:N_FIRST_ROUNDS]) for path in paths]
    begun.sort(key=lambda each: each[1])
    tracked = [
        (*track(pair, path, reaches_ms=REACHES_MS[N_FIRST_ROUNDS:]), 0.0)
        for path, _ in begun[:N_TRACKED]
    ]
    tracked = sorted(tracked, key=lambda each: each[1])[:N_STARTS]
    if "feedback" in {p.name for p in effect.parameters}:
        tracked += _with_feedback(pair, effect, paths, tracked)
    return [_start(effect, *each) for each in tracked]


def _with_feedback(
    pair: Pair,
    effect: Effect,
    paths: Sequence[Path],
    tracked: Sequence[tuple[Path, float, float]],
) -> list[tuple[Path, float, float]]:
    """Return the best path with feedback; if it is not clear, refine paths with feedback."""
    best, misses, _ = tracked[0]
    if misses < CLEAR:
        return [(best, misses, feedback) for feedback in FEEDBACKS]
    tracked_paths = [
        (*track(pair, path, effect, feedback), feedback)
        for path in paths[:N_STARTS]
        for feedback in FEEDBACKS
    ]
    return sorted(tracked_paths, key=lambda each: each[1])[:N_STARTS]


def _start(effect: Effect, path: Path, misses: float, feedback: float) -> Start:
    values = {"rate": path.rate, "depth": path.depth, "delay": path.centre, "feedback": feedback}
    names = {p.name for p in effect.parameters}
    setting = clipped(effect, {n: v for n, v in values.items() if n in names})
    deviations = {"rate": 1e-3, "depth": 5e-3, "delay": 4e-3, "feedback": 0.2, "mix": 0.1}
    return Start(effect, setting, deviations, path.phase, misses)


def track(
    pair: Pair,
    path: Path,
    effect: Effect | None = None,
    feedback: float = 0.0,
    reaches_ms: Sequence[float] = REACHES_MS,
) -> tuple[Path, float]:
    """Refine a path by the lags between the delayed voice and the path.

    effect, feedback  flanger that renders the voice, and its feedback in %; None is a plain delay
    reaches_ms        largest correction in each round
    returns  the path, and the share of the voice's energy that it does not explain
    """
    misses = 1.0
    for reach in reaches_ms:
        delayed = _delayed(pair, path) if effect is None else _voice(pair, path, effect, feedback)
        voice = pair.wet - _share(pair.wet, pair.dry, delayed) * pair.dry
        lags, weight, times = _lags(voice, delayed, pair.sample_rate, reach)
        angle = 2 * np.pi * (path.rate * times + path.phase)
        swing = path.depth / 100 * SWING_MS
        # d lag / d (centre, swing, rate); 0 where the delay is clipped
        basis = np.stack(
            [np.ones_like(times), -np.sin(angle), -swing * 2 * np.pi * times * np.cos(angle)]
        ) * (path.centre - swing * np.sin(angle) > SHORTEST_MS)
        change = _robust_fit(basis, lags, weight, reach)
        path = Path(
            misses,
            float(np.clip(path.rate + change[2], 0.05, 20)),
            float(max(path.depth + 100 * change[1] / SWING_MS, 0.5)),
            float(max(path.centre + change[0], 0.1)),
            path.phase,
        )
        misses = 1 - float(weight[np.abs(lags) < 0.3 * reach].sum() / max(weight.sum(), 1e-12))
    return path, misses


def _delayed(pair: Pair, path: Path) -> Array:
    """Delay the dry audio along the path."""
    n = np.arange(pair.dry.size)
    wave = -np.sin(2 * np.pi * (path.rate / pair.sample_rate * n + path.phase))
    milliseconds = path.centre + path.depth / 100 * SWING_MS * wave
    delay = np.maximum(milliseconds, SHORTEST_MS) * (pair.sample_rate / 1000)
    return np.interp(n - delay, n, pair.dry, left=0.0).astype(np.float32)


def _voice(pair: Pair, path: Path, effect: Effect, feedback: float) -> Array:
    """Apply the effect to the dry audio, without direct sound."""
    mix = effect.parameter("mix").maximum
    values = {"rate": path.rate, "depth": path.depth, "delay": path.centre}
    setting = clipped(effect, values | {"feedback": feedback, "mix": mix})
    stage = Stage(effect, effect.default_setting() | setting, path.phase)
    direct = np.float32(1 - mix / 100)
    voice = render_stage(stage, pair.dry, pair.sample_rate) - direct * pair.dry
    return (voice / (1 - direct)).astype(np.float32)


def _share(wet: Array, dry: Array, delayed: Array) -> np.float32:
    """Return the gain of the direct sound in the wet audio, by least squares."""
    basis = np.stack([dry, delayed]).astype(np.float64)
    solution = np.linalg.lstsq(basis @ basis.T, basis @ wet, rcond=None)[0]
    return np.float32(solution[0])


def _lags(
    voice: Array, delayed: Array, rate: int, reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return lag in ms (within `reach` ms), weight and centre in s of each frame of the voice."""
    length, hop = round(FRAME_SECONDS * rate), round(HOP_SECONDS * rate)
    most = max(3, round(reach * rate / 1000))
    n_fft = scipy.fft.next_fast_len(length + most, real=True)
    window = hann(length)
    first, second = (
        scipy.fft.rfft(frames(x, length, hop) * window, n_fft) for x in (voice, delayed)
    )
    cross = first * second.conj()
    size = np.abs(cross)
    cross /= np.sqrt(size) + 1e-3 * np.sqrt(size.max(axis=1, keepdims=True)) + 1e-12
    image = scipy.fft.irfft(cross, n_fft)[:, np.arange(-most, most + 1)]
    peak = np.clip(np.argmax(image, axis=1), 1, 2 * most - 1)
    rows = np.arange(len(image))
    before, at, after = (image[rows, peak + step] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    fine = np.where(bend < 0, 0.5 * (before - after) / np.minimum(bend, -1e-12), 0.0)
    lags = (peak - most + np.clip(fine, -0.5, 0.5)) * 1000 / rate
    weight = np.maximum(at, 0) * (np.abs(peak - most) < most - 1)
    times = (rows * hop + length / 2) / rate
    return lags, np.minimum(weight, 4 * np.median(weight) + 1e-12), times


def _robust_fit(
    basis: NDArray[np.float64],
    lags: NDArray[np.float64],
    weight: NDArray[np.float64],
    reach: float,
) -> NDArray[np.float64]:
    """Fit coefficients (3,) by least squares with small weights for large residuals."""
    scale = np.sqrt(np.square(basis).mean(axis=1)) + 1e-9
    scaled = basis / scale[:, None]
    solution = np.zeros(len(basis))
    width = 0.5 * reach
    for _ in range(8):
        residual = lags - solution @ scaled
        robust_weight = weight / (1 + np.square(residual / width)) ** 2
        matrix = (scaled * robust_weight) @ scaled.T + 1e-9 * robust_weight.sum() * np.eye(
            len(basis)
        )
        solution = np.linalg.solve(
            matrix + 1e-12 * np.eye(len(basis)), (scaled * robust_weight) @ lags
        )
        width = max(0.7 * width, 0.1 * reach)
    return solution / scale


def _grid(effect: Effect, seconds: float) -> Grid:
    slowest, fastest = effect.parameter("rate").usual_range()
    step = 0.25 / max(seconds, 0.5)
    n_rates = int(np.ceil((fastest - slowest) / step)) + 1
    rates = np.linspace(slowest, fastest, min(n_rates, 100))
    depths = np.linspace(*effect.parameter("depth").usual_range(), 12)
    centres = np.array([7.0])
    if any(p.name == "delay" for p in effect.parameters):
        shortest, longest = effect.parameter("delay").usual_range()
        spacing = 0.5 if longest > 10 else 0.25
        centres = np.arange(shortest, longest + spacing, spacing)
    return Grid(rates, depths, centres)


def correlation_image(pair: Pair, longest: float) -> tuple[NDArray[np.float32], NDArray]:
    """Correlate wet frames with the dry audio before them: (n_frames, n_lags).

    longest  longest delay in seconds
    returns  the image, and the centre of each frame in seconds
    """
    rate = pair.sample_rate
    length, hop, n_lags = (round(s * rate) for s in (FRAME_SECONDS, HOP_SECONDS, longest))
    dry = np.concatenate([np.zeros(n_lags, np.float32), pair.dry])
    n_fft = scipy.fft.next_fast_len(length + n_lags, real=True)
    wet_frames = frames(pair.wet, length, hop) * hann(length)
    dry_frames = frames(dry, length + n_lags, hop)[: len(wet_frames)]
    wet_frames = wet_frames[: len(dry_frames)]
    wet, reference = scipy.fft.rfft(wet_frames, n_fft), scipy.fft.rfft(dry_frames, n_fft)
    size = np.square(np.abs(reference))
    whitened = np.sqrt(size) + 0.03 * np.sqrt(size.mean(axis=1, keepdims=True)) + 1e-9
    cross = scipy.fft.irfft(wet * reference.conj() / whitened / (np.abs(wet) ** 0.5 + 1e-6), n_fft)
    # A wet frame starts n_lags after the dry one.
    image = cross[:, (np.arange(n_lags) - n_lags) % n_fft]
    energy = np.sqrt(np.square(image).sum(axis=1, keepdims=True)) + 1e-9
    # All frames that are not silent have about the same weight.
    loudness = np.sqrt(np.abs(wet).max(axis=1, keepdims=True))
    image = image / energy * (loudness / (loudness + 0.3 * loudness.mean() + 1e-9))
    image -= image.mean(axis=0)  # the direct sound, which does not move
    scale = image.std(axis=0)  # short lags vary most: voices correlate with themselves there
    image /= scale + 0.3 * scale.mean() + 1e-9
    times = (np.arange(len(image)) * hop + length / 2) / rate
    return image.astype(np.float32), times


def _scores(
    image: NDArray[np.float32],
    times: NDArray[np.float64],
    grid: Grid,
    phases: tuple[float, ...],
    steps_per_ms: float,
) -> NDArray[np.float32]:
    """Average the image along each path: (n_rates, n_phases, n_depths, n_centres)."""
    n_frames, n_lags = image.shape
    # The larger of the neighbours, so that a path half a grid step off still meets the ridge.
    width = max(1, round(0.15 * steps_per_ms))
    near = _dilated(image, width)
    rows = np.arange(n_frames)[:, None, None]
    centres = grid.centres[None, None, :] * steps_per_ms
    scores = np.zeros(
        (len(grid.rates), len(phases), len(grid.depths), len(grid.centres)), dtype=np.float32
    )
    for (i, rate), (j, phase) in itertools.product(enumerate(grid.rates), enumerate(phases)):
        wave = -np.sin(2 * np.pi * (rate * times + phase))[:, None, None]
        swing = wave * grid.depths[None, :, None] / 100 * SWING_MS * steps_per_ms
        lags = np.rint(np.maximum(centres + swing, SHORTEST_MS * steps_per_ms)).astype(np.int64)
        scores[i, j] = near[rows, np.minimum(lags, n_lags - 1)].mean(axis=0)
    return scores


def _dilated(image: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    from scipy.ndimage import maximum_filter1d

    return maximum_filter1d(image, 2 * width + 1, axis=1)


def _best(
    scores: NDArray[np.float32], grid: Grid, phases: tuple[float, ...], n: int
) -> list[tuple[float, float, float, float, float]]:
    """Return the n highest scores that are no neighbours: (score, rate, depth, centre, phase)."""
    scores = scores.copy()
    best = []
    for _ in range(n):
        i, j, k, m = np.unravel_index(int(np.argmax(scores)), scores.shape)
        best.append(
            (
                float(scores[i, j, k, m]),
                float(grid.rates[i]),
                float(grid.depths[k]),
                float(grid.centres[m]),
                float(phases[j]),
            )
        )
        scores[max(0, i - 1) : i + 2, :, max(0, k - 1) : k + 2, max(0, m - 2) : m + 3] = -1
    return best
