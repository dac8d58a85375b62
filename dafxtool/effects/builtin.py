"""The built-in effects: what they are called, what can be set, and how each one sounds.

Audio is mono float32 (n_samples,), full scale 1.0, and comes out as long as it went in: the tail
of a delay or a reverb is cut. Settings are in the units of the parameters. Every call builds new
pedalboard instances, because a used one keeps filters, tails and smoothed gains in spite of being
reset; so the output depends on audio, sample rate and setting alone. Ranges are meant for audio
with peaks near -12 dBFS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import EffectError, MissingDependencyError
from dafxtool.utils.text import near_names

Audio = NDArray[np.float32]
Render = Callable[..., Audio]  # (dry, sample_rate, **setting) -> wet

_EFFECTS: dict[str, tuple[Effect, Render]] = {}  # filled by the functions below, in their order


def builtin_effects() -> dict[str, Effect]:
    """Every built-in effect by name, in the order of the documentation."""
    return {name: effect for name, (effect, _) in _EFFECTS.items()}


def apply_effect(
    effect: Effect, dry: Audio, sample_rate: int, setting: Mapping[str, float]
) -> Audio:
    """The wet version of dry, float32 (n_samples,), with no memory of earlier calls.

    Parameters that setting leaves out stand at their defaults. EffectError for an unknown effect,
    a value out of range at this sample rate, and audio that is not mono, finite and longer than 0.
    """
    if effect.plugin or effect.name not in _EFFECTS:
        raise EffectError(
            f"{effect.name!r} is no built-in effect: {near_names(effect.name, [*_EFFECTS])}"
        )
    dry = validate_audio(dry, f"the input of {effect.name!r}")
    complete = effect.at(sample_rate).complete(setting)
    render = _EFFECTS[effect.name][1]
    arguments = {name.replace("-", "_"): value for name, value in complete.items()}
    wet = np.asarray(render(dry, sample_rate, **arguments), dtype=np.float32)
    if wet.shape != dry.shape or not np.isfinite(wet).all():
        raise EffectError(
            f"{effect.setting_text(complete)} gave audio that is not finite, or not as long as the "
            f"input, at {sample_rate} Hz: choose another setting."
        )
    return wet


def validate_audio(audio: Any, what: str) -> Audio:
    """audio as contiguous float32 (n_samples,); EffectError when it is something else."""
    found = np.asarray(audio)
    if found.ndim != 1 or not found.size or not np.issubdtype(found.dtype, np.floating):
        raise EffectError(
            f"{what} is {found.dtype} of shape {found.shape}: give mono floating-point audio "
            f"of shape (n_samples,)."
        )
    if not np.isfinite(found).all():
        raise EffectError(f"{what} holds NaN or infinite samples: give finite audio.")
    return np.ascontiguousarray(found, dtype=np.float32)


def pedalboard_module() -> Any:
    """pedalboard, imported when first needed: it is absent on machines that only train."""
    try:
        import pedalboard
    except ImportError as error:
        raise MissingDependencyError("pedalboard", "applying effects") from error
    return pedalboard


# --- how effects are declared -------------------------------------------------------------------


def _effect(name: str, summary: str, *parameters: Parameter) -> Callable[[Render], Render]:
    def register(render: Render) -> Render:
        _EFFECTS[name] = (Effect(name, parameters, summary), render)
        return render

    return register


Ends = tuple[float, float]


def _even(
    name: str,
    unit: str,
    low: float,
    high: float,
    default: float,
    what: str = "",
    most: Ends | None = None,
) -> Parameter:
    """A linear parameter; most: its range, where that is wider than what is drawn at random."""
    return _parameter(name, unit, (low, high), most, default, "linear", what)


def _octaves(
    name: str,
    unit: str,
    low: float,
    high: float,
    default: float,
    what: str = "",
    most: Ends | None = None,
) -> Parameter:
    """A logarithmic parameter; most: its range, where wider than what is drawn at random."""
    return _parameter(name, unit, (low, high), most, default, "logarithmic", what)


def _parameter(
    name: str, unit: str, usual: Ends, most: Ends | None, default: float, scale: str, what: str
) -> Parameter:
    low, high = most or usual
    drawn = usual if most else ()
    return Parameter(name, unit, low, high, default, scale, what, usual=drawn)


def _mix(low: float, high: float, default: float = 50) -> Parameter:
    return _even("mix", "%", low, high, default, "wet part of the output", (0, 100))


def _series(dry: Audio, sample_rate: int, *plugins: Any) -> Audio:
    """dry through newly made pedalboard plugins, one behind the other."""
    return pedalboard_module().Pedalboard(list(plugins)).process(dry, sample_rate)


# --- level and distortion -----------------------------------------------------------------------


@_effect("clean", "the recording as it is")
def _clean(dry: Audio, sample_rate: int) -> Audio:
    return dry.copy()


@_effect("gain", "louder or softer", _even("gain", "dB", -24, 12, -6, most=(-80, 30)))
def _gain(dry: Audio, sample_rate: int, gain: float) -> Audio:
    return _series(dry, sample_rate, pedalboard_module().Gain(gain))


@_effect(
    "overdrive",
    "soft clipping (tanh), then a low-pass filter",
    _even("drive", "dB", 12, 42, 24, "gain in front of the clipping", most=(0, 60)),
    _octaves("tone", "Hz", 800, 8000, 3200, "cutoff of the low-pass filter", most=(200, 20_000)),
    _even("output", "dB", -24, 0, -6, most=(-48, 12)),
)
def _overdrive(dry: Audio, sample_rate: int, drive: float, tone: float, output: float) -> Audio:
    board = pedalboard_module()
    stages = (board.Distortion(drive), board.LowpassFilter(tone), board.Gain(output))
    return _series(dry, sample_rate, *stages)


@_effect(
    "distortion",
    "hard clipping at -6 dBFS, lows removed in front of it, then a low-pass filter",
    _even("drive", "dB", 18, 48, 30, "gain in front of the clipping", most=(0, 60)),
    _octaves("tone", "Hz", 800, 8000, 4000, "cutoff of the low-pass filter", most=(200, 20_000)),
    _even("output", "dB", -24, 0, -6, most=(-48, 12)),
)
def _distortion(dry: Audio, sample_rate: int, drive: float, tone: float, output: float) -> Audio:
    board = pedalboard_module()
    front = (board.HighpassFilter(150), board.Gain(drive), board.Clipping(-6))
    return _series(dry, sample_rate, *front, board.LowpassFilter(tone), board.Gain(output))


@_effect(
    "bit-crusher",
    "fewer bits and a lower sample rate, without any filter",
    _even("bits", "bit", 4, 10, 6, "2 to this power steps from -1 to 1", most=(2, 14)),
    _octaves(
        "rate",
        "Hz",
        1000,
        12_000,
        6000,
        "each sample is held this often a second",
        most=(500, 20_000),
    ),
)
def _bit_crusher(dry: Audio, sample_rate: int, bits: float, rate: float) -> Audio:
    n_held = np.floor(np.arange(dry.size) * (rate / sample_rate))
    first_of_hold = np.ceil(n_held * (sample_rate / rate)).astype(np.int64)
    held = dry[np.minimum(first_of_hold, np.arange(dry.size))]
    # Bitcrush counts steps from 0 to 1, a converter counts them from -1 to 1: one bit more.
    return _series(held, sample_rate, pedalboard_module().Bitcrush(bits - 1))


# --- echo and room ------------------------------------------------------------------------------


@_effect(
    "delay",
    "echoes",
    _octaves("time", "ms", 20, 1000, 350, "from one echo to the next", most=(1, 2000)),
    _even("feedback", "%", 0, 85, 40, "each echo against the one before", most=(0, 98)),
    _mix(10, 70),
)
def _delay(dry: Audio, sample_rate: int, time: float, feedback: float, mix: float) -> Audio:
    # pedalboard cuts the time down to whole samples: half a sample more makes that a rounding
    # (350 ms at 24 kHz came a sample early).
    seconds = (round(time * sample_rate / 1000) + 0.5) / sample_rate
    delay = pedalboard_module().Delay(seconds, feedback / 100, mix / 100)
    return _series(dry, sample_rate, delay)


@_effect(
    "reverb",
    "a room",
    _even("size", "%", 10, 100, 60, most=(0, 100)),
    _even("damping", "%", 0, 100, 40, "how much faster high frequencies die away"),
    _even("width", "%", 0, 100, 100, "how little of the other side's reflections is heard"),
    _mix(15, 70, 40),
)
def _reverb(
    dry: Audio, sample_rate: int, size: float, damping: float, width: float, mix: float
) -> Audio:
    # In mono, width would only change the level; of two channels we keep the left one.
    # Halves: the library doubles the dry level and brings white noise to about 2.4 times as wet.
    wet_level, dry_level = mix / 200, (100 - mix) / 200
    reverb = pedalboard_module().Reverb(
        size / 100, damping / 100, wet_level, dry_level, width / 100
    )
    both = np.zeros((2, max(dry.size, 16)), dtype=np.float32)  # (2, 2) would be ambiguous
    both[:, : dry.size] = dry
    return _series(both, sample_rate, reverb)[0, : dry.size]


# --- modulation ---------------------------------------------------------------------------------


@_effect(
    "chorus",
    "a second voice, slightly out of tune",
    _octaves("rate", "Hz", 0.2, 4, 1),
    _even("depth", "%", 10, 60, 25, most=(0, 100)),
    _even(
        "delay", "ms", 7, 25, 12, "between the voices, in the middle of the movement", most=(2, 30)
    ),
    _mix(30, 70),
)
def _chorus(
    dry: Audio, sample_rate: int, rate: float, depth: float, delay: float, mix: float
) -> Audio:
    chorus = pedalboard_module().Chorus(rate, depth / 100, delay, 0.0, mix / 100)
    return _series(dry, sample_rate, chorus)


@_effect(
    "flanger",
    "a moving comb filter",
    _octaves("rate", "Hz", 0.1, 2, 0.4),
    _even("depth", "%", 5, 30, 15),
    _octaves("delay", "ms", 1, 6, 3, "in the middle of the movement"),
    _even("feedback", "%", -85, 85, 50),
    _mix(30, 70),
)
def _flanger(
    dry: Audio,
    sample_rate: int,
    rate: float,
    depth: float,
    delay: float,
    feedback: float,
    mix: float,
) -> Audio:
    flanger = pedalboard_module().Chorus(rate, depth / 100, delay, feedback / 100, mix / 100)
    return _series(dry, sample_rate, flanger)


@_effect(
    "phaser",
    "notches that move through the spectrum",
    _octaves("rate", "Hz", 0.1, 4, 0.8),
    _even("depth", "%", 20, 100, 60),
    _octaves("centre", "Hz", 300, 3000, 1000),
    _even("feedback", "%", 0, 80, 40),
    _mix(30, 70),
)
def _phaser(
    dry: Audio,
    sample_rate: int,
    rate: float,
    depth: float,
    centre: float,
    feedback: float,
    mix: float,
) -> Audio:
    phaser = pedalboard_module().Phaser(rate, depth / 100, centre, feedback / 100, mix / 100)
    return _series(dry, sample_rate, phaser)


@_effect(
    "vibrato",
    "the pitch goes up and down",
    _octaves("rate", "Hz", 3, 9, 5, most=(1, 12)),
    _even("depth", "%", 3, 25, 10, "10 % at 5 Hz are 63 cents to either side", most=(1, 40)),
)
def _vibrato(dry: Audio, sample_rate: int, rate: float, depth: float) -> Audio:
    return _series(dry, sample_rate, pedalboard_module().Chorus(rate, depth / 100, 7.0, 0.0, 1.0))


@_effect(
    "tremolo",
    "the level goes down and up",
    _octaves("rate", "Hz", 2, 12, 5, most=(0.5, 20)),
    _even("depth", "%", 30, 100, 70, "how far down", most=(0, 100)),
)
def _tremolo(dry: Audio, sample_rate: int, rate: float, depth: float) -> Audio:
    phase = 2 * np.pi * rate / sample_rate * np.arange(dry.size)
    return (dry * (1 - depth / 100 * (0.5 - 0.5 * np.cos(phase)))).astype(np.float32)


@_effect(
    "ring-modulator",
    "multiplied by a sine: every frequency becomes its sum and difference with it",
    _octaves("frequency", "Hz", 50, 2000, 440, most=(5, 5000)),
    _mix(30, 100, 80),
)
def _ring_modulator(dry: Audio, sample_rate: int, frequency: float, mix: float) -> Audio:
    carrier = np.sin(2 * np.pi * frequency / sample_rate * np.arange(dry.size))
    return (dry * (1 - mix / 100 + mix / 100 * carrier)).astype(np.float32)


@_effect(
    "pitch-shift",
    "higher or lower at the same speed",
    _even("semitones", "st", -12, 12, 4),
)
def _pitch_shift(dry: Audio, sample_rate: int, semitones: float) -> Audio:
    return _series(dry, sample_rate, pedalboard_module().PitchShift(semitones))


# --- dynamics -----------------------------------------------------------------------------------


@_effect(
    "compressor",
    "loud parts softer",
    _even("threshold", "dB", -54, -30, -40, most=(-60, 0)),
    _octaves("ratio", ":1", 2, 20, 4, most=(1, 40)),
    _octaves("attack", "ms", 0.5, 50, 5, most=(0.1, 200)),
    _octaves("release", "ms", 30, 500, 100, most=(5, 2000)),
    _even("makeup", "dB", 0, 18, 6, "gain behind the compression", most=(-12, 36)),
)
def _compressor(
    dry: Audio,
    sample_rate: int,
    threshold: float,
    ratio: float,
    attack: float,
    release: float,
    makeup: float,
) -> Audio:
    board = pedalboard_module()
    compressor = board.Compressor(threshold, ratio, attack, release)
    return _series(dry, sample_rate, compressor, board.Gain(makeup))


@_effect(
    "limiter",
    "driven against a ceiling that no sample passes",
    _even("drive", "dB", 12, 36, 20, "gain in front of the limiter", most=(0, 48)),
    _even("ceiling", "dB", -18, -3, -9, most=(-30, 0)),
    _octaves("release", "ms", 20, 500, 100, most=(5, 1000)),
)
def _limiter(dry: Audio, sample_rate: int, drive: float, ceiling: float, release: float) -> Audio:
    # Not pedalboard.Limiter: it let a tone of 0 dBFS through a threshold of -6 dB at 0 dBFS.
    board = pedalboard_module()
    return _series(dry, sample_rate, board.Gain(drive), board.BrickwallLimiter(ceiling, release))


@_effect(
    "gate",
    "soft parts softer still",
    _even("threshold", "dB", -40, -20, -30, most=(-70, 0)),
    _octaves("ratio", ":1", 2, 20, 8, most=(1, 40)),
    _octaves("attack", "ms", 0.5, 20, 2, most=(0.1, 100)),
    _octaves("release", "ms", 20, 300, 80, most=(5, 1000)),
)
def _gate(
    dry: Audio, sample_rate: int, threshold: float, ratio: float, attack: float, release: float
) -> Audio:
    gate = pedalboard_module().NoiseGate(threshold, ratio, attack, release)
    return _series(dry, sample_rate, gate)


@_effect(
    "multiband",
    "three bands, each with a compressor of its own",
    _octaves("low-crossover", "Hz", 100, 600, 250),
    _octaves("high-crossover", "Hz", 1500, 6000, 2500),
    _even("threshold", "dB", -54, -24, -36, most=(-60, 0)),
    _octaves("ratio", ":1", 2, 20, 6, most=(1, 40)),
    _even("makeup", "dB", 0, 18, 9, "gain behind the compression", most=(-12, 36)),
)
def _multiband(
    dry: Audio,
    sample_rate: int,
    low_crossover: float,
    high_crossover: float,
    threshold: float,
    ratio: float,
    makeup: float,
) -> Audio:
    board = pedalboard_module()
    # What a filter leaves goes into the next band, so the bands add up to dry again.
    low = _series(dry, sample_rate, board.LowpassFilter(low_crossover))
    high = dry - _series(dry, sample_rate, board.LowpassFilter(high_crossover))
    bands = (low, dry - low - high, high)
    compressed = [
        _series(band, sample_rate, board.Compressor(threshold, ratio, 5, 100), board.Gain(makeup))
        for band in bands
    ]
    return np.sum(compressed, axis=0, dtype=np.float32)


# --- filters ------------------------------------------------------------------------------------


@_effect(
    "low-pass",
    "highs removed, 6 dB an octave",
    _octaves("cutoff", "Hz", 150, 3000, 800, most=(20, 20_000)),
)
def _low_pass(dry: Audio, sample_rate: int, cutoff: float) -> Audio:
    return _series(dry, sample_rate, pedalboard_module().LowpassFilter(cutoff))


@_effect(
    "high-pass",
    "lows removed, 6 dB an octave",
    _octaves("cutoff", "Hz", 300, 6000, 1500, most=(20, 20_000)),
)
def _high_pass(dry: Audio, sample_rate: int, cutoff: float) -> Audio:
    return _series(dry, sample_rate, pedalboard_module().HighpassFilter(cutoff))


@_effect(
    "low-shelf",
    "lows raised or lowered",
    _octaves("cutoff", "Hz", 100, 1000, 300, most=(20, 4000)),
    _even("gain", "dB", -24, 24, 12),
)
def _low_shelf(dry: Audio, sample_rate: int, cutoff: float, gain: float) -> Audio:
    return _series(dry, sample_rate, pedalboard_module().LowShelfFilter(cutoff, gain))


@_effect(
    "high-shelf",
    "highs raised or lowered",
    _octaves("cutoff", "Hz", 1000, 6000, 2500, most=(300, 16_000)),
    _even("gain", "dB", -24, 24, 12),
)
def _high_shelf(dry: Audio, sample_rate: int, cutoff: float, gain: float) -> Audio:
    return _series(dry, sample_rate, pedalboard_module().HighShelfFilter(cutoff, gain))


@_effect(
    "peak",
    "one region of the spectrum raised or lowered",
    _octaves("cutoff", "Hz", 150, 6000, 1000, "centre of the region", most=(20, 18_000)),
    _even("gain", "dB", -24, 24, 15),
    _octaves("q", "", 0.5, 8, 1.5, "centre over width", most=(0.1, 20)),
)
def _peak(dry: Audio, sample_rate: int, cutoff: float, gain: float, q: float) -> Audio:
    return _series(dry, sample_rate, pedalboard_module().PeakFilter(cutoff, gain, q))


@_effect(
    "combo",
    "a guitar amplifier and its loudspeaker",
    _even("drive", "dB", 6, 36, 20, most=(0, 60)),
    _even("bass", "dB", -12, 12, 3),
    _even("treble", "dB", -12, 12, 0),
    _octaves(
        "speaker", "Hz", 1500, 6000, 3000, "where the loudspeaker's highs end", most=(500, 16_000)
    ),
    _even("output", "dB", -24, 0, -6, most=(-48, 3)),
)
def _combo(
    dry: Audio,
    sample_rate: int,
    drive: float,
    bass: float,
    treble: float,
    speaker: float,
    output: float,
) -> Audio:
    board = pedalboard_module()
    amplifier = (board.HighpassFilter(80), board.Distortion(drive))
    tone = (board.LowShelfFilter(250, bass), board.HighShelfFilter(1500, treble))
    loudspeaker = (board.LowpassFilter(speaker), board.LowpassFilter(speaker))
    return _series(dry, sample_rate, *amplifier, *tone, *loudspeaker, board.Gain(output))
