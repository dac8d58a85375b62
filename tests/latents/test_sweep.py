"""Check sweeps: their settings, the numbers on known latents, the figures and the command."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from datasets import N_SAMPLES, RATE, chosen, write_recordings
from scipy.stats import spearmanr

from dafxtool import storage
from dafxtool.audio.writer import save_audio
from dafxtool.dataset.pair import render_pair
from dafxtool.effects.effect import sweep_settings
from dafxtool.errors import ConfigError, EffectError, InputError
from dafxtool.latents.embed import embed
from dafxtool.latents.sweep import sweep
from dafxtool.latents.sweep_results import (
    parameter_effects,
    principal_directions,
    sweep_note,
    write_sweep_table,
)
from dafxtool.plots.pair_plot import PairPlot, pair_figure
from dafxtool.plots.scatter import ScatterPanel, map_figure

N_VALUES, N_SEGMENTS = 5, 3


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def sweeps(recordings, run):
    """Sweep overdrive, which the run was trained on, and chorus, which it has not seen."""
    effects = chosen("overdrive", "chorus")
    return sweep([recordings], run, effects, N_VALUES, N_SEGMENTS, seed=1)


def settings_of(one):
    return [one.latents.labels.setting_of(row) for row in range(len(one))]


def test_every_parameter_is_swept_alone_over_its_range(sweeps):
    for each in sweeps:
        default = each.effect.default_setting()
        for setting, swept, value in zip(
            settings_of(each), each.parameter, each.value, strict=True
        ):
            assert setting == default | {swept: value}
        for parameter in each.effect.parameters:
            values = each.value[each.rows_of(parameter.name)]
            ends = [parameter.from_normalised(end) for end in parameter.usual_ends()]
            assert [values.min(), values.max()] == ends


def test_every_value_is_applied_to_every_segment(sweeps):
    for each in sweeps:
        names = [parameter.name for parameter in each.effect.parameters]
        expected = np.concatenate(
            [
                np.tile(np.linspace(*parameter.usual_ends(), N_VALUES), N_SEGMENTS)
                for parameter in each.effect.parameters
            ]
        )
        np.testing.assert_allclose(each.normalised, expected, atol=1e-6)
        assert each.parameter == [name for name in names for _ in range(N_SEGMENTS * N_VALUES)]
        np.testing.assert_array_equal(
            each.segment, np.tile(np.repeat(np.arange(N_SEGMENTS), N_VALUES), len(names))
        )


def test_the_settings_are_those_of_a_rendered_sweep(sweeps):
    for each in sweeps:
        first = [s for s, k in zip(settings_of(each), each.segment, strict=True) if k == 0]
        assert first == sweep_settings(each.effect, N_VALUES)


def test_segments_are_of_different_recordings_and_the_same_for_every_effect(sweeps):
    segments = []
    for each in sweeps:
        labels = each.latents.labels
        sources = list(zip(labels.recording.tolist(), labels.offset.tolist(), strict=True))
        segments.append(sources[: N_SEGMENTS * N_VALUES : N_VALUES])
        assert sources == [segments[-1][number] for number in each.segment]
    assert segments[0] == segments[1]
    assert len({recording for recording, _ in segments[0]}) == N_SEGMENTS


def test_recordings_give_several_segments_if_there_are_few(recordings, run):
    paths = [recordings / "plucks" / "1.wav", recordings / "swells" / "2.wav"]
    (result,) = sweep(paths, run, chosen("low-pass"), 2, 5)
    labels = result.latents.labels
    sources = set(zip(labels.recording.tolist(), labels.offset.tolist(), strict=True))
    assert len(sources) == len(result.default) == 5
    assert sorted(np.bincount([recording for recording, _ in sources])) == [2, 3]


def test_a_recording_of_one_segment_is_used_once(tmp_path, run):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, N_SAMPLES).astype(np.float32)
    save_audio(tmp_path / "one.wav", audio, RATE)
    (result,) = sweep([tmp_path], run, chosen("low-pass"), 3, 4)
    assert (len(result.default), len(result)) == (1, 3)
    (effect,) = parameter_effects(result)
    assert np.isnan(effect.latent_range)  # there is no other segment to compare with


def test_the_same_seed_gives_the_same_bits(sweeps, recordings, run):
    repeated = sweep([recordings], run, chosen("overdrive"), N_VALUES, N_SEGMENTS, seed=1)
    np.testing.assert_array_equal(repeated[0].latents.latent, sweeps[0].latents.latent)
    other = sweep([recordings], run, chosen("overdrive"), N_VALUES, N_SEGMENTS, seed=2)
    assert other[0].latents.labels.offset.tolist() != sweeps[0].latents.labels.offset.tolist()


def test_the_default_has_the_same_latents_as_embed(tmp_path, run):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, N_SAMPLES).astype(np.float32)
    save_audio(tmp_path / "one.wav", audio, RATE)
    (result,) = sweep([tmp_path], run, chosen("overdrive"), 2, 1)
    np.testing.assert_allclose(
        result.default, embed([tmp_path], run, chosen("overdrive")).latent, atol=1e-5
    )


def test_a_parameter_without_an_effect_has_no_latent_range(sweeps):
    """The wet segments are normalised to one peak level, which removes the output gain."""
    effects = {each.parameter: each for each in parameter_effects(sweeps[0])}
    assert effects["output"].latent_range < 0.01
    assert effects["drive"].latent_range > 20 * effects["output"].latent_range
    assert effects["drive"].latent_range > 0.1
    assert (effects["drive"].low, effects["drive"].high) == ("12 dB", "42 dB")


def synthetic(sweeps, latent):
    """Return the sweep with other latents, all of which encode the effect."""
    scale = np.ones(latent.shape[1], np.float32)
    latents = sweeps.latents
    replaced = type(latents)(latent.astype(np.float32), latents.labels, "run", 0, 0, scale)
    default = 3 * np.eye(N_SEGMENTS, latent.shape[1], dtype=np.float32)
    return type(sweeps)(**{**vars(sweeps), "latents": replaced, "default": default})


def test_latent_range_and_rank_correlation_of_known_latents(sweeps):
    """On one axis, drive moves the latent by 2, and tone by 0.5 and back."""
    each = sweeps[0]
    names, value = np.array(each.parameter), each.normalised.copy()
    for name in set(each.parameter):  # from 0 to 1 over the swept range
        rows = names == name
        value[rows] = (value[rows] - value[rows].min()) / np.ptp(value[rows])
    along = np.where(names == "drive", 2 * value, 0.0)
    along = np.where(names == "tone", np.abs(value - 0.5), along)
    latent = np.zeros((len(each), 6))
    latent[:, 3] = along + 100 * each.segment  # the offset of a segment does not count
    effects = {e.parameter: e for e in parameter_effects(synthetic(each, latent))}
    distance = 3 * np.sqrt(2)  # between any two of the defaults
    assert effects["drive"].latent_range == pytest.approx(2 / distance, rel=1e-4)
    assert effects["drive"].rank_correlation == pytest.approx(1)
    assert effects["tone"].latent_range == pytest.approx(0.5 / distance, rel=1e-4)
    expected = spearmanr(np.linspace(0, 1, 5), [0.5, 0.25, 0, 0.25, 0.5]).statistic
    assert effects["tone"].rank_correlation == pytest.approx(abs(expected), abs=0.3)
    assert effects["output"].latent_range == 0
    assert np.isnan(effects["output"].rank_correlation)  # latents that do not move have no order


def test_numbers_without_a_basis_are_nan(sweeps):
    each = sweeps[0]
    rng = np.random.default_rng(0)
    still = 5 + 1e-7 * rng.standard_normal((len(each), 6))  # rounding
    assert all(np.isnan(e.rank_correlation) for e in parameter_effects(synthetic(each, still)))
    moved = synthetic(each, rng.standard_normal((len(each), 6)))
    same = type(each)(**{**vars(moved), "default": np.ones((N_SEGMENTS, 6), np.float32)})
    assert all(np.isnan(e.latent_range) for e in parameter_effects(same))
    ends = np.flatnonzero(np.isin(np.arange(len(each)) % N_VALUES, (0, N_VALUES - 1)))
    columns = ("value", "normalised", "segment", "level_db")
    two = {name: getattr(moved, name)[ends] for name in columns}
    two |= {"parameter": [moved.parameter[i] for i in ends], "latents": moved.latents.take(ends)}
    effects = parameter_effects(type(each)(**{**vars(moved), **two}))
    assert all(np.isnan(e.rank_correlation) for e in effects)  # two values are always in order
    assert all(np.isfinite(e.latent_range) for e in effects)


@pytest.mark.parametrize("level", ["match", "keep"])
def test_a_sweep_measures_the_level_of_the_effect(recordings, run, level):
    segments = replace(run.configuration.segments, level=level)
    levelled = replace(run, configuration=replace(run.configuration, segments=segments))
    (swept,) = sweep([recordings], levelled, chosen("gain"), 3, 2)
    np.testing.assert_allclose(swept.level_db, swept.value, atol=1e-4)
    (effect,) = parameter_effects(swept)
    assert (effect.low_db, effect.high_db) == pytest.approx((-24, 12), abs=1e-4)


def test_the_mean_of_each_segment_is_subtracted(sweeps):
    each = sweeps[0]
    latent = np.random.default_rng(0).standard_normal((len(each), 6))
    points, names = principal_directions(synthetic(each, latent))
    far = latent + 50 * np.eye(6)[each.segment]
    np.testing.assert_allclose(principal_directions(synthetic(each, far))[0], points, atol=1e-3)
    assert points.shape == (len(each), 4)
    assert names[0].startswith("PC 1 (")


def test_a_fixed_parameter_keeps_its_value(recordings, run):
    ((overdrive, _),) = chosen("overdrive")
    (result,) = sweep([recordings], run, [(overdrive, {"tone": 3000.0})], 3, 2)
    assert set(result.parameter) == {"drive", "output"}
    assert {setting["tone"] for setting in settings_of(result)} == {3000.0}
    assert "tone fixed at 3 kHz" in sweep_note(result)


def test_a_pairs_file_gives_dry_segments_of_held_out_pairs(pairs_file, run):
    (result,) = sweep([pairs_file], run, chosen("overdrive"), 2, 2)
    labels = result.latents.labels
    assert {labels.split_of(row) for row in range(len(result))} == {"test"}
    assert len(set(labels.recording.tolist())) == 2
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        same = (reader.labels.recording == labels.recording[0]) & (
            reader.labels.offset == labels.offset[0]
        )
        dry = reader.rows(np.flatnonzero(same)[:1])[0, 0]
    direct = render_pair(dry, result.effect, settings_of(result)[0], run.configuration.segments)
    np.testing.assert_allclose(
        run.embed(run.analyse(direct[0][None])[0])[0], result.latents.latent[0], atol=1e-5
    )


@pytest.mark.parametrize(
    ("effects", "n_values", "error", "sentence"),
    [
        ([("clean", {})], 4, EffectError, "clean: no parameters"),
        ([("low-pass", {"cutoff": 800.0})], 4, EffectError, "every parameter is fixed"),
        ([("low-pass", {}), ("low-pass", {})], 4, ConfigError, "named twice"),
        ([("low-pass", {})], 1, ConfigError, "at least 2"),
        ([], 4, ConfigError, "no effect"),
    ],
)
def test_invalid_effects_and_numbers_are_refused(
    recordings, run, effects, n_values, error, sentence
):
    choices = [(chosen(name)[0][0], fixed) for name, fixed in effects]
    with pytest.raises(error, match=sentence):
        sweep([recordings], run, choices, n_values)


def test_silence_is_skipped_or_with_strict_refused(recordings, run, tmp_path):
    save_audio(tmp_path / "silent.wav", np.zeros(RATE, np.float32), RATE)
    inputs = [tmp_path, recordings / "plucks" / "1.wav"]
    (result,) = sweep(inputs, run, chosen("low-pass"), 2, 2)
    assert [path for path, _ in result.latents.skipped] == [str(tmp_path / "silent.wav")]
    with pytest.raises(InputError, match="digital silence"):
        sweep(inputs, run, chosen("low-pass"), 2, 2, strict=True)
    with pytest.raises(InputError, match="no usable recordings"):
        sweep([tmp_path], run, chosen("low-pass"), 2, 2)


def test_the_table_reads_back(sweeps, tmp_path):
    write_sweep_table(tmp_path / "sweep.csv", sweeps)
    with open(tmp_path / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("effect", "parameter", "value", "unit", "normalised", "level_db", "recording", "offset"),
        *("pc1", "pc2", "pc3", "pc4"),
    ]
    assert [float(row["value"]) for row in rows] == [v for each in sweeps for v in each.value]
    assert [row["parameter"] for row in rows] == [p for each in sweeps for p in each.parameter]
    points = principal_directions(sweeps[0])[0]
    assert [np.float32(row["pc2"]) for row in rows[: len(points)]] == points[:, 1].tolist()


def test_a_line_joins_the_points_of_a_path():
    points = np.array([[0, 0], [1, 2], [2, 0], [5, 5]], float)
    figure = map_figure([ScatterPanel(points, values=np.arange(4.0), paths=[[2, 0, 1]])])
    (lines,) = [c for c in figure.axes[0].collections if hasattr(c, "get_segments")]
    np.testing.assert_array_equal(lines.get_segments()[0], points[[2, 0, 1]])


def test_a_pair_plot_shows_every_pair_and_darkens_with_the_value():
    points = np.random.default_rng(0).standard_normal((40, 4))
    labels, shades = ["drive", "tone"] * 20, np.repeat(np.linspace(0, 1, 20), 2)
    ends = {"drive": ("12 dB", "42 dB"), "tone": ("800 Hz", "8 kHz")}
    figure = pair_figure(PairPlot(points, labels, shades, ends, ["1", "2", "3", "4"]))
    plots = [axes for axes in figure.axes if axes.collections]
    assert len(plots) == 4 * 3 / 2
    collection = plots[-1].collections[0]
    drawn_points = np.asarray(collection.get_offsets())
    rows = [int(np.argmin(np.abs(points[:, 2:] - each).sum(axis=1))) for each in drawn_points]
    np.testing.assert_allclose(drawn_points, points[rows][:, 2:])
    brightness = dict(zip(rows, collection.get_facecolors()[:, :3].sum(axis=1), strict=True))
    for first in (0, 1):  # of each label from its lightest to its darkest
        assert np.all(np.diff([brightness[row] for row in range(first, 40, 2)]) < 0)


def test_a_pair_plot_with_unequal_lengths_is_refused():
    points = np.zeros((3, 3))
    with pytest.raises(InputError, match="shades"):
        PairPlot(points, ["a"] * 3, [0, 1], {"a": ("0", "1")}, ["1", "2", "3"])
    with pytest.raises(InputError, match="lacks"):
        PairPlot(points, ["b"] * 3, [0, 0, 1], {"a": ("0", "1")}, ["1", "2", "3"])


# The command


def test_the_command_sweeps_the_effects_of_the_run(
    invoke, pairs_file, run_folder, tmp_path, monkeypatch
):
    """Without arguments it takes the newest pairs and run here, and draws a figure per effect."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "small-1").symlink_to(run_folder)
    (tmp_path / "pairs.h5").symlink_to(pairs_file)
    result = invoke("sweep", "--values", 3, "--segments", 2, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "sweep-overdrive.png",
        "sweep-delay.png",
    }
    assert "latent range" in result.stdout
    repeated = invoke("sweep", "--values", 3, "--segments", 2, "--device", "cpu")
    assert repeated.exit_code == 1
    assert "sweep-overdrive.png: exists already" in repeated.stderr


def test_the_command_sweeps_an_effect_that_training_has_not_seen(
    invoke, recordings, run_folder, tmp_path
):
    outputs = ["-o", tmp_path / "s.svg", "--pairs", tmp_path / "p.pdf", "--csv", tmp_path / "n.csv"]
    result = invoke(
        *("sweep", recordings, "--run", run_folder, "--effect", "chorus:mix=50", "--json", "-q"),
        *("--values", 3, "--segments", 2, *outputs),
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert [each["parameter"] for each in answer["parameters"]] == ["rate", "depth", "delay"]
    assert answer["outputs"] == [str(tmp_path / "s.svg")]
    assert (tmp_path / "s.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")
    assert len((tmp_path / "n.csv").read_text().splitlines()) == 1 + 3 * 3 * 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--effect", "clean"], "no parameters"),
        (["--effect", "overdriv"], "overdrive"),
        (["--effect", "low-pass", "-o", "sweep.txt"], "suffix of a figure"),
        (["--effect", "low-pass", "-o", "there.png"], "exists already"),
        (["--effect", "low-pass", "--pairs", "there.png"], "exists already"),
        (["--effect", "low-pass", "--csv", "there.png"], "suffix of a table"),
    ],
)
def test_a_usage_error_is_one_sentence(
    invoke, recordings, run_folder, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").write_bytes(b"kept")
    result = invoke("sweep", recordings, "--run", run_folder, *arguments)
    assert (result.exit_code, result.stderr.count("Error: ")) == (1, 1)
    assert sentence in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there.png"]
    assert (tmp_path / "there.png").read_bytes() == b"kept"


def test_a_folder_without_recordings_is_one_sentence(invoke, run_folder, tmp_path):
    result = invoke("sweep", tmp_path, "--run", run_folder, "--effect", "low-pass")
    assert result.exit_code == 1
    assert "holds no recordings" in result.stderr
