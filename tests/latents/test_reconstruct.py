import csv
import re

import numpy as np
import pytest
from datasets import CONFIGURATION, N_SAMPLES, RATE, chosen, write_recordings

from dafxtool import storage
from dafxtool.audio.reader import load_audio
from dafxtool.audio.writer import save_audio
from dafxtool.errors import InputError
from dafxtool.latents.examples import Example, load_example
from dafxtool.latents.interpolate import interpolate, match_levels, quieten_pauses
from dafxtool.latents.interpolation_results import (
    GAP_SECONDS,
    draw_interpolation,
    save_interpolation_audio,
    write_interpolation_table,
)
from dafxtool.latents.reconstruct import draw_reconstructions, reconstruct, reconstruct_pairs
from dafxtool.models.run import without_training
from dafxtool.spectrogram.stft import compress


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def ends(recordings, run):
    overdrive, delay = chosen("overdrive", "delay")
    path = recordings / "plucks" / "1.wav"
    return load_example(path, run, delay), load_example(path, run, overdrive)


@pytest.mark.parametrize("spherical", [False, True])
def test_an_interpolation_starts_and_ends_on_its_two_latents(ends, run, spherical):
    result = interpolate(*ends, run, 5, spherical)
    latents = run.embed(np.stack([end.spectrogram for end in ends]))
    np.testing.assert_array_equal(result.latents[[0, -1]], latents)
    direct = reconstruct(ends, run)
    np.testing.assert_allclose(result.errors_b, direct[1].errors, rtol=1e-3)
    assert result.positions.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_both_ends_of_an_interpolation_are_the_originals(ends, recordings, run):
    other = load_example(recordings / "swells" / "2.wav", run, chosen("delay")[0])
    for pair in (ends, (ends[0], other)):
        result = interpolate(*pair, run, 4)
        for index, end in ((0, pair[0]), (-1, pair[1])):
            np.testing.assert_array_equal(result.magnitudes[index], end.magnitude)


def test_the_dry_channel_is_constant_between_two_effects(ends, run):
    dry = interpolate(*ends, run, 5).magnitudes[:, 0]
    np.testing.assert_allclose(dry, np.broadcast_to(dry[0], dry.shape), rtol=1e-3, atol=1e-3)


def test_the_level_of_each_step_lies_between_those_of_the_ends(ends, recordings, run):
    path = recordings / "swells" / "2.wav"
    other = load_example(path, run, chosen("delay")[0])
    quiet = Example(**{**vars(other), "magnitude": 0.03 * other.magnitude})
    result = interpolate(ends[0], quiet, run, 5)
    level = 10 * np.log10(np.square(result.magnitudes).mean(axis=(2, 3)))
    t = result.positions[:, None]
    np.testing.assert_allclose(level, (1 - t) * level[0] + t * level[-1], atol=0.1)


def test_pauses_of_both_ends_stay_quiet_between_them():
    """The ends are silent in the second half, and the decoded step has noise there."""
    magnitudes = np.ones((3, 2, 5, 40), np.float32)
    magnitudes[[0, -1], ..., 20:] = 1e-4
    magnitudes[1, ..., 20:] = 0.1
    quieten_pauses(magnitudes)
    np.testing.assert_allclose(magnitudes[1, ..., 23:], 1e-4, rtol=1e-3)
    np.testing.assert_array_equal(magnitudes[1, ..., :20], 1.0)


def test_the_effect_is_rendered_between_two_of_its_settings(recordings, run, tmp_path):
    delay, _ = chosen("delay")[0]
    path = recordings / "plucks" / "1.wav"
    examples = [
        load_example(path, run, (delay, {"time": 100.0, "feedback": feedback, "mix": 50.0}))
        for feedback in (0.0, 20.0, 40.0)
    ]
    result = interpolate(examples[0], examples[2], run, 3)
    np.testing.assert_array_equal(result.rendered[1], examples[1].audio[1])
    np.testing.assert_allclose(result.rendered_magnitudes[1], examples[1].magnitude[1], rtol=1e-3)
    assert result.rendered_errors[0] == pytest.approx(0, abs=1e-6)
    assert result.rendered_errors[1] > 1e-6
    draw_interpolation(tmp_path / "sheet.svg", result, run)
    # The ends are exact; only the step between them has an error against the rendered effect.
    titles = re.findall("<!-- (exact|MSE .*) -->", (tmp_path / "sheet.svg").read_text())
    assert sorted(titles) == [f"MSE {result.rendered_errors[1]:.4f}", *4 * ["exact"]]
    written = save_interpolation_audio(tmp_path / "steps", result, run)
    assert sum("rendered" in path.name for path, _ in written) == 3


def test_between_two_effects_both_are_mixed_in_parallel(ends, run, tmp_path):
    """Gains 1 - t and t; the decoded wet channels of both ends are blended with the same gains."""
    a, b = ends
    result = interpolate(a, b, run, 5)
    mixed = 0.75 * a.audio[1] + 0.25 * b.audio[1]
    mixed *= np.abs(a.audio[0]).max() / np.abs(mixed).max()
    np.testing.assert_allclose(result.rendered[1], mixed, atol=1e-6)
    blend = np.stack([a.magnitude[1], (a.magnitude[1] + b.magnitude[1]) / 2, b.magnitude[1]])
    pair = np.stack([blend, blend], axis=1)
    match_levels(pair, np.float32([0, 0.5, 1]))
    scale = result.magnitudes[2, 1].sum() / pair[1, 1].sum()
    np.testing.assert_allclose(result.magnitudes[2, 1], scale * pair[1, 1], rtol=1e-3, atol=1e-5)
    assert np.isfinite(result.rendered_errors).all() and result.rendered_errors[2] > 0
    along_the_sphere = interpolate(a, b, run, 5, spherical=True)
    np.testing.assert_array_equal(along_the_sphere.rendered, result.rendered)
    assert not np.allclose(along_the_sphere.magnitudes[2, 1], result.magnitudes[2, 1])
    draw_interpolation(tmp_path / "sheet.svg", result, run)
    text = (tmp_path / "sheet.svg").read_text()
    assert "<!-- in parallel -->" in text and "blended" in text


def test_wet_recordings_are_not_mixed_because_their_effects_are_unknown(ends, run):
    a, b = (Example(**{**vars(end), "choice": None}) for end in ends)
    assert interpolate(a, b, run, 3).rendered is None


def test_a_detailed_interpolation_needs_no_model(recordings):
    bare = without_training(CONFIGURATION)
    path = recordings / "plucks" / "1.wav"
    a, b = (load_example(path, bare, each) for each in chosen("overdrive", "delay"))
    result = interpolate(a, b, bare, 3, detailed=True)
    assert result.latents is None
    np.testing.assert_allclose(result.magnitudes[0], a.magnitude, rtol=1e-3, atol=1e-4)


def test_a_detailed_interpolation_keeps_the_originals(ends, run):
    result = interpolate(*ends, run, 3, detailed=True)
    for index, end in ((0, 0), (2, 1)):
        np.testing.assert_allclose(
            result.magnitudes[index], ends[end].magnitude, rtol=1e-3, atol=1e-4
        )
    np.testing.assert_array_equal(result.magnitudes[1, 0], ends[0].magnitude[0])


def test_the_level_of_each_detailed_step_lies_between_those_of_the_ends(ends, run):
    magnitude = ends[1].magnitude * np.float32([[[1.0]], [[0.1]]])  # wet 20 dB quieter
    quiet = Example(**{**vars(ends[1]), "magnitude": magnitude})
    result = interpolate(ends[0], quiet, run, 5, detailed=True)
    level = 10 * np.log10(np.square(result.magnitudes[:, 1]).mean(axis=(1, 2)))
    t = result.positions
    np.testing.assert_allclose(level, (1 - t) * level[0] + t * level[-1], atol=0.1)


def test_a_detailed_interpolation_is_nearer_to_the_rendered_effect_than_a_cross_fade(
    recordings, run
):
    """Both have the level between the ends, which for a modulator is the true one."""
    modulator, _ = chosen("ring-modulator")[0]
    a, truth, b = (
        load_example(
            recordings / "plucks" / "1.wav", run, (modulator, {"frequency": hertz, "mix": 100.0})
        )
        for hertz in (400.0, 800.0, 1600.0)
    )
    config = run.spectrogram_config
    ends = [compress(each.magnitude, config).numpy() for each in (a, b)]
    fade = np.stack([a.magnitude, ((ends[0] + ends[1]) / 2) ** (1 / config.exponent), b.magnitude])
    match_levels(fade, np.float32([0, 0.5, 1]))
    middle = interpolate(a, b, run, 3, detailed=True).magnitudes[1, 1]
    errors = [
        np.mean(
            np.square(compress(each, config).numpy() - compress(truth.magnitude[1], config).numpy())
        )
        for each in (middle, fade[1, 1])
    ]
    assert errors[0] < 0.8 * errors[1]
    levels = [20 * np.log10(np.linalg.norm(each)) for each in (middle, truth.magnitude[1])]
    assert abs(levels[0] - levels[1]) < 1


def test_a_detailed_interpolation_is_of_one_recording(ends, recordings, run):
    other = load_example(recordings / "plucks" / "2.wav", run, chosen("delay")[0])
    with pytest.raises(InputError, match="Name one recording and one start"):
        interpolate(ends[0], other, run, 3, detailed=True)


def test_an_interpolation_of_a_pair_with_itself_is_constant(ends, run):
    result = interpolate(ends[0], ends[0], run, 4)
    np.testing.assert_allclose(result.magnitudes[2], result.magnitudes[0], rtol=1e-3, atol=1e-4)


def test_same_audio_has_the_same_dry_channel(ends):
    np.testing.assert_array_equal(ends[0].audio[0], ends[1].audio[0])
    assert np.abs(ends[0].audio[1] - ends[1].audio[1]).max() > 1e-2


def test_a_wet_recording_replaces_the_effect(recordings, run, tmp_path):
    path = recordings / "plucks" / "2.wav"
    dry, rate = load_audio(path)
    save_audio(tmp_path / "wet.wav", 0.5 * dry[::-1].copy(), rate)
    example = load_example(path, run, wet=tmp_path / "wet.wav", start_seconds=0.25)
    wet = dry[::-1][RATE // 4 : RATE // 4 + N_SAMPLES]
    expected = wet * 10 ** (-12 / 20) / np.abs(wet).max()
    np.testing.assert_allclose(example.audio[1], expected, atol=1e-6)
    assert (example.label, example.offset_seconds) == ("wet.wav", 0.25)


def test_the_audio_of_all_steps_is_written(ends, run, tmp_path):
    result = interpolate(*ends, run, 3)
    written = save_interpolation_audio(tmp_path / "steps", result, run)
    names = sorted(path.name for path in (tmp_path / "steps").iterdir())
    assert len(names) == 2 * (3 + 2) + 1 + 3  # and both effects in parallel
    assert "2-t0.50-wet.wav" in names
    audio, rate = load_audio(tmp_path / "steps" / "0-original-a-wet.wav")
    np.testing.assert_allclose(audio, ends[0].audio[1], atol=1e-6)
    end = load_audio(tmp_path / "steps" / "3-t1.00-wet.wav")[0]
    np.testing.assert_allclose(end, ends[1].audio[1], atol=2e-3)  # the ends are exact
    joined, rate = load_audio(tmp_path / "steps" / "all-wet.wav")
    assert len(joined) == 5 * N_SAMPLES + 4 * round(GAP_SECONDS * rate)
    steps = [(path.name, value) for path, value in written if "-t" in path.name]
    convergence_db = [value for name, value in steps if "parallel" not in name]
    assert len(convergence_db) == 6
    assert all(value is not None and value < -3 for value in convergence_db)


def test_the_figure_and_the_table_are_written(ends, run, tmp_path):
    result = interpolate(*ends, run, 3)
    draw_interpolation(tmp_path / "sheet.svg", result, run)
    write_interpolation_table(tmp_path / "sheet.csv", result, run)
    text = (tmp_path / "sheet.svg").read_text()
    assert text.startswith("<?xml")
    with (tmp_path / "sheet.csv").open() as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_array_equal(
        [float(row["content_0000"]) for row in rows], result.latents[:, 0]
    )


def test_reconstruction_errors_are_means_over_the_held_out_pairs(pairs_file, run, tmp_path):
    reconstructions, table = reconstruct_pairs(pairs_file, run)
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        rows = reader.labels.rows_of(("test",))
        labels = reader.labels.take(rows)
        spectrograms = run.analyse(reader.rows(rows))[0]
    errors = np.mean(
        (run.decode(run.embed(spectrograms), spectrograms[:, 0]) - spectrograms) ** 2, axis=(2, 3)
    )
    for name, n, dry, wet in zip(
        table.effect, table.n_segments, table.dry_error, table.wet_error, strict=True
    ):
        members = errors[[labels.effect_of(row) == name for row in range(len(rows))]]
        assert n == len(members)
        np.testing.assert_allclose([dry, wet], members.mean(axis=0), rtol=1e-4)
    # The example of an effect is the one nearest to its median error.
    assert [each.example.effect for each in reconstructions] == ["overdrive", "delay"]
    overdrive = errors[labels.effect == 0].sum(axis=1)
    nearest = np.abs(overdrive - np.median(overdrive)).min()
    distance = abs(float(reconstructions[0].errors.sum()) - np.median(overdrive))
    assert distance == pytest.approx(nearest, abs=1e-4)
    draw_reconstructions(tmp_path / "r.png", reconstructions, run)
    assert (tmp_path / "r.png").stat().st_size > 10_000


def test_rows_can_be_chosen(pairs_file, run):
    reconstructions, _ = reconstruct_pairs(pairs_file, run, rows=(3,))
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        np.testing.assert_array_equal(
            reconstructions[0].example.audio, reader.rows(np.array([3]))[0]
        )
    with pytest.raises(InputError, match="row 999 does not exist"):
        reconstruct_pairs(pairs_file, run, rows=(999,))
