"""Pages of latent maps: their data, audio, thumbnails, steps, and safety."""

import base64
import io
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import N_SAMPLES, RATE, chosen, write_recordings
from map_pages import data_of

from dafxtool import storage
from dafxtool.audio.writer import encode
from dafxtool.effects.effect import Effect
from dafxtool.errors import InputError, OutputExistsError
from dafxtool.latents.embed import embed
from dafxtool.latents.latent_map import latent_map
from dafxtool.latents.table import write_latents
from dafxtool.plots.scatter import label_style
from dafxtool.plots.spectrogram_axes import erb_rate
from dafxtool.web import map_audio as map_audio_module
from dafxtool.web import page as page_module
from dafxtool.web.latent_map import map_fragment, write_map_page
from dafxtool.web.thumbnails import (
    N_BANDS,
    N_TIMES,
    from_levels,
    shown_db,
    shrink,
    to_levels,
)

SPLITS = ("train", "validation", "test")
N_WITH_AUDIO = 7
EVIL = "<script>alert(1)</script><b>&amp;"


@pytest.fixture(scope="module")
def latents(pairs_file, run):
    return embed([pairs_file], run)


@pytest.fixture(scope="module")
def projection(latents):
    return latent_map(latents, "pca")


@pytest.fixture(scope="module")
def map_audio(latents, run, pairs_file):
    read_audio = map_audio_module.audio_reader(pairs_file, latents, run, SPLITS)
    return map_audio_module.collect_audio(latents, run, read_audio, N_WITH_AUDIO)


@pytest.fixture(scope="module")
def page_file(latents, projection, map_audio, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "map.html"
    fragment = map_fragment(latents, projection, map_audio, RATE)
    page_module.write_page(path, page_module.render_page("Latent map", [fragment]))
    return path


def inflate(text, dtype):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype)


def decode_clip(clip):
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(clip)), always_2d=True)
    return samples.T, rate


# --- audio ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "kind"), [(8000, "mp3"), (24000, "flac"), (24000, "mp3")])
def test_encoded_audio_decodes_to_the_original(rate, kind):
    time_s = np.arange(rate) / rate
    tone = (0.25 * np.sin(2 * np.pi * 440 * time_s) * np.exp(-3 * time_s)).astype(np.float32)
    decoded, decoded_rate = soundfile.read(io.BytesIO(encode(tone, rate, kind)))
    assert decoded_rate == rate and len(decoded) == len(tone)
    if kind == "flac":
        np.testing.assert_allclose(decoded, tone, atol=1 / 32767)
    else:
        np.testing.assert_allclose(decoded, tone, atol=0.04)


def test_unsupported_sample_rates_of_mp3_become_higher_ones():
    decoded, rate = soundfile.read(io.BytesIO(encode(np.zeros(20_000), 20_000, "mp3")))
    assert (rate, len(decoded)) == (22_050, 22_050)


@pytest.mark.parametrize(
    ("samples", "kind", "sentence"),
    [
        (np.zeros(100), "ogg", "Use mp3 or flac"),
        (np.full(100, np.nan), "mp3", "NaN or infinite"),
        (np.full(100, 2.0), "flac", "found a peak"),
    ],
)
def test_unknown_formats_and_invalid_samples_are_not_encoded(samples, kind, sentence):
    with pytest.raises(InputError, match=sentence):
        encode(samples, RATE, kind)


def test_a_page_embeds_the_audio_of_the_pairs(page_file, pairs_file):
    data = data_of(page_file)["audio"]
    rows = data["rows"]
    assert len(rows) == N_WITH_AUDIO
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        # A plucked string: MP3 does not preserve the waveform of noise.
        slot = next(i for i, row in enumerate(rows) if reader.labels.folder_of(row) == "plucks")
        pair = reader.rows(np.array([rows[slot]]))[0]
    for channel, original in enumerate(pair):
        clip, rate = decode_clip(data["clips"][data["clipsOf"][slot][channel]])
        assert rate == RATE and len(clip) == 1
        assert clip.shape[1] == N_SAMPLES
        spectra = [np.abs(np.fft.rfft(each, 16384)) for each in (clip[0], original)]
        assert np.corrcoef(*spectra)[0, 1] > 0.95


def test_points_with_audio_are_balanced_and_repeatable(latents):
    rows = map_audio_module.choose_points(latents, N_WITH_AUDIO, 3)
    counts = np.bincount(latents.labels.effect[rows])
    assert sorted(counts) == [3, 4]
    np.testing.assert_array_equal(rows, map_audio_module.choose_points(latents, N_WITH_AUDIO, 3))
    assert map_audio_module.choose_points(latents, 999).tolist() == list(range(len(latents)))


def test_audio_of_embedded_recordings_is_the_audio_that_was_embedded(run, tmp_path):
    recordings = write_recordings(tmp_path)
    latents = embed([recordings], run, chosen("delay", "overdrive"))
    read_audio = map_audio_module.audio_reader(recordings, latents, run, SPLITS)
    rows = np.array([0, 5, 11])
    embedded = run.embed(run.analyse(read_audio(rows))[0])
    np.testing.assert_allclose(embedded, latents.latent[rows], atol=1e-4)


# --- thumbnails and steps -------------------------------------------------------------------------


def test_the_thumbnail_of_a_constant_is_that_constant(run):
    config = run.spectrogram_config
    shape = (1, 2, config.n_bins, config.n_frames)
    thumbnail = shrink(np.ones(shape, np.float32), np.array([[2.0, 3.0]]), config)
    assert thumbnail.shape == (1, 2, N_BANDS, N_TIMES)
    np.testing.assert_allclose(thumbnail, 5, rtol=1e-5)


def test_a_tone_is_bright_in_its_band_and_at_its_time(run):
    config = run.spectrogram_config
    values = np.zeros((1, 2, config.n_bins, config.n_frames), np.float32)
    values[0, 1, 40, config.n_frames // 4] = 1
    thumbnail = shrink(values, np.array([[0.0, 1.0]]), config)[0]
    assert not thumbnail[0].any()
    band, time = np.unravel_index(thumbnail[1].argmax(), thumbnail[1].shape)
    frequencies = config.frequencies_hz()
    height = float(erb_rate(frequencies[40]) / erb_rate(frequencies[-1]))
    assert abs(band + 0.5 - height * N_BANDS) < 1
    assert abs(time + 0.5 - N_TIMES / 4) < 1.5


def test_levels_are_decibels():
    values = np.array([1, 0.5, 1e-3, 0], np.float32)
    levels = to_levels(values, 1.0, exponent=0.5)
    assert levels[0] == 255 and levels[3] == 0 and levels[2] == 0
    assert from_levels(levels, 0.5)[1] == pytest.approx(0.5, rel=0.02)


def page_step(data, a, b, index):
    """Compute step `index` of POSITIONS from a to b as the script of the page does."""
    data = data["audio"]
    shape = (-1, 2, data["bands"], data["times"])
    ends = inflate(data["ends"], np.uint8).reshape(shape)
    basis = inflate(data["basis"], np.int8).reshape(shape)
    coefficients = inflate(data["coefficients"], np.int8)
    low, high = min(a, b), max(a, b)
    n, k = len(data["rows"]), len(data["scales"])
    pair = low * n - low * (low + 1) // 2 + high - low - 1
    row = 3 * pair + (index if a < b else 2 - index)
    weights = coefficients.reshape(-1, k)[row] * np.array(data["scales"])
    values = from_levels(ends, data["exponent"])
    t = data["positions"][index]
    return (1 - t) * values[a] + t * values[b] + np.tensordot(weights, basis, 1)


@pytest.mark.parametrize(("a", "b"), [(1, 5), (5, 1), (0, 6)])
def test_steps_of_a_page_equal_the_decoded_steps(page_file, latents, run, a, b):
    data = data_of(page_file)
    rows = data["audio"]["rows"]
    exponent = data["audio"]["exponent"]
    constants = np.tile(np.array([[run.mean, run.std]], np.float32), (3, 1))
    t = np.array(data["audio"]["positions"], np.float32)[:, None]
    assert t.ravel().tolist() == [0.25, 0.5, 0.75]
    decoded = run.decode((1 - t) * latents.latent[rows[a]] + t * latents.latent[rows[b]])
    true = shrink(decoded, constants, run.spectrogram_config)
    loudest = loudest_of_originals(latents, run, rows, data)
    shown = np.stack([page_step(data, a, b, index) for index in range(3)])
    difference = shown_db(shown, exponent) - shown_db(true / loudest, exponent)
    error_db = data["audio"]["errorDb"]
    assert 0 < error_db < 1
    assert np.sqrt(np.mean(np.square(difference))) < 2 * error_db + 0.1


def loudest_of_originals(latents, run, rows, data):
    """Return the loudest value of the originals, 0 dB of the page, from the ends in the page."""
    constants = np.tile(np.array([[run.mean, run.std]], np.float32), (len(rows), 1))
    ends = shrink(run.decode(latents.latent[rows]), constants, run.spectrogram_config)
    audio = data["audio"]
    levels = inflate(audio["ends"], np.uint8).reshape(ends.shape)
    middle = (levels > 60) & (levels < 250)
    values = from_levels(levels, audio["exponent"])
    return float(np.median(ends[middle] / values[middle]))


def test_the_ends_of_a_path_are_decoded_latents(map_audio, latents, run):
    constants = np.tile(np.array([[run.mean, run.std]], np.float32), (N_WITH_AUDIO, 1))
    decoded = run.decode(latents.latent[map_audio.rows])
    ends = shrink(decoded, constants, run.spectrogram_config)
    originals = shrink(run.analyse(map_audio.audio)[0], constants, run.spectrogram_config)
    expected = to_levels(ends, float(originals.max()), map_audio.exponent)
    np.testing.assert_array_equal(map_audio.ends, expected)


# --- the page -------------------------------------------------------------------------------------


def test_every_point_has_coordinates_and_the_colour_of_its_effect(page_file, latents, projection):
    shown = data_of(page_file)["map"]
    np.testing.assert_allclose(np.transpose([shown["x"], shown["y"]]), projection.points, rtol=1e-5)
    by_effect = shown["colourings"][0]
    assert by_effect["name"] == "effect" and by_effect["kind"] == "category"
    for row, category in enumerate(by_effect["values"]):
        described = by_effect["categories"][category]
        assert described["name"] == latents.effects()[row]
        assert described["colour"] == label_style(int(latents.labels.effect[row]))[0]


def test_points_are_described_by_effect_setting_recording_and_offset(page_file, latents):
    points = data_of(page_file)["points"]
    text = points["labels"][0].replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(r"overdrive.* dB, tone .*Hz", text)
    assert points["recordings"][points["recording"][0]] == Path(latents.labels.path_of(0)).name
    assert f"from {latents.labels.offset[0] / RATE:.2f} s" in points["excerpts"][0]


def test_points_can_be_coloured_by_recording_split_and_every_parameter(page_file, latents):
    labels = latents.labels
    colourings = {each["name"]: each for each in data_of(page_file)["map"]["colourings"]}
    assert colourings["recording"]["values"] == labels.recording.tolist()
    assert colourings["split"]["values"] == labels.split.tolist()
    for index, described in enumerate(labels.effects):
        effect = Effect.from_dict(described)
        for parameter in effect.parameters:
            colouring = colourings[f"{effect.name}: {parameter.name}"]
            assert colouring["rows"] == np.flatnonzero(labels.effect == index).tolist()
            values = [labels.setting_of(row)[parameter.name] for row in colouring["rows"]]
            result = [parameter.from_normalised(position) for position in colouring["values"]]
            span = parameter.maximum - parameter.minimum
            np.testing.assert_allclose(result, values, atol=1e-3 * span)
            assert colouring["ticks"][0][1].replace("\N{MINUS SIGN}", "-").replace(
                "\N{NO-BREAK SPACE}", " "
            ) == parameter.text(parameter.minimum)


def test_the_error_of_a_point_is_its_mean_squared_reconstruction_error(
    map_audio, page_file, latents, run, pairs_file
):
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        spectrogram = run.analyse(np.asarray(reader.rows(np.array([5])), np.float32))[0]
    expected = np.mean(np.square(run.decode(latents.latent[5:6]) - spectrogram))
    assert map_audio.mse[5] == pytest.approx(expected, rel=1e-3)
    colourings = data_of(page_file)["map"]["colourings"]
    (colouring,) = (each for each in colourings if each["name"].startswith("reconstruction"))
    assert np.argmax(colouring["values"]) == np.argmax(map_audio.mse)
    assert float(colouring["ticks"][2][1]) == pytest.approx(map_audio.mse.max(), rel=5e-3)


def test_on_large_maps_only_points_with_audio_have_an_error(latents, run, pairs_file, monkeypatch):
    monkeypatch.setattr(map_audio_module, "MAX_ERRORS", 5)
    read_audio = map_audio_module.audio_reader(pairs_file, latents, run, SPLITS)
    map_audio = map_audio_module.collect_audio(latents, run, read_audio, 2)
    assert np.flatnonzero(np.isfinite(map_audio.mse)).tolist() == map_audio.rows.tolist()


def test_the_scripts_of_a_page_are_small(latents, projection, tmp_path):
    path = tmp_path / "map.html"
    write_map_page(path, latents, projection)
    without_data = re.sub(r'class="map-data">.*?</script>', "", path.read_text(), flags=re.DOTALL)
    assert len(without_data) < 100_000


def test_a_bundle_contains_each_module_once_and_no_imports():
    text = page_module.bundle("latent_map.js")
    assert not re.findall(r"^(?:import|export)\b", text, re.MULTILINE)
    for name in ("PointMap", "PointMapControls", "PointPainter", "MapAudio", "LatentMap"):
        assert text.count(f"class {name} {{") == 1
    assert text.index("class PointPainter {") < text.index("class PointMap {")
    names = re.findall(r"^(?:async )?(?:const|function|class) (\w+)", text, re.MULTILINE)
    assert len(names) == len(set(names))


def test_a_page_loads_nothing(page_file):
    text = page_file.read_text("utf-8")
    assert "default-src 'none'" in text
    page = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href|url|import)\s*[=(]\s*["']?(?!data:)[a-z]*:?//""", page)
    assert re.findall(r"<(?:link|img|audio|iframe|script)\b[^>]*(?:src|href)=\"(.*?)\"", text) == [
        "data:,"
    ]


def test_names_of_recordings_and_effects_are_escaped(latents, projection, tmp_path):
    labels = latents.labels
    recordings = [{**each, "path": f"/x/{EVIL.replace('/', '')}.wav"} for each in labels.recordings]
    effects = [{**each, "name": EVIL} for each in labels.effects[:1]] + labels.effects[1:]
    evil = type(latents)(
        **{**vars(latents), "labels": type(labels)(**{**vars(labels), "recordings": recordings,
        "effects": effects})}
    )  # fmt: skip
    path = tmp_path / "evil.html"
    write_map_page(path, evil, projection, title=EVIL)
    text = path.read_text("utf-8")
    assert "<script>alert" not in text and "<b>&amp;" not in text
    assert text.count("<script") == text.count("</script>")
    assert data_of(path)["map"]["colourings"][0]["categories"][0]["name"] == EVIL


def test_json_cannot_end_its_script_element():
    text = page_module.script_json({"a": "</script><!--", "b": [1.5, "\u2028"]})
    assert "<" not in text and ">" not in text and "\u2028" not in text
    assert json.loads(text) == {"a": "</script><!--", "b": [1.5, "\u2028"]}


def test_a_file_without_audio_gives_a_silent_page_that_explains_it(
    latents, spectrograms_file, run_folder, tmp_path, invoke
):
    write_latents(latents, tmp_path / "latents.h5")
    for source in (tmp_path / "latents.h5", spectrograms_file):
        path = tmp_path / f"{source.stem}.html"
        done = invoke("map", source, "--run", run_folder, "--method", "pca", "-o", path)
        assert done.exit_code == 0, done.output
        assert "The page has no audio" in done.output
        assert f"{source.name} has no audio" in path.read_text("utf-8")
        assert data_of(path)["audio"] is None


def test_the_command_writes_a_page_with_audio(pairs_file, run_folder, tmp_path, invoke):
    path = tmp_path / "map.html"
    command = ("map", pairs_file, "--run", run_folder, "--split", "all", "--method", "pca")
    done = invoke(*command, "--points", 4, "-o", path, "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["n_points_with_audio"] == 4
    assert printed["interpolation_error_db"] == data_of(path)["audio"]["errorDb"]
    assert len(data_of(path)["audio"]["rows"]) == 4
    repeated = invoke(*command, "-o", path)
    assert repeated.exit_code == 1 and "--overwrite" in repeated.output
    wrong = invoke(*command, "--points", 4, "-o", tmp_path / "map.png")
    assert wrong.exit_code == 2 and ".html" in wrong.output


def test_existing_files_and_other_suffixes_are_refused(latents, projection, tmp_path):
    (tmp_path / "map.html").write_text("mine")
    with pytest.raises(OutputExistsError):
        write_map_page(tmp_path / "map.html", latents, projection)
    with pytest.raises(InputError, match=r"expected .html"):
        write_map_page(tmp_path / "map.txt", latents, projection)
    assert (tmp_path / "map.html").read_text() == "mine"
