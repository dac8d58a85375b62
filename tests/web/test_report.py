"""Reports: sections, figures, audio, escaping, and their look in Chromium."""

import base64
import io
import re
import shutil

import numpy as np
import pytest
import soundfile
from browsers import opened, until
from datasets import N_SAMPLES, RATE

from dafxtool import storage
from dafxtool.api.defaults import pairs_of_run
from dafxtool.audio.writer import encode
from dafxtool.errors import FormatError, OutputExistsError, PluginError
from dafxtool.evaluation.probes import Estimate
from dafxtool.evaluation.results import Evaluation, Score
from dafxtool.models.run import load_run
from dafxtool.web import report, result_sections, run_sections
from dafxtool.web.blocks import Figure, Section, Table, section_fragments
from dafxtool.web.page import data_uri

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def written(run, pairs_file, tmp_path_factory):
    """Write a report without the slow sections; return its path and the result."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    result = report.write_report(
        path, run, pairs_file, 6, without=["sweeps", "matches", "evaluation"]
    )
    return path, result


@pytest.fixture(scope="module")
def text(written):
    return written[0].read_text("utf-8")


def visible_text(text):
    """Return the text of a page without tags, scripts and styles."""
    body = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL)
    return " ".join(body.replace("\N{NO-BREAK SPACE}", " ").split())


def decode_clips(text):
    for content in re.findall(r'<audio[^>]*src="data:audio/flac;base64,([^"]*)"', text):
        yield soundfile.read(io.BytesIO(base64.b64decode(content)))


def test_the_report_has_all_sections_and_figures(written, text):
    path, result = written
    assert result.left_out == [] and result.n_bytes == path.stat().st_size < 20e6
    assert result.sections[:3] == ["Data", "Effects", "Training"]
    links = re.findall(r'<a href="#([^"]*)">', text)
    assert links and links == re.findall(r'<section id="([^"]*)">', text)
    for number in range(1, 7):
        assert text.count(f"<b>Figure {number}.</b>") == 1
    assert text.count('<img src="data:image/png') == 6  # curves, map, 2 reconstructions, 2 paths


def test_counts_of_pairs_are_those_of_the_file(text, pairs_file):
    seen = visible_text(text)
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        labels = reader.labels
    for split in ("train", "validation", "test"):
        rows = labels.rows_of([split])
        recordings = {labels.path_of(row) for row in rows}
        folders = sorted({labels.folder_of(row) for row in rows})
        minutes = len(rows) * N_SAMPLES / RATE / 60
        row = f"{split} {len(rows)} {len(recordings)} {len(folders)} {minutes:.1f} min"
        assert f"{row} {', '.join(folders)}" in seen
    assert f"{N_SAMPLES:,} samples at {RATE:,} Hz" in seen
    assert "drive 0 dB to 60 dB 24 dB linear" in seen
    assert "output \N{MINUS SIGN}48 dB to 12 dB" in seen


def test_every_step_has_audio_of_the_exact_length(text, pairs_file):
    clips = list(decode_clips(text))
    # Two reconstructions of 4 clips; two interpolations: originals and steps, dry and wet.
    assert len(clips) == 2 * 4 + 2 * 2 * (2 + result_sections.N_STEPS)
    assert {(len(clip), rate) for clip, rate in clips} == {(N_SAMPLES, RATE)}
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        stored = reader.rows(slice(None)).reshape(-1, N_SAMPLES)
    original = clips[0][0]  # of the first reconstruction, dry
    assert np.abs(stored - original).max(axis=1).min() < 1e-4
    steps = [clip for clip, _ in clips[8:]]
    n = result_sections.N_STEPS + 2
    dry, wet = steps[:n], steps[n : 2 * n]
    np.testing.assert_array_equal(dry[0], dry[-1])  # Figure 5 is of one recording
    assert np.abs(wet[0] - wet[-1]).max() > 0.01  # with two effects
    other = steps[2 * n :]
    assert np.abs(other[0] - other[n - 1]).max() > 0.01  # Figure 6 is of two
    assert "<b>Figure 6.</b> Two recordings" in text


def test_names_are_escaped_everywhere(run, pairs_file, monkeypatch, tmp_path):
    for module in (report, run_sections, result_sections):
        monkeypatch.setattr(module, "shown_name", lambda path: EVIL)
    without = ["map", "sweeps", "matches", "evaluation"]
    report.write_report(tmp_path / "r.html", run, pairs_file, without=without, title=EVIL)
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "<img src=x" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 6
    assert "<h2>Latent map" not in text and "class PointMap" not in text


def test_tables_of_an_evaluation_are_shown():
    table = Table(["effect", "<latent>"], [["delay", "-0.5 [-1, 0]"]], "Effect", "Higher.")
    (png,) = [base64.b64decode(BLACK_DOT)]
    blocks = result_sections.evaluation_blocks([table], [("Confusion", png)], ["one & two"])
    (fragment,) = section_fragments([Section("e", "Evaluation", blocks)])[1:]
    assert "<th scope=\"col\">&lt;latent&gt;</th>" in fragment.html  # fmt: skip
    assert "\N{MINUS SIGN}0.5 [\N{MINUS SIGN}1, 0]" in fragment.html
    assert "one &amp; two" in fragment.html and "<b>Confusion.</b>" in fragment.html


BLACK_DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABc3UBGAAAAABJRU5ErkJggg=="
)


def test_a_failed_section_shows_the_error(run, pairs_file, monkeypatch, tmp_path):
    def missing(*arguments):
        raise PluginError("the plugin <Zam> is not here: install it.")

    monkeypatch.setattr(result_sections, "_pair", missing)
    without = ["map", "sweeps", "matches", "evaluation"]
    result = report.write_report(tmp_path / "r.html", run, pairs_file, without=without)
    assert [title for title, _ in result.left_out] == [
        "Interpolation between effects",
        "Interpolation between recordings",
    ]
    seen = (tmp_path / "r.html").read_text("utf-8")
    assert seen.count("This section failed: the plugin &lt;Zam&gt; is not here") == 2
    assert "Figure 4." in seen


def test_wrong_outputs_and_inputs_are_refused_at_once(run, spectrograms_file, pairs_file, tmp_path):
    (tmp_path / "there.html").write_text("mine")
    with pytest.raises(OutputExistsError):
        report.write_report(tmp_path / "there.html", run, pairs_file)
    with pytest.raises(FormatError, match="not pairs"):
        report.write_report(tmp_path / "new.html", run, spectrograms_file)
    assert not (tmp_path / "new.html").exists()


def test_the_pairs_of_a_run_are_found(run, pairs_file, tmp_path, monkeypatch):
    assert pairs_of_run(run.data, tmp_path) == pairs_file
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pairs.h5").write_bytes(pairs_file.read_bytes())
    elsewhere = {**run.data, "spectrograms": str(tmp_path / "gone" / "spectrograms.h5")}
    assert pairs_of_run(elsewhere, tmp_path / "other").parent == tmp_path / "other"


def test_a_report_on_a_single_checkpoint_has_no_curves(run, pairs_file, tmp_path):
    file = tmp_path / "model.pt"
    shutil.copy(run.path / "checkpoints" / "best.pt", file)
    bare = load_run(file, "cpu")
    blocks = run_sections.training_blocks(bare)
    assert not any(isinstance(block, Figure) for block in blocks)
    assert any(isinstance(block, Figure) for block in run_sections.training_blocks(run))


def test_the_command(run_folder, pairs_file, tmp_path, invoke):
    path = tmp_path / "r.html"
    left_out = [
        word for part in ("map", "sweeps", "matches", "evaluation") for word in ("--without", part)
    ]
    done = invoke("report", run_folder, "--pairs", pairs_file, "-o", path, *left_out, "--json")
    assert done.exit_code == 0, done.output
    assert '"sections"' in done.stdout and path.exists()
    repeated = invoke("report", run_folder, "--pairs", pairs_file, "-o", path)
    assert repeated.exit_code == 1 and "--overwrite" in repeated.output


def test_sweeps_and_the_evaluation_are_in_the_report(run, pairs_file, monkeypatch, tmp_path):
    half = Estimate(0.5, 0.4, 0.6)
    scores = [Score("linear", name, "latent", half, 9) for name in ("overdrive", "<delay>")]
    confusion = np.array([[7, 2], [3, 6]])
    names = ["overdrive", "<delay>"]
    evaluation = Evaluation(
        "run", "small", "p", {"test": 9}, names, scores, confusion, ["too few of them"]
    )
    monkeypatch.setattr(result_sections, "evaluate", lambda *arguments, **options: evaluation)
    result = report.write_report(tmp_path / "r.html", run, pairs_file, without=["map", "matches"])
    text = (tmp_path / "r.html").read_text("utf-8")
    seen = visible_text(text)
    assert result.left_out == [] and result.sections[-2:] == ["Sweeps of parameters", "Evaluation"]
    assert "Sweep of overdrive." in seen and "Sweep of delay." in seen
    assert "overdrive drive 12 dB 42 dB" in seen
    assert "&lt;delay&gt; 9 0.500 [0.400, 0.600]" in seen
    assert "too few of them" in seen and "Evaluation. The same scores" in seen


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_in_a_browser(written, width):
    with opened(written[0], width, touch=width < 800) as (page, complaints):
        until(page, "Boolean(document.getElementById('latent-map').latentMap)")
        durations = "[...document.querySelectorAll('audio')].map((clip) => clip.duration)"
        until(page, f"{durations}.every((seconds) => seconds > 0)")
        seconds = page.evaluate(durations)
        assert len(seconds) == 2 * 4 + 2 * 2 * (2 + result_sections.N_STEPS)
        np.testing.assert_allclose(seconds, N_SAMPLES / RATE, atol=1e-4)
        pressed = "[...document.querySelectorAll('.play[aria-pressed=true]')].length"
        page.locator("button.play").nth(0).click()
        until(page, f"{pressed} === 1 || document.querySelector('.play audio').ended")
        page.locator("button.play").nth(1).click()
        until(page, "document.querySelector('.play audio').paused")
        until(page, f"{pressed} === 0")  # it has ended
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        has_images = "[...document.querySelectorAll('img')].every((i) => i.naturalWidth > 0)"
        assert page.evaluate(has_images)
        assert complaints == []


def test_embedded_flac_decodes_to_the_original():
    clip = (0.5 * np.sin(np.arange(2000))).astype(np.float32)
    uri = data_uri(encode(clip, RATE, "flac"), "flac")
    ((decoded, rate),) = decode_clips(f'<audio src="{uri}">')
    assert rate == RATE
    np.testing.assert_allclose(decoded, clip, atol=1 / 32767)
