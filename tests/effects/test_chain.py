"""Chains: effects in series are one effect, whose output is that of the stages one by one."""

from __future__ import annotations

import json
import re

import numpy as np
import pedalboard
import pytest
from datasets import SEGMENTS, SPLIT, write_recordings

import dafxtool
from dafxtool import storage
from dafxtool.cli import _completion
from dafxtool.dataset.render import render, rerender_row
from dafxtool.effects.apply import apply, known_effects, parse_effect
from dafxtool.effects.effect import Effect, grid_settings, sample_setting, sweep_settings
from dafxtool.effects.vst3 import files
from dafxtool.errors import EffectError, PluginError

RATE = 24_000
TEXTS = (
    "overdrive > delay:time=300",
    "lead=overdrive:drive=30,tone=2kHz > delay > delay:time=80,mix=20",
    "short = delay:time=80",
    "low-pass>high-pass>gain:gain=-3",
)


def noise(n_samples=RATE, level=0.1):
    return np.random.default_rng(1).normal(0, level, n_samples).astype(np.float32)


def installed(name):
    try:
        return files.find_plugin(f"{name}.vst3")
    except PluginError:
        return None


needs_zamtube = pytest.mark.skipif(installed("ZamTube") is None, reason="ZamTube is not installed")


def test_parameters_are_those_of_the_stages_and_a_second_delay_is_numbered():
    chain, fixed = parse_effect(TEXTS[1])
    assert chain.name == "lead"
    names = [parameter.name for parameter in chain.parameters]
    assert names[:4] == ["overdrive.drive", "overdrive.tone", "overdrive.output", "delay.time"]
    assert names[6:] == ["delay2.time", "delay2.feedback", "delay2.mix"]
    assert fixed == {
        "overdrive.drive": 30,
        "overdrive.tone": 2000,
        "delay2.time": 80,
        "delay2.mix": 20,
    }
    assert parse_effect(TEXTS[0]).effect.name == "overdrive > delay"


def test_output_is_that_of_bare_pedalboard_stage_by_stage():
    dry = noise()
    delayed = pedalboard.Delay((7200 + 0.5) / RATE, 0.4, 0.5)
    overdriven = [pedalboard.Distortion(24), pedalboard.LowpassFilter(3200), pedalboard.Gain(-6)]
    expected = pedalboard.Pedalboard(overdriven).process(dry, RATE)
    expected = pedalboard.Pedalboard([delayed]).process(expected, RATE)
    wet = dafxtool.apply_effect(dry, RATE, "overdrive > delay:time=300")
    np.testing.assert_array_equal(wet, expected)


@pytest.mark.parametrize("text", TEXTS)
def test_setting_text_reads_back_as_the_same_setting(text):
    chain, fixed = parse_effect(text)
    setting = sample_setting(chain.at(RATE), np.random.default_rng(2), fixed)
    repeated = parse_effect(chain.setting_text(setting))
    assert (repeated.effect, repeated.fixed) == (chain, setting)
    assert Effect.from_dict(json.loads(json.dumps(chain.to_dict()))) == chain
    assert chain.label(setting).count(">") == len(chain.stages) - 1


def test_settings_move_every_stage():
    chain, fixed = parse_effect(TEXTS[0])
    settings = [sample_setting(chain, np.random.default_rng(seed), fixed) for seed in range(20)]
    assert {each["delay.time"] for each in settings} == {300}
    assert len({each["overdrive.drive"] for each in settings}) == 20
    assert len({each["delay.mix"] for each in settings}) == 20
    assert len(grid_settings(chain, 2, fixed)) == 2**5
    assert len(sweep_settings(chain, 3, fixed)) == 3 * 5
    low_rate = chain.at(8000)
    assert low_rate.parameter("overdrive.tone").maximum == np.float32(3600)
    assert low_rate.stages[0].effect.parameter("tone").maximum == np.float32(3600)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("overdrive >", "stage 2"),
        ("> delay", "stage 1"),
        ("overdrive > > delay", "stage 2"),
        ("overdrive > dely", "stage 2 .* delay"),
        ("overdrive > delay:time=1h", "stage 2 .* time"),
        ("overdrive:drive > delay", "stage 1"),
        ("delay=time", "name of an effect"),
        ("delay = overdrive > reverb", "name of an effect"),
        ("a,b=overdrive > delay", "letters"),
        (" > ".join(["delay"] * 9), "found 9"),
    ],
)
def test_unusable_texts_are_refused_by_their_stage(text, words):
    with pytest.raises(EffectError, match=words):
        parse_effect(text)


def test_a_value_out_of_range_names_the_parameter_of_the_stage():
    chain, _ = parse_effect(TEXTS[0])
    with pytest.raises(EffectError, match=r"delay\.time"):
        chain.complete({"delay.time": 5000})


def test_a_named_chain_is_a_stage_of_a_longer_one():
    lead, fixed = parse_effect("lead=overdrive:drive=30 > delay")
    longer = parse_effect("lead:delay.time=100 > reverb", {**known_effects(), "lead": lead})
    assert [stage.label for stage in longer.effect.stages] == ["overdrive", "delay", "reverb"]
    assert longer.fixed == {"delay.time": 100}
    assert fixed == {"overdrive.drive": 30}


def test_silence_between_stages_is_reported_with_the_stage():
    crushed = "bit-crusher:bits=2 > gain"  # which rounds a quiet signal to zero
    with pytest.raises(EffectError, match=r"stage 1 .*bit-crusher.* silence"):
        dafxtool.apply_effect(noise(level=1e-3), RATE, crushed)
    silent = np.zeros(100, np.float32)
    np.testing.assert_array_equal(dafxtool.apply_effect(silent, RATE, crushed), silent)


@pytest.mark.parametrize("output", ["pairs.h5", "folder"])
def test_rendered_pairs_are_rendered_again_to_the_bit(tmp_path, output):
    write_recordings(tmp_path / "in")
    chosen = [parse_effect(text) for text in (*TEXTS[:3], "reverb")]
    render([tmp_path / "in"], tmp_path / output, chosen, SEGMENTS, SPLIT, 3, seed=4)
    if output == "folder":
        table = (tmp_path / output / "pairs.csv").read_text()
        assert len(re.findall("overdrive > delay,", table)) == 3
        assert len(re.findall(r",lead,\"?lead=overdrive:drive=30,", table)) == 3
        return
    with storage.Hdf5Reader(tmp_path / output, storage.PAIRS) as pairs:
        labels, audio = pairs.labels, pairs.rows(slice(None))
    assert labels.effect_names == ["overdrive > delay", "lead", "short", "reverb"]
    assert [Effect.from_dict(each) for each in labels.effects] == [
        choice.effect.at(SEGMENTS.sample_rate) for choice in chosen
    ]
    assert len({labels.setting_of(row)["overdrive.drive"] for row in (0, 4, 8)}) == 3
    assert {labels.setting_of(row)["delay2.time"] for row in (1, 5, 9)} == {80}
    for row in range(len(labels)):
        np.testing.assert_array_equal(rerender_row(tmp_path / output, row), audio[row])
        repeated = parse_effect(labels.setting_text[row])
        assert repeated.fixed == labels.setting_of(row)


def test_a_pair_that_a_stage_silences_fails_alone(tmp_path):
    write_recordings(tmp_path / "in")
    chosen = [parse_effect(t) for t in ("gain:gain=-40 > bit-crusher:bits=2 > gain", "delay")]
    result = render([tmp_path / "in"], tmp_path / "p.h5", chosen, SEGMENTS, SPLIT, 3)
    assert result.n_pairs == 3
    assert len(result.failed) == 3
    assert all("stage 2" in reason for _, _, reason in result.failed)


@needs_zamtube
@pytest.mark.plugin
def test_plugins_and_built_in_effects_are_mixed(tmp_path):
    known = known_effects([installed("ZamTube")], SEGMENTS.sample_rate)
    chain, fixed = parse_effect("gain:gain=-3 > zamtube:tube-drive=4 > delay:time=100", known)
    dry = noise(SEGMENTS.n_samples)
    setting = chain.complete(fixed)
    wet, effective = apply(chain, dry, SEGMENTS.sample_rate, setting)
    expected = dry
    for stage, values in (("gain", {"gain": -3}), ("zamtube", {"tube-drive": 4})):
        expected, _ = apply(known[stage], expected, SEGMENTS.sample_rate, values)
    expected, _ = apply(known["delay"], expected, SEGMENTS.sample_rate, {"time": 100})
    np.testing.assert_array_equal(wet, expected)
    assert effective.keys() == setting.keys()
    write_recordings(tmp_path / "in")
    choice = [parse_effect("tube=gain:gain=-3 > zamtube > delay:time=100", known)]
    render([tmp_path / "in"], tmp_path / "p.h5", choice, SEGMENTS, SPLIT, 2, workers=1)
    with storage.Hdf5Reader(tmp_path / "p.h5", storage.PAIRS) as pairs:
        effect, audio = Effect.from_dict(pairs.labels.effects[0]), pairs.rows(slice(None))
    assert effect == choice[0].effect
    assert len(effect.plugins) == 1
    np.testing.assert_array_equal(rerender_row(tmp_path / "p.h5", 1), audio[1])


def test_completion_continues_behind_an_arrow():
    def complete(text):
        return [item.value for item in _completion.effects(None, None, text)]

    assert complete("overdrive > del") == ["overdrive > delay"]
    assert complete("overdrive:drive=2>del") == ["overdrive:drive=2>delay"]
    assert complete("lead=overd") == ["lead=overdrive"]
    assert complete("a > delay:time=3,f") == ["a > delay:time=3,feedback="]
    assert "overdrive > reverb" in complete("overdrive > ")
