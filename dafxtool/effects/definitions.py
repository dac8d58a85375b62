"""Define the built-in effects: parameters and signal processing.

Audio is mono float32 (n_samples,), full scale 1.0. The output is as long as the input, so the tail
of a delay or a reverb is cut. Every call builds new pedalboard processors, because a used one keeps
filter states, tails and smoothed gains even after a reset. So the output depends on audio, sample
rate and setting alone. Ranges are meant for audio with peaks near -12 dBFS.
"""

from __future__ import annotations

import numpy as np

from dafxtool.effects.registry import (
    Audio,
    dry_wet_mix,
    linear,
    logarithmic,
    pedalboard_module,
    process,
    register_effect,
)

# Level and distortion


@register_effect("clean", "unchanged recording")
def _clean(dry: Audio, sample_rate: int) -> Audio:
    return dry.copy()


@register_effect("gain", "level change", linear("gain", "dB", -24, 12, -6, limits=(-80, 30)))
def _gain(dry: Audio, sample_rate: int, gain: float) -> Audio:
    return process(dry, sample_rate, pedalboard_module().Gain(gain))


@register_effect(
    "overdrive",
    "soft clipping (tanh), then a low-pass filter",
    linear("drive", "dB", 12, 42, 24, "gain before the clipping", limits=(0, 60)),
    logarithmic("tone", "Hz", 800, 8000, 3200, "low-pass cutoff", limits=(200, 20_000)),
    linear("output", "dB", -24, 0, -6, limits=(-48, 12)),
)
def _overdrive(dry: Audio, sample_rate: int, drive: float, tone: float, output: float) -> Audio:
    board = pedalboard_module()
    stages = (board.Distortion(drive), board.LowpassFilter(tone), board.Gain(output))
    return process(dry, sample_rate, *stages)


@register_effect(
    "distortion",
    "high-pass filter, hard clipping at -6 dBFS, then a low-pass filter",
    linear("drive", "dB", 18, 48, 30, "gain before the clipping", limits=(0, 60)),
    logarithmic("tone", "Hz", 800, 8000, 4000, "low-pass cutoff", limits=(200, 20_000)),
    linear("output", "dB", -24, 0, -6, limits=(-48, 12)),
)
def _distortion(dry: Audio, sample_rate: int, drive: float, tone: float, output: float) -> Audio:
    board = pedalboard_module()
    front = (board.HighpassFilter(150), board.Gain(drive), board.Clipping(-6))
    return process(dry, sample_rate, *front, board.LowpassFilter(tone), board.Gain(output))


@register_effect(
    "bit-crusher",
    "fewer bits and a lower sample rate, without a filter",
    linear(
        "bits",
        "bit",
        4,
        10,
        6,
        "2^bits steps from -1 to 1",
        limits=(2, 14),
    ),
    logarithmic(
        "rate",
        "Hz",
        1000,
        12_000,
        6000,
        "sample rate: samples held per second",
        limits=(500, 20_000),
    ),
)
def _bit_crusher(dry: Audio, sample_rate: int, bits: float, rate: float) -> Audio:
    n_held = np.floor(np.arange(dry.size) * (rate / sample_rate))
    first_of_hold = np.ceil(n_held * (sample_rate / rate)).astype(np.int64)
    held = dry[np.minimum(first_of_hold, np.arange(dry.size))]
    # Bitcrush counts the steps from 0 to 1, a converter those from -1 to 1: one bit more.
    return process(held, sample_rate, pedalboard_module().Bitcrush(bits - 1))


# Echo and room


@register_effect(
    "delay",
    "echoes",
    logarithmic("time", "ms", 20, 1000, 350, "time between two echoes", limits=(1, 2000)),
    linear("feedback", "%", 0, 85, 40, "gain from each echo to the next", limits=(0, 98)),
    dry_wet_mix(10, 70),
)
def _delay(dry: Audio, sample_rate: int, time: float, feedback: float, mix: float) -> Audio:
    # pedalboard truncates the time to whole samples (350 ms at 24 kHz came a sample early). Adding
    # half a sample rounds it instead.
    seconds = (round(time * sample_rate / 1000) + 0.5) / sample_rate
    delay = pedalboard_module().Delay(seconds, feedback / 100, mix / 100)
    return process(dry, sample_rate, delay)


@register_effect(
    "reverb",
    "room reverberation",
    linear("size", "%", 10, 100, 60, limits=(0, 100)),
    linear("damping", "%", 0, 100, 40, "how much faster high frequencies decay"),
    linear("width", "%", 0, 100, 100, "stereo width: 0 % mixes both channels equally"),
    dry_wet_mix(15, 70, 40),
)
def _reverb(
    dry: Audio, sample_rate: int, size: float, damping: float, width: float, mix: float
) -> Audio:
    # In mono, width would only change the level. So two channels are rendered, and the left one is
    # kept. Levels are halved because the library doubles the dry level, and amplifies white noise
    # about 2.4 times in the wet part.
    wet_level, dry_level = mix / 200, (100 - mix) / 200
    reverb = pedalboard_module().Reverb(
        size / 100, damping / 100, wet_level, dry_level, width / 100
    )
    both = np.zeros((2, max(dry.size, 16)), dtype=np.float32)  # (2, 2) would be ambiguous
    both[:, : dry.size] = dry
    return process(both, sample_rate, reverb)[0, : dry.size]


# Modulation


@register_effect(
    "chorus",
    "a second, slightly detuned voice",
    logarithmic("rate", "Hz", 0.2, 4, 1),
    linear("depth", "%", 10, 60, 25, limits=(0, 100)),
    linear("delay", "ms", 7, 25, 12, "mean delay between the voices", limits=(2, 30)),
    dry_wet_mix(30, 70),
)
def _chorus(
    dry: Audio, sample_rate: int, rate: float, depth: float, delay: float, mix: float
) -> Audio:
    chorus = pedalboard_module().Chorus(rate, depth / 100, delay, 0.0, mix / 100)
    return process(dry, sample_rate, chorus)


@register_effect(
    "flanger",
    "modulated comb filter with a short delay",
    logarithmic("rate", "Hz", 0.1, 2, 0.4),
    linear("depth", "%", 5, 30, 15),
    logarithmic("delay", "ms", 1, 6, 3, "mean delay"),
    linear("feedback", "%", -85, 85, 50),
    dry_wet_mix(30, 70),
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
    return process(dry, sample_rate, flanger)


@register_effect(
    "phaser",
    "notches that sweep through the spectrum",
    logarithmic("rate", "Hz", 0.1, 4, 0.8),
    linear("depth", "%", 20, 100, 60),
    logarithmic("centre", "Hz", 300, 3000, 1000),
    linear("feedback", "%", 0, 80, 40),
    dry_wet_mix(30, 70),
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
    return process(dry, sample_rate, phaser)


@register_effect(
    "vibrato",
    "periodic pitch modulation",
    logarithmic("rate", "Hz", 3, 9, 5, limits=(1, 12)),
    linear("depth", "%", 3, 25, 10, "10 % at 5 Hz are +/- 63 cents", limits=(1, 40)),
)
def _vibrato(dry: Audio, sample_rate: int, rate: float, depth: float) -> Audio:
    return process(dry, sample_rate, pedalboard_module().Chorus(rate, depth / 100, 7.0, 0.0, 1.0))


@register_effect(
    "tremolo",
    "periodic level modulation",
    logarithmic("rate", "Hz", 2, 12, 5, limits=(0.5, 20)),
    linear("depth", "%", 30, 100, 70, "reduction at the lowest level", limits=(0, 100)),
)
def _tremolo(dry: Audio, sample_rate: int, rate: float, depth: float) -> Audio:
    phase = 2 * np.pi * rate / sample_rate * np.arange(dry.size)
    return (dry * (1 - depth / 100 * (0.5 - 0.5 * np.cos(phase)))).astype(np.float32)


@register_effect(
    "ring-modulator",
    "multiplication by a sine: gives sum and difference frequencies",
    logarithmic("frequency", "Hz", 50, 2000, 440, limits=(5, 5000)),
    dry_wet_mix(30, 100, 80),
)
def _ring_modulator(dry: Audio, sample_rate: int, frequency: float, mix: float) -> Audio:
    carrier = np.sin(2 * np.pi * frequency / sample_rate * np.arange(dry.size))
    return (dry * (1 - mix / 100 + mix / 100 * carrier)).astype(np.float32)


@register_effect(
    "pitch-shift",
    "higher or lower pitch at the same speed",
    linear("semitones", "st", -12, 12, 4),
)
def _pitch_shift(dry: Audio, sample_rate: int, semitones: float) -> Audio:
    return process(dry, sample_rate, pedalboard_module().PitchShift(semitones))


# Dynamics


@register_effect(
    "compressor",
    "attenuation above a threshold",
    linear("threshold", "dB", -54, -30, -40, limits=(-60, 0)),
    logarithmic("ratio", ":1", 2, 20, 4, limits=(1, 40)),
    logarithmic("attack", "ms", 0.5, 50, 5, limits=(0.1, 200)),
    logarithmic("release", "ms", 30, 500, 100, limits=(5, 2000)),
    linear("makeup", "dB", 0, 18, 6, "gain after the compression", limits=(-12, 36)),
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
    return process(dry, sample_rate, compressor, board.Gain(makeup))


@register_effect(
    "limiter",
    "input gain, then a brick-wall limiter",
    linear("drive", "dB", 12, 36, 20, "gain before the limiter", limits=(0, 48)),
    linear("ceiling", "dB", -18, -3, -9, limits=(-30, 0)),
    logarithmic("release", "ms", 20, 500, 100, limits=(5, 1000)),
)
def _limiter(dry: Audio, sample_rate: int, drive: float, ceiling: float, release: float) -> Audio:
    # Not pedalboard.Limiter: it let a tone of 0 dBFS through a threshold of -6 dB at 0 dBFS.
    board = pedalboard_module()
    return process(dry, sample_rate, board.Gain(drive), board.BrickwallLimiter(ceiling, release))


@register_effect(
    "gate",
    "attenuation below a threshold",
    linear("threshold", "dB", -40, -20, -30, limits=(-70, 0)),
    logarithmic("ratio", ":1", 2, 20, 8, limits=(1, 40)),
    logarithmic("attack", "ms", 0.5, 20, 2, limits=(0.1, 100)),
    logarithmic("release", "ms", 20, 300, 80, limits=(5, 1000)),
)
def _gate(
    dry: Audio, sample_rate: int, threshold: float, ratio: float, attack: float, release: float
) -> Audio:
    gate = pedalboard_module().NoiseGate(threshold, ratio, attack, release)
    return process(dry, sample_rate, gate)


@register_effect(
    "multiband",
    "three frequency bands, each with its own compressor",
    logarithmic("low-crossover", "Hz", 100, 600, 250),
    logarithmic("high-crossover", "Hz", 1500, 6000, 2500),
    linear("threshold", "dB", -54, -24, -36, limits=(-60, 0)),
    logarithmic("ratio", ":1", 2, 20, 6, limits=(1, 40)),
    linear("makeup", "dB", 0, 18, 9, "gain after the compression", limits=(-12, 36)),
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
    # Each band is the rest that the filters before it leave, so the bands add up to dry.
    low = process(dry, sample_rate, board.LowpassFilter(low_crossover))
    high = dry - process(dry, sample_rate, board.LowpassFilter(high_crossover))
    bands = (low, dry - low - high, high)
    compressed = [
        process(band, sample_rate, board.Compressor(threshold, ratio, 5, 100), board.Gain(makeup))
        for band in bands
    ]
    return np.sum(compressed, axis=0, dtype=np.float32)


# Filters


@register_effect(
    "low-pass",
    "highs attenuated, 6 dB per octave",
    logarithmic("cutoff", "Hz", 150, 3000, 800, limits=(20, 20_000)),
)
def _low_pass(dry: Audio, sample_rate: int, cutoff: float) -> Audio:
    return process(dry, sample_rate, pedalboard_module().LowpassFilter(cutoff))


@register_effect(
    "high-pass",
    "lows attenuated, 6 dB per octave",
    logarithmic("cutoff", "Hz", 300, 6000, 1500, limits=(20, 20_000)),
)
def _high_pass(dry: Audio, sample_rate: int, cutoff: float) -> Audio:
    return process(dry, sample_rate, pedalboard_module().HighpassFilter(cutoff))


@register_effect(
    "low-shelf",
    "lows amplified or attenuated",
    logarithmic("cutoff", "Hz", 100, 1000, 300, limits=(20, 4000)),
    linear("gain", "dB", -24, 24, 12),
)
def _low_shelf(dry: Audio, sample_rate: int, cutoff: float, gain: float) -> Audio:
    return process(dry, sample_rate, pedalboard_module().LowShelfFilter(cutoff, gain))


@register_effect(
    "high-shelf",
    "highs amplified or attenuated",
    logarithmic("cutoff", "Hz", 1000, 6000, 2500, limits=(300, 16_000)),
    linear("gain", "dB", -24, 24, 12),
)
def _high_shelf(dry: Audio, sample_rate: int, cutoff: float, gain: float) -> Audio:
    return process(dry, sample_rate, pedalboard_module().HighShelfFilter(cutoff, gain))


@register_effect(
    "peak",
    "one frequency band amplified or attenuated",
    logarithmic("cutoff", "Hz", 150, 6000, 1000, "centre of the band", limits=(20, 18_000)),
    linear("gain", "dB", -24, 24, 15),
    logarithmic("q", "", 0.5, 8, 1.5, "centre frequency divided by bandwidth", limits=(0.1, 20)),
)
def _peak(dry: Audio, sample_rate: int, cutoff: float, gain: float, q: float) -> Audio:
    return process(dry, sample_rate, pedalboard_module().PeakFilter(cutoff, gain, q))


@register_effect(
    "combo",
    "guitar amplifier and loudspeaker",
    linear("drive", "dB", 6, 36, 20, limits=(0, 60)),
    linear("bass", "dB", -12, 12, 3),
    linear("treble", "dB", -12, 12, 0),
    logarithmic(
        "speaker", "Hz", 1500, 6000, 3000, "cutoff of the loudspeaker", limits=(500, 16_000)
    ),
    linear("output", "dB", -24, 0, -6, limits=(-48, 3)),
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
    return process(dry, sample_rate, *amplifier, *tone, *loudspeaker, board.Gain(output))
