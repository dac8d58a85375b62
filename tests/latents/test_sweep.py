import csv
import json

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
from dafxtool.latents.sweep import (
    movements,
    principal_movement,
    sweep,
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
def made(recordings, run):
    """Overdrive, which the run was trained on, and chorus, which it never saw."""
    effects = chosen("overdrive", "chorus")
    return sweep([recordings], run, effects, N_VALUES, N_SEGMENTS, seed=1)


def settings_of(made):
    return [made.latents.labels.setting_of(row) for row in range(len(made))]


def test_every_parameter_moves_alone_and_from_end_to_end(made):
    for each in made:
        default = each.effect.default_setting()
        for setting, moved, value in zip(
            settings_of(each), each.parameter, each.value, strict=True
        ):
            assert setting == default | {moved: value}
        for parameter in each.effect.parameters:
            values = each.value[each.rows_of(parameter.name)]
            ends = [parameter.from_normalised(position) for position in parameter.usual_ends()]
            assert [values.min(), values.max()] == ends


def test_every_segment_hears_every_value(made):
    for each in made:
        names = [parameter.name for parameter in each.effect.parameters]
        wanted = np.concatenate(
            [
                np.tile(np.linspace(*parameter.usual_ends(), N_VALUES), N_SEGMENTS)
                for parameter in each.effect.parameters
            ]
        )
        np.testing.assert_allclose(each.position, wanted, atol=1e-6)
        assert each.parameter == [name for name in names for _ in range(N_SEGMENTS * N_VALUES)]
        np.testing.assert_array_equal(
            each.segment, np.tile(np.repeat(np.arange(N_SEGMENTS), N_VALUES), len(names))
        )


def test_the_settings_are_those_of_a_rendered_sweep(made):
    for each in made:
        first = [s for s, k in zip(settings_of(each), each.segment, strict=True) if k == 0]
        assert first == sweep_settings(each.effect, N_VALUES)


def test_segments_are_of_different_recordings_and_the_same_for_every_effect(made):
    heard = []
    for each in made:
        labels = each.latents.labels
        places = list(zip(labels.recording.tolist(), labels.offset.tolist(), strict=True))
        heard.append(places[: N_SEGMENTS * N_VALUES : N_VALUES])
        assert places == [heard[-1][number] for number in each.segment]
    assert heard[0] == heard[1]
    assert len({recording for recording, _ in heard[0]}) == N_SEGMENTS


def test_there_are_more_segments_than_recordings(recordings, run):
    paths = [recordings / "plucks" / "1.wav", recordings / "swells" / "2.wav"]
    (made,) = sweep(paths, run, chosen("low-pass"), 2, 5)
    labels = made.latents.labels
    places = set(zip(labels.recording.tolist(), labels.offset.tolist(), strict=True))
    assert len(places) == len(made.default) == 5
    assert sorted(np.bincount([recording for recording, _ in places])) == [2, 3]


def test_a_recording_of_one_segment_is_heard_once(tmp_path, run):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, N_SAMPLES).astype(np.float32)
    save_audio(tmp_path / "one.wav", sound, RATE)
    (made,) = sweep([tmp_path], run, chosen("low-pass"), 3, 4)
    assert (len(made.default), len(made)) == (1, 3)
    (movement,) = movements(made)
    assert np.isnan(movement.travel)  # there is no other segment to compare with


def test_the_same_seed_gives_the_same_bits(made, recordings, run):
    again = sweep([recordings], run, chosen("overdrive"), N_VALUES, N_SEGMENTS, seed=1)
    np.testing.assert_array_equal(again[0].latents.latent, made[0].latents.latent)
    other = sweep([recordings], run, chosen("overdrive"), N_VALUES, N_SEGMENTS, seed=2)
    assert other[0].latents.labels.offset.tolist() != made[0].latents.labels.offset.tolist()


def test_the_default_is_what_embed_makes_of_the_same_segment(tmp_path, run):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, N_SAMPLES).astype(np.float32)
    save_audio(tmp_path / "one.wav", sound, RATE)
    (made,) = sweep([tmp_path], run, chosen("overdrive"), 2, 1)
    np.testing.assert_allclose(
        made.default, embed([tmp_path], run, chosen("overdrive")).latent, atol=1e-5
    )


def test_a_parameter_that_changes_nothing_travels_nowhere(made):
    """The wet side is brought to full level, so nobody hears the output gain."""
    moved = {each.parameter: each for each in movements(made[0])}
    assert moved["output"].travel < 0.01
    assert moved["drive"].travel > 20 * moved["output"].travel
    assert moved["drive"].travel > 0.1
    assert (moved["drive"].low, moved["drive"].high) == ("12 dB", "42 dB")


def synthetic(made, latent):
    """The sweep with other latents, all of whose numbers tell of the effect."""
    scale = np.ones(latent.shape[1], np.float32)
    latents = made.latents
    replaced = type(latents)(latent.astype(np.float32), latents.labels, "run", 0, 0, scale)
    default = 3 * np.eye(N_SEGMENTS, latent.shape[1], dtype=np.float32)
    return type(made)(**{**vars(made), "latents": replaced, "default": default})


def test_travel_and_order_of_a_known_way(made):
    """All on one line: a drive of 2 units' way, a tone there and back again, nothing else."""
    each = made[0]
    names, place = np.array(each.parameter), each.position.copy()
    for name in set(each.parameter):  # from 0 to 1 within what is swept
        rows = names == name
        place[rows] = (place[rows] - place[rows].min()) / np.ptp(place[rows])
    along = np.where(names == "drive", 2 * place, 0.0)
    along = np.where(names == "tone", np.abs(place - 0.5), along)
    latent = np.zeros((len(each), 6))
    latent[:, 3] = along + 100 * each.segment  # where a segment lies is none of the movement
    moved = {m.parameter: m for m in movements(synthetic(each, latent))}
    between = 3 * np.sqrt(2)  # any two of the defaults
    assert moved["drive"].travel == pytest.approx(2 / between, rel=1e-4)
    assert moved["drive"].monotone == pytest.approx(1)
    assert moved["tone"].travel == pytest.approx(0.5 / between, rel=1e-4)
    wanted = spearmanr(np.linspace(0, 1, 5), [0.5, 0.25, 0, 0.25, 0.5]).statistic
    assert moved["tone"].monotone == pytest.approx(abs(wanted), abs=0.3)
    assert (moved["output"].travel, moved["output"].monotone) == (0, 0)


def test_the_movement_is_drawn_without_where_a_segment_lies(made):
    each = made[0]
    moved = np.random.default_rng(0).standard_normal((len(each), 6))
    points, names = principal_movement(synthetic(each, moved))
    far = moved + 50 * np.eye(6)[each.segment]
    np.testing.assert_allclose(principal_movement(synthetic(each, far))[0], points, atol=1e-3)
    assert points.shape == (len(each), 4)
    assert names[0].startswith("PC 1 (")


def test_a_fixed_parameter_is_held_and_not_moved(recordings, run):
    ((overdrive, _),) = chosen("overdrive")
    (made,) = sweep([recordings], run, [(overdrive, {"tone": 3000.0})], 3, 2)
    assert set(made.parameter) == {"drive", "output"}
    assert {setting["tone"] for setting in settings_of(made)} == {3000.0}
    assert "tone 3 kHz held" in sweep_note(made)


def test_of_a_pairs_file_the_dry_side_of_held_out_pairs_is_taken(pairs_file, run):
    (made,) = sweep([pairs_file], run, chosen("overdrive"), 2, 2)
    labels = made.latents.labels
    assert {labels.split_of(row) for row in range(len(made))} == {"test"}
    assert len(set(labels.recording.tolist())) == 2
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        same = (reader.labels.recording == labels.recording[0]) & (
            reader.labels.offset == labels.offset[0]
        )
        dry = reader.rows(np.flatnonzero(same)[:1])[0, 0]
    direct = render_pair(dry, made.effect, settings_of(made)[0], run.configuration.segments)
    np.testing.assert_allclose(
        run.embed(run.analyse(direct[0][None])[0])[0], made.latents.latent[0], atol=1e-5
    )


@pytest.mark.parametrize(
    ("effects", "n_values", "error", "sentence"),
    [
        ([("clean", {})], 4, EffectError, "'clean' has no parameters"),
        ([("low-pass", {"cutoff": 800.0})], 4, EffectError, "every parameter .* is held"),
        ([("low-pass", {}), ("low-pass", {})], 4, ConfigError, "named twice"),
        ([("low-pass", {})], 1, ConfigError, "at least 2"),
        ([], 4, ConfigError, "no effect"),
    ],
)
def test_what_cannot_be_swept_is_refused(recordings, run, effects, n_values, error, sentence):
    asked = [(chosen(name)[0][0], fixed) for name, fixed in effects]
    with pytest.raises(error, match=sentence):
        sweep([recordings], run, asked, n_values)


def test_silence_is_skipped_or_with_strict_refused(recordings, run, tmp_path):
    save_audio(tmp_path / "silent.wav", np.zeros(RATE, np.float32), RATE)
    inputs = [tmp_path, recordings / "plucks" / "1.wav"]
    (made,) = sweep(inputs, run, chosen("low-pass"), 2, 2)
    assert [path for path, _ in made.latents.skipped] == [str(tmp_path / "silent.wav")]
    with pytest.raises(InputError, match="digital silence"):
        sweep(inputs, run, chosen("low-pass"), 2, 2, strict=True)
    with pytest.raises(InputError, match="nothing can be swept over"):
        sweep([tmp_path], run, chosen("low-pass"), 2, 2)


def test_the_table_reads_back(made, tmp_path):
    write_sweep_table(tmp_path / "sweep.csv", made)
    with open(tmp_path / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("effect", "parameter", "value", "unit", "position", "recording", "offset"),
        *("pc1", "pc2", "pc3", "pc4"),
    ]
    assert [float(row["value"]) for row in rows] == [v for each in made for v in each.value]
    assert [row["parameter"] for row in rows] == [p for each in made for p in each.parameter]
    points = principal_movement(made[0])[0]
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
    drawn = plots[-1].collections[0]
    where = np.asarray(drawn.get_offsets())
    rows = [int(np.argmin(np.abs(points[:, 2:] - each).sum(axis=1))) for each in where]
    np.testing.assert_allclose(where, points[rows][:, 2:])
    light = dict(zip(rows, drawn.get_facecolors()[:, :3].sum(axis=1), strict=True))
    for first in (0, 1):  # of each label from its lightest to its darkest
        assert np.all(np.diff([light[row] for row in range(first, 40, 2)]) < 0)


def test_a_crooked_pair_plot_is_refused():
    points = np.zeros((3, 3))
    with pytest.raises(InputError, match="shades"):
        PairPlot(points, ["a"] * 3, [0, 1], {"a": ("0", "1")}, ["1", "2", "3"])
    with pytest.raises(InputError, match="lacks"):
        PairPlot(points, ["b"] * 3, [0, 0, 1], {"a": ("0", "1")}, ["1", "2", "3"])


# The command


def test_the_command_draws_what_the_run_was_trained_on(
    invoke, pairs_file, run_folder, tmp_path, monkeypatch
):
    """Without arguments: the newest pairs and run here, the run's effects, a figure each."""
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
    assert "travel" in result.stdout
    again = invoke("sweep", "--values", 3, "--segments", 2, "--device", "cpu")
    assert again.exit_code == 1
    assert "sweep-overdrive.png: exists already" in again.stderr


def test_the_command_takes_an_effect_that_training_never_saw(
    invoke, recordings, run_folder, tmp_path
):
    outputs = ["-o", tmp_path / "s.svg", "--pairs", tmp_path / "p.pdf", "--csv", tmp_path / "n.csv"]
    result = invoke(
        *("sweep", recordings, "--run", run_folder, "--effect", "chorus:mix=50", "--json", "-q"),
        *("--values", 3, "--segments", 2, *outputs),
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [each["parameter"] for each in told["parameters"]] == ["rate", "depth", "delay"]
    assert told["paths"] == [str(tmp_path / "s.svg")]
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
def test_misuse_of_the_command_is_one_sentence(
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
