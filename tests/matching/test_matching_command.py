"""Check the command `match`: its answer, its files and its errors."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from synthetic_notes import synthetic_notes

import dafxtool
from dafxtool.audio.reader import load_audio, read_info
from dafxtool.audio.writer import save_audio
from dafxtool.cli import main
from dafxtool.effects.apply import parse_effect
from dafxtool.effects.builtin import apply_effect
from dafxtool.errors import InputError

RATE = 24_000
QUICK = ("--workers", "1", "--effect", "delay", "--effect", "low-pass", "--effect", "tremolo")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dry = synthetic_notes(3)
    save_audio(tmp_path / "dry.wav", dry, RATE)
    effect, setting = parse_effect("delay:time=210,feedback=30,mix=40")
    save_audio(tmp_path / "wet.wav", apply_effect(effect, dry, RATE, setting), RATE)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ["match", *map(str, arguments)])


def test_the_printed_effect_reproduces_the_matched_recording(folder):
    result = run("dry.wav", "wet.wav", "--json", "--quiet", *QUICK)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert {"effect", "distance", "distance_unprocessed", "candidates", "evaluations"} <= set(
        answer
    )
    assert {"seconds", "outputs", "verdict", "intervals", "stages"} <= set(answer)
    assert answer["outputs"] == ["matched.wav", "matched.png", "matched.json"]
    effect, setting = parse_effect(answer["effect"])
    expected = apply_effect(effect, load_audio(folder / "dry.wav")[0], RATE, setting)
    np.testing.assert_array_equal(load_audio(folder / "matched.wav")[0], expected)
    assert json.loads((folder / "matched.json").read_text("utf-8")) == answer
    assert (folder / "matched.png").stat().st_size > 10_000
    assert len(answer["candidates"]) == 2


def test_the_report_names_the_effect_the_verdict_and_the_files(folder):
    result = run("dry.wav", "wet.wav", *QUICK)
    assert "--effect 'delay:time=210," in result.output
    assert "Found: delay explains the reference" in result.output
    assert "unprocessed" in result.output
    for path in ("matched.wav", "matched.png", "matched.json"):
        assert f"-> {path}" in result.output


def test_the_recording_keeps_its_rate_and_channels(folder):
    dry = synthetic_notes(3, 44_100)
    save_audio(folder / "stereo.wav", np.stack([dry, 0.5 * dry]), 44_100)
    effect, setting = parse_effect("low-pass:cutoff=700")
    save_audio(folder / "wet.flac", apply_effect(effect, dry, 44_100, setting), 44_100)
    result = run("stereo.wav", "wet.flac", "-o", "out.flac", "--level", "keep", *QUICK)
    assert result.exit_code == 0, result.output
    info = read_info(folder / "out.flac")
    assert (info.sample_rate, info.n_channels, info.n_samples) == (44_100, 2, dry.size)


def test_strength_mixes_the_effect_with_the_recording(folder):
    target = ("dry.wav", "wet.wav", "--quiet", *QUICK)
    for strength in (0, 50, 100):
        assert run(*target, "--strength", strength, "-o", f"{strength}.wav").exit_code == 0
    none, half, full = (load_audio(folder / f"{each}.wav")[0] for each in (0, 50, 100))
    np.testing.assert_allclose(none, load_audio(folder / "dry.wav")[0], atol=1e-6)
    np.testing.assert_allclose(half, (none + full) / 2, atol=1e-6)


def test_a_reference_with_other_content_is_matched(folder):
    effect, setting = parse_effect("low-pass:cutoff=400")
    (folder / "references").mkdir()
    for seed in (5, 6):
        wet = apply_effect(effect, synthetic_notes(5, seed=seed), RATE, setting)
        save_audio(folder / "references" / f"{seed}.wav", wet, RATE)
    arguments = ("dry.wav", "--like", "references", "--budget", "fast", "--json", "-q", *QUICK)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["stages"][0]["effect"] == "low-pass"
    assert (folder / "matched.png").exists()


def test_an_unprocessed_reference_is_no_failure(folder):
    result = run("dry.wav", "dry.wav", *QUICK)
    assert result.exit_code == 0
    assert "--effect 'clean'" in result.output
    np.testing.assert_array_equal(
        load_audio(folder / "matched.wav")[0], load_audio(folder / "dry.wav")[0]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dry.wav", "missing.wav"), "missing.wav"),
        (("dry.wav", "other.wav"), "not the same performance"),
        (("dry.wav", "silent.wav"), "digital silence"),
        (("dry.wav", "--like", "silent.wav"), "digital silence"),
        (("dry.wav", "wet.wav", "-o", "x.mp3"), "expected .wav or .flac"),
        (("dry.wav", "wet.wav", "-o", "wet.wav"), "--overwrite"),
        (("dry.wav", "wet.wav", "--effect", "dealy"), "Did you mean delay"),
    ],
)
def test_an_error_is_one_sentence_without_a_traceback(folder, arguments, message):
    save_audio(folder / "other.wav", synthetic_notes(3, seed=9), RATE)
    save_audio(folder / "silent.wav", np.zeros(RATE), RATE)
    result = run(*arguments, "--workers", "1", "-q")
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("arguments", [("dry.wav",), ("dry.wav", "wet.wav", "--like", "wet.wav")])
def test_no_or_two_kinds_of_reference_are_a_usage_error(folder, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "references" in result.stderr


def test_a_chain_of_known_order_is_a_candidate_and_its_line_reproduces_the_audio(folder):
    dry = load_audio(folder / "dry.wav")[0]
    chain = "overdrive:drive=24,tone=3000,output=-6 > delay:time=210,feedback=30,mix=40"
    save_audio(folder / "od.wav", dafxtool.apply_effect(dry, RATE, chain), RATE)
    named = "--effect", "overdrive:output=-6 > delay", "--workers", "1", "--budget", "fast"
    result = run("dry.wav", "od.wav", "--json", "--quiet", *named)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["distance"] < 0.02 * answer["distance_unprocessed"]
    found, setting = parse_effect(answer["effect"])
    assert [stage.effect.name for stage in found.stages] == ["overdrive", "delay"]
    assert setting["overdrive.output"] == -6
    assert setting["overdrive.drive"] == pytest.approx(24, abs=0.5)
    assert setting["delay.time"] == pytest.approx(210, abs=0.1)
    matched = load_audio(folder / "matched.wav")[0]
    np.testing.assert_array_equal(matched, dafxtool.apply_effect(dry, RATE, answer["effect"]))


def test_a_chain_without_free_settings_is_measured(folder):
    fixed = "gain:gain=-3 > delay:time=210,feedback=30,mix=40"
    result = run("dry.wav", "wet.wav", "--json", "--quiet", "--effect", fixed)
    answer = json.loads(result.stdout)
    assert [each["effect"] for each in answer["stages"]] == ["gain", "delay", "gain"]
    assert answer["distance"] < 1e-4


@pytest.mark.parametrize("effect", ["delay", "low-pass > delay"])
def test_a_short_reference_gets_a_warning(folder, effect):
    save_audio(folder / "short.wav", load_audio(folder / "wet.wav")[0][: RATE // 2], RATE)
    options = ("--json", "--quiet", "--budget", "fast", "--workers", "1", "--effect", effect)
    for number, reference in enumerate((["--like", "short.wav"], ["short.wav"])):
        result = run("dry.wav", *reference, *options, "-o", f"{number}.wav")
        assert result.exit_code == 0, result.output
        assert any("guess" in remark for remark in json.loads(result.stdout)["remarks"])


def test_the_recording_itself_as_reference_is_left_alone(folder):
    result = run("dry.wav", "--like", "dry.wav", "--json", "--quiet", *QUICK)
    answer = json.loads(result.stdout)
    assert (answer["effect"], answer["candidates"]) == ("clean", [])


def test_the_pretrained_model_has_no_matcher_and_none_is_required(folder):
    with pytest.raises(InputError):
        dafxtool.match("dry.wav", "wet.wav", run="pretrained")
    assert not (folder / "matched.wav").exists()
    assert dafxtool.match("dry.wav", "wet.wav", effects="delay").answer.effect.startswith("delay")
