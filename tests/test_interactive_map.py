import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browsers import opened, until
from datasets import N_SAMPLES, RATE, chosen, write_recordings

from dafxtool import storage
from dafxtool.audio.writer import encode
from dafxtool.errors import InputError, OutputExistsError
from dafxtool.latents.embed import embed
from dafxtool.latents.latent_map import latent_map
from dafxtool.latents.projection import Projection
from dafxtool.latents.table import write_latents
from dafxtool.plots.scatter import label_style
from dafxtool.plots.spectrograms import colour_table, erb_rate
from dafxtool.web import page as page_module
from dafxtool.web.latent_map import (
    carry,
    choose_points,
    map_fragment,
    sounds_of,
    write_map_page,
)
from dafxtool.web.thumbnails import (
    FLOOR_DB,
    N_BANDS,
    N_TIMES,
    RANGE_DB,
    from_levels,
    shown_db,
    shrink,
    to_levels,
)

SPLITS = ("train", "validation", "test")
N_SOUNDING = 7
MP3_PADDING = 3 * 576  # samples: three frames
EVIL = "<script>alert(1)</script><b>&amp;"


@pytest.fixture(scope="module")
def latents(pairs_file, run):
    return embed([pairs_file], run)


@pytest.fixture(scope="module")
def projection(latents):
    return latent_map(latents, "pca")


@pytest.fixture(scope="module")
def carried(latents, run, pairs_file):
    sounds = sounds_of(pairs_file, latents, run, SPLITS)
    return carry(latents, run, sounds, N_SOUNDING)


@pytest.fixture(scope="module")
def page_file(latents, projection, run, pairs_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "map.html"
    sounds = sounds_of(pairs_file, latents, run, SPLITS)
    write_map_page(path, latents, projection, run, sounds, N_SOUNDING)
    return path


def data_of(path):
    found = re.search(r'class="map-data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    return json.loads(found[1])


def decoded_sound(uri):
    kind, content = uri.split(",")
    assert kind == "data:audio/mpeg;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), always_2d=True)
    return samples.T, rate


# Sound --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "kind"), [(8000, "mp3"), (24000, "flac"), (24000, "mp3")])
def test_encoded_sound_is_the_sound(rate, kind):
    time_s = np.arange(rate) / rate
    tone = (0.25 * np.sin(2 * np.pi * 440 * time_s) * np.exp(-3 * time_s)).astype(np.float32)
    read, found = soundfile.read(io.BytesIO(encode(tone, rate, kind)))
    assert found == rate and len(read) == len(tone)
    if kind == "flac":
        np.testing.assert_allclose(read, tone, atol=1 / 32767)
    else:
        np.testing.assert_allclose(read, tone, atol=0.04)


def test_rates_that_mp3_does_not_know_become_higher_ones():
    read, rate = soundfile.read(io.BytesIO(encode(np.zeros(20_000), 20_000, "mp3")))
    assert (rate, len(read)) == (22_050, 22_050)


@pytest.mark.parametrize(
    ("samples", "kind", "sentence"),
    [
        (np.zeros(100), "ogg", "Use mp3 or flac"),
        (np.full(100, np.nan), "mp3", "NaN or infinite"),
        (np.full(100, 2.0), "flac", "peaks at"),
    ],
)
def test_what_cannot_be_encoded_is_refused(samples, kind, sentence):
    with pytest.raises(InputError, match=sentence):
        encode(samples, RATE, kind)


def test_the_page_holds_the_sound_of_the_pairs(page_file, pairs_file):
    carried = data_of(page_file)["carried"]
    rows = carried["rows"]
    assert len(rows) == N_SOUNDING
    with storage.Reader(pairs_file, storage.PAIRS) as reader:
        # A plucked string: of noise, MP3 keeps what is heard and not the waves.
        slot = next(i for i, row in enumerate(rows) if reader.labels.folder_of(row) == "plucks")
        pair = reader.rows(np.array([rows[slot]]))[0]
    for channel, wanted in enumerate(pair):
        sound, rate = decoded_sound(carried["sounds"][carried["sounds_of"][slot][channel]])
        assert rate == RATE and len(sound) == 1
        assert sound.shape[1] == N_SAMPLES
        spectra = [np.abs(np.fft.rfft(each, 16384)) for each in (sound[0], wanted)]
        assert np.corrcoef(*spectra)[0, 1] > 0.95


def test_points_with_sound_are_balanced_and_repeat(latents):
    rows = choose_points(latents, N_SOUNDING, 3)
    counts = np.bincount(latents.labels.effect[rows])
    assert sorted(counts) == [3, 4]
    np.testing.assert_array_equal(rows, choose_points(latents, N_SOUNDING, 3))
    assert choose_points(latents, 999).tolist() == list(range(len(latents)))


def test_the_sound_of_embedded_recordings_is_what_was_embedded(run, tmp_path):
    recordings = write_recordings(tmp_path)
    latents = embed([recordings], run, chosen("delay", "overdrive"))
    sounds = sounds_of(recordings, latents, run, SPLITS)
    rows = np.array([0, 5, 11])
    again = run.embed(run.analyse(sounds(rows))[0])
    np.testing.assert_allclose(again, latents.latent[rows], atol=1e-4)


# Pictures -----------------------------------------------------------------------------------------


def test_a_miniature_of_a_constant_is_that_constant(run):
    config = run.spectrogram_config
    shape = (1, 2, config.n_bins, config.n_frames)
    made = shrink(np.ones(shape, np.float32), np.array([[2.0, 3.0]]), config)
    assert made.shape == (1, 2, N_BANDS, N_TIMES)
    np.testing.assert_allclose(made, 5, rtol=1e-5)


def test_a_tone_is_bright_in_its_band_and_at_its_time(run):
    config = run.spectrogram_config
    values = np.zeros((1, 2, config.n_bins, config.n_frames), np.float32)
    values[0, 1, 40, config.n_frames // 4] = 1
    made = shrink(values, np.array([[0.0, 1.0]]), config)[0]
    assert not made[0].any()
    band, time = np.unravel_index(made[1].argmax(), made[1].shape)
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
    """What the script of the page computes: the step `index` from point a to point b."""
    carried = data["carried"]
    shape = (-1, 2, carried["bands"], carried["times"])
    ends = np.frombuffer(base64.b64decode(carried["ends"]), np.uint8).reshape(shape)
    basis = np.frombuffer(base64.b64decode(carried["basis"]), np.int8).reshape(shape)
    coefficients = np.frombuffer(base64.b64decode(carried["coefficients"]), np.int8)
    low, high = min(a, b), max(a, b)
    n, k = len(carried["rows"]), len(carried["scales"])
    pair = low * n - low * (low + 1) // 2 + high - low - 1
    row = 3 * pair + (index if a < b else 2 - index)
    weights = coefficients.reshape(-1, k)[row] * np.array(carried["scales"])
    values = from_levels(ends, carried["exponent"])
    t = carried["positions"][index]
    return (1 - t) * values[a] + t * values[b] + np.tensordot(weights, basis, 1)


@pytest.mark.parametrize(("a", "b"), [(1, 5), (5, 1), (0, 6)])
def test_steps_of_the_page_are_those_that_the_model_decodes(page_file, latents, run, a, b):
    data = data_of(page_file)
    rows = data["carried"]["rows"]
    exponent = data["carried"]["exponent"]
    constants = np.tile(np.array([[run.mean, run.deviation]], np.float32), (3, 1))
    t = np.array(data["carried"]["positions"], np.float32)[:, None]
    assert t.ravel().tolist() == [0.25, 0.5, 0.75]
    decoded = run.decode((1 - t) * latents.latent[rows[a]] + t * latents.latent[rows[b]])
    true = shrink(decoded, constants, run.spectrogram_config)
    originals = embed_miniatures(latents, run, rows, data)
    shown = np.stack([page_step(data, a, b, index) for index in range(3)])
    difference = shown_db(shown, exponent) - shown_db(true / originals, exponent)
    error_db = data["carried"]["error_db"]
    assert 0 < error_db < 1
    assert np.sqrt(np.mean(np.square(difference))) < 2 * error_db + 0.1


def embed_miniatures(latents, run, rows, data):
    """The loudest value of all originals, which is 0 dB of the page, from the page's own ends."""
    constants = np.tile(np.array([[run.mean, run.deviation]], np.float32), (len(rows), 1))
    ends = shrink(run.decode(latents.latent[rows]), constants, run.spectrogram_config)
    carried = data["carried"]
    levels = np.frombuffer(base64.b64decode(carried["ends"]), np.uint8).reshape(ends.shape)
    middle = (levels > 60) & (levels < 250)
    values = from_levels(levels, carried["exponent"])
    return float(np.median(ends[middle] / values[middle]))


def test_the_ends_are_what_the_decoder_makes_of_the_ends(carried, latents, run):
    constants = np.tile(np.array([[run.mean, run.deviation]], np.float32), (N_SOUNDING, 1))
    decoded = run.decode(latents.latent[carried.rows])
    ends = shrink(decoded, constants, run.spectrogram_config)
    originals = shrink(run.analyse(carried.audio)[0], constants, run.spectrogram_config)
    wanted = to_levels(ends, float(originals.max()), carried.exponent)
    np.testing.assert_array_equal(carried.ends, wanted)


# The page -----------------------------------------------------------------------------------------


def test_every_point_is_on_the_map_in_the_colour_of_its_effect(page_file, latents, projection):
    figure = data_of(page_file)["figure"]
    drawn = {}
    for trace in figure["data"][:-1]:
        for row, x, y in zip(trace["customdata"], trace["x"], trace["y"], strict=True):
            drawn[row] = (x, y, trace["marker"]["color"], trace["name"])
    assert sorted(drawn) == list(range(len(latents)))
    for row, (x, y, colour, name) in drawn.items():
        np.testing.assert_allclose((x, y), projection.points[row], atol=5e-3)
        assert colour == label_style(int(latents.labels.effect[row]))[0]
        effect = latents.effects()[row]
        assert name == f"{effect} ({latents.effects().count(effect)})"


def test_hovering_tells_effect_setting_recording_and_offset(page_file, latents):
    figure = data_of(page_file)["figure"]
    texts = {
        row: text
        for trace in figure["data"][:-1]
        for row, text in zip(trace["customdata"], trace["hovertext"], strict=True)
    }
    text = texts[0].replace("\N{NO-BREAK SPACE}", " ").replace("<br>", " ")
    assert re.search(r"overdrive.* dB, tone .*Hz", text)
    assert f"{Path(latents.labels.path_of(0)).name} from" in text
    assert f"from {latents.labels.offset[0] / RATE:.2f} s" in text


def test_nothing_is_loaded_from_anywhere(page_file):
    text = page_file.read_text("utf-8")
    assert "default-src 'none'" in text
    page = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href|url|import)\s*[=(]\s*["']?(?!data:)[a-z]*:?//""", page)
    assert re.findall(r"<(?:link|img|audio|iframe|script)\b[^>]*(?:src|href)=\"(.*?)\"", text) == [
        "data:,"
    ]


def test_names_from_outside_are_harmless(latents, projection, tmp_path):
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
    figure = data_of(path)["figure"]
    trace = figure["data"][0]
    assert trace["name"].startswith("&lt;script&gt;alert(1)&lt;/script&gt;&lt;b&gt;&amp;amp; (")
    hovers = " ".join(text for each in figure["data"][:-1] for text in each["hovertext"])
    assert set(re.findall("<[^>]*>", hovers)) == {"<br>"}


def test_json_in_a_script_cannot_end_it():
    text = page_module.script_data({"a": "</script><!--", "b": [1.5, "\u2028"]})
    assert "<" not in text and ">" not in text and "\u2028" not in text
    assert json.loads(text) == {"a": "</script><!--", "b": [1.5, "\u2028"]}


def test_what_has_no_sound_is_a_silent_page_that_says_so(
    latents, spectrograms_file, run_folder, tmp_path, invoke
):
    write_latents(latents, tmp_path / "latents.h5")
    for source in (tmp_path / "latents.h5", spectrograms_file):
        path = tmp_path / f"{source.stem}.html"
        done = invoke("map", source, "--run", run_folder, "--method", "pca", "-o", path)
        assert done.exit_code == 0, done.output
        assert f"silent: {source} holds no sound" in done.output
        assert "holds no sound. Map the pairs or the recordings" in path.read_text("utf-8")
        assert data_of(path)["carried"] is None


def test_the_command_writes_a_page_that_is_heard(pairs_file, run_folder, tmp_path, invoke):
    path = tmp_path / "map.html"
    command = ("map", pairs_file, "--run", run_folder, "--split", "all", "--method", "pca")
    done = invoke(*command, "--points", 4, "-o", path, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["points_with_sound"] == 4
    assert told["way_error_db"] == data_of(path)["carried"]["error_db"]
    assert len(data_of(path)["carried"]["rows"]) == 4
    assert 4e6 < path.stat().st_size < 7e6  # most of it is plotly.js
    again = invoke(*command, "-o", path)
    assert again.exit_code == 1 and "--overwrite" in again.output
    wrong = invoke(*command, "--points", 4, "-o", tmp_path / "map.png")
    assert wrong.exit_code == 2 and "--points is for a page" in wrong.output


def test_a_name_that_is_taken_is_refused_before_the_work(latents, projection, tmp_path):
    (tmp_path / "map.html").write_text("mine")
    with pytest.raises(OutputExistsError):
        write_map_page(tmp_path / "map.html", latents, projection)
    with pytest.raises(InputError, match=r"expected .html"):
        write_map_page(tmp_path / "map.txt", latents, projection)
    assert (tmp_path / "map.html").read_text() == "mine"


# In a browser -------------------------------------------------------------------------------------

PLACE = """(row) => {
  const plot = document.querySelector(".map-plot"), box = plot.getBoundingClientRect();
  const { xaxis, yaxis } = plot._fullLayout;
  for (const trace of plot.data) {
    const i = (trace.customdata || []).indexOf(row);
    if (i >= 0) return [box.left + xaxis._offset + xaxis.d2p(trace.x[i]),
                        box.top + yaxis._offset + yaxis.d2p(trace.y[i])];
  }
}"""
SOUND = """(kind) => {
  const sound = document.getElementById("latent-map").mapSounds[kind];
  return { duration: sound.duration, place: sound.currentTime, paused: sound.paused };
}"""
CONTRAST = """(name) => [...document.querySelectorAll(name)].map((canvas) => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return Math.max(...pixels.filter((_, i) => i % 4 === 0)) -
    Math.min(...pixels.filter((_, i) => i % 4 === 0));
})"""


PIXELS = """([name, index]) => {
  const canvas = document.getElementsByClassName(name)[index];
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""


def assert_shows(pixels, decibels):
    """The picture of a canvas has the colours of these decibels (bands, times), low bands below."""
    height = np.clip(1 - decibels / FLOOR_DB, 0, 1)
    wanted = colour_table()[np.rint(255 * height).astype(int)][::-1].astype(int)
    shown = np.reshape(pixels, (*wanted.shape[:2], 4))[..., :3]
    assert np.abs(shown - wanted).max() <= 8  # a level beside it, where rounding differs


@pytest.fixture(scope="module")
def spread_out(latents):
    """Points so far apart that a click can only mean one."""
    angle = np.linspace(0, 2 * np.pi, len(latents), endpoint=False)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    return Projection(points, ("x", "y"))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "touch"), [(1280, False), (390, True)])
def test_the_page_in_a_browser(width, touch, latents, spread_out, run, pairs_file, tmp_path):
    path = tmp_path / "map.html"
    sounds = sounds_of(pairs_file, latents, run, SPLITS)
    # Long enough to switch between wet and dry meanwhile.
    longer = lambda rows: np.tile(sounds(rows), (1, 1, 4))  # noqa: E731
    made = carry(latents, run, sounds, N_SOUNDING)
    made = type(made)(**{**vars(made), "audio": longer(made.rows)})
    fragment = map_fragment(latents, spread_out, made, RATE, 4 * N_SAMPLES)
    page_module.write_page(path, page_module.page("Map", [fragment]))
    first, second = made.rows[[0, 3]].tolist()
    silent = next(row for row in range(len(latents)) if row not in made.rows)
    with opened(path, width, touch=touch) as (page, complaints):
        page.wait_for_selector(".map-plot .main-svg")
        click = page.touchscreen.tap if touch else page.mouse.click
        click(*page.evaluate(PLACE, silent))
        until(page, "document.querySelector('.map-say').textContent.includes('no sound')")
        page.wait_for_timeout(600)  # two clicks in less may be a double click
        click(*page.evaluate(PLACE, first))
        until(page, f"({SOUND})('wet').place > 0")
        wet = page.evaluate(SOUND, "wet")
        assert wet["duration"] == pytest.approx(4 * N_SAMPLES / RATE, abs=MP3_PADDING / RATE)
        assert not wet["paused"]
        assert page.is_hidden(".map-way")
        place = page.evaluate(SOUND, "wet")["place"]
        page.keyboard.press("d")
        until(page, f"!({SOUND})('dry').paused && ({SOUND})('dry').place > {place}")
        assert page.evaluate(SOUND, "wet")["paused"]
        assert page.get_attribute(".map-dry", "aria-pressed") == "true"
        page.keyboard.press(" ")
        assert page.evaluate(SOUND, "dry")["paused"]
        page.wait_for_timeout(600)
        click(*page.evaluate(PLACE, second))
        page.wait_for_selector(".map-way:not([hidden])")
        steps = page.evaluate(CONTRAST, ".map-way canvas")
        assert len(steps) == 10 and min(steps) > 20
        assert min(page.evaluate(CONTRAST, ".map-now canvas")) > 20
        # What the script computes from coefficients is what is computed from them here.
        for index in range(3):
            step = page_step(data_of(path), 0, 3, index)[1]
            shown = page.evaluate(PIXELS, ["map-step-wet", index + 1])
            assert_shows(shown, shown_db(step, made.exponent))
        levels = made.ends[0, 1].astype(np.float32)
        decibels = RANGE_DB * (levels / 255 - 1)
        assert_shows(page.evaluate(PIXELS, ["map-step-wet", 0]), decibels)
        page.locator(".map-plot .legendtoggle").first.dispatch_event("mousedown")
        page.locator(".map-plot .legendtoggle").first.dispatch_event("mouseup")
        until(
            page, "document.querySelector('.map-plot').data.some((t) => t.visible === 'legendonly')"
        )
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width
        assert complaints == []
