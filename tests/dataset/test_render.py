"""Render pairs files: settings, seeds, workers and resumes."""

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import HELPERS, N_SAMPLES, RATE, SEGMENTS, SPLIT, chosen, write_recordings
from small_renders import render_small, stop_after

from dafxtool import storage
from dafxtool.audio import writer
from dafxtool.audio.reader import load_audio
from dafxtool.config import SPLITS
from dafxtool.dataset.plan import SEGMENTS_PER_SETTING
from dafxtool.dataset.render import render, rerender_row
from dafxtool.effects.effect import Effect
from dafxtool.errors import (
    ConfigError,
    InputError,
    OutputExistsError,
)
from dafxtool.storage.layout import longest_setting_text


def test_a_pairs_file_has_the_requested_rows(rendered):
    with storage.Hdf5Reader(rendered, storage.PAIRS) as reader:
        labels, audio = reader.labels, reader.rows(slice(None))
    assert audio.shape == (24, 2, N_SAMPLES)
    assert audio.dtype == np.float32
    assert [labels.effect_of(row) for row in range(4)] == ["overdrive", "delay"] * 2
    np.testing.assert_allclose(20 * np.log10(np.abs(audio).max(axis=2)), -12.0, atol=1e-3)
    assert {labels.split_of(row) for row in range(24)} == set(SPLITS)
    assert len(np.unique(labels.setting[labels.effect == 0], axis=0)) == 12  # random: all differ
    for row in range(24):
        effect = Effect.from_dict(labels.effects[labels.effect[row]])
        assert effect.complete(labels.setting_of(row)) == labels.setting_of(row)
        assert effect.setting_text(labels.setting_of(row)) == labels.setting_text[row]
        assert labels.recordings[labels.recording[row]]["split"] == labels.split_of(row)


def test_the_dry_segment_is_at_the_recorded_offset(rendered):
    with storage.Hdf5Reader(rendered, storage.PAIRS) as reader:
        labels, audio = reader.labels, reader.rows(slice(None))
    for row in range(24):
        intact = load_audio(Path(labels.path_of(row)), RATE)[0]
        offset = labels.offset[row]
        cut = intact[offset : offset + N_SAMPLES]
        scale = 10 ** (-12 / 20) / np.abs(cut).max()
        np.testing.assert_allclose(audio[row, 0], cut * scale, atol=1e-6)


def test_every_pair_can_be_rendered_again_bit_identically(rendered):
    with storage.Hdf5Reader(rendered, storage.PAIRS) as reader:
        audio = reader.rows(slice(None))
    for row in range(24):
        np.testing.assert_array_equal(rerender_row(rendered, row), audio[row])
    with pytest.raises(InputError, match="row 24 does not exist"):
        rerender_row(rendered, 24)


def test_the_bytes_do_not_depend_on_the_number_of_workers(recordings, rendered, tmp_path):
    render_small(recordings, tmp_path / "two.h5", workers=2)
    assert (tmp_path / "two.h5").read_bytes() == rendered.read_bytes()


def test_a_longer_dataset_starts_with_the_shorter_one(recordings, rendered, tmp_path):
    render_small(recordings, tmp_path / "longer.h5", pairs_per_effect=20)
    with storage.Hdf5Reader(tmp_path / "longer.h5", storage.PAIRS) as longer:
        with storage.Hdf5Reader(rendered, storage.PAIRS) as shorter:
            np.testing.assert_array_equal(longer.rows(slice(0, 24)), shorter.rows(slice(None)))


def test_another_seed_gives_another_dataset(recordings, rendered, tmp_path):
    render_small(recordings, tmp_path / "other.h5", seed=4)
    with storage.Hdf5Reader(tmp_path / "other.h5", storage.PAIRS) as other:
        with storage.Hdf5Reader(rendered, storage.PAIRS) as reader:
            assert not np.array_equal(other.rows(slice(None)), reader.rows(slice(None)))


def test_clean_does_not_change_the_audio(recordings, tmp_path):
    render_small(recordings, tmp_path / "clean.h5", effects=("clean",))
    with storage.Hdf5Reader(tmp_path / "clean.h5", storage.PAIRS) as reader:
        audio = reader.rows(slice(None))
    np.testing.assert_allclose(audio[:, 1], audio[:, 0], atol=1e-7)


def test_a_static_setting_is_the_same_for_all_pairs(recordings, tmp_path):
    effect, _ = chosen("overdrive")[0]
    name = effect.parameters[0].name
    fixed = {name: effect.parameters[0].maximum}
    render(
        [recordings], tmp_path / "s.h5", [(effect, fixed)], SEGMENTS, SPLIT, 6, settings="static"
    )
    with storage.Hdf5Reader(tmp_path / "s.h5", storage.PAIRS) as reader:
        settings = [reader.labels.setting_of(row) for row in range(6)]
    assert settings == [effect.complete(fixed)] * 6


def test_a_sweep_applies_every_setting_to_the_same_segment(recordings, tmp_path):
    effect, _ = chosen("delay")[0]
    n_settings = 3 * len(effect.parameters)
    render(
        [recordings],
        tmp_path / "sweep.h5",
        [(effect, {})],
        SEGMENTS,
        SPLIT,
        2 * n_settings,
        settings="sweep",
        steps=3,
    )
    with storage.Hdf5Reader(tmp_path / "sweep.h5", storage.PAIRS) as reader:
        dry, labels = reader.rows(slice(None))[:, 0], reader.labels
    np.testing.assert_array_equal(dry[:n_settings], np.tile(dry[0], (n_settings, 1)))
    assert not np.array_equal(dry[0], dry[n_settings])
    default = effect.default_setting()
    for row in range(n_settings):
        changed = [k for k, v in labels.setting_of(row).items() if v != default[k]]
        assert len(changed) <= 1
    np.testing.assert_array_equal(labels.setting[:n_settings], labels.setting[n_settings:])


def test_a_sweep_of_two_effects_applies_every_setting_to_each_segment(recordings, tmp_path):
    """Also where the number of settings of one effect is no multiple of the other's."""
    effects = chosen("bit-crusher", "overdrive")
    n_settings = [3 * len(effect.parameters) for effect, _ in effects]
    assert n_settings == [6, 9]
    output = tmp_path / "sweep.h5"
    render([recordings], output, effects, SEGMENTS, SPLIT, settings="sweep", steps=3)
    with storage.Hdf5Reader(output, storage.PAIRS) as reader:
        labels = reader.labels
    for index, count in enumerate(n_settings):
        rows = np.flatnonzero(labels.effect == index)
        assert len(rows) == SEGMENTS_PER_SETTING * 9
        for group in np.split(rows, np.arange(count, len(rows), count)):
            segments = {(labels.recording[i], labels.offset[i], labels.split[i]) for i in group}
            assert len(segments) == 1
            assert len({labels.setting_text[i] for i in group}) == len(
                {labels.setting_text[i] for i in rows}
            )


def test_a_grid_holds_all_combinations(recordings, tmp_path):
    effect, _ = chosen("overdrive")[0]
    fixed = {p.name: p.default for p in effect.parameters[2:]}
    result = render(
        [recordings],
        tmp_path / "g.h5",
        [(effect, fixed)],
        SEGMENTS,
        SPLIT,
        settings="grid",
        steps=3,
    )
    assert result.n_pairs == 9 * SEGMENTS_PER_SETTING
    with storage.Hdf5Reader(tmp_path / "g.h5", storage.PAIRS) as reader:
        settings = {tuple(row[:2]) for row in reader.labels.setting[:9]}
    assert len(settings) == 9


@pytest.mark.parametrize("name", ["pairs.txt", "pairs.WAV"])
def test_a_file_name_of_another_kind_makes_no_folder(recordings, tmp_path, name):
    with pytest.raises(InputError, match="another kind of file"):
        render_small(recordings, tmp_path / name)
    assert not (tmp_path / name).exists()


COMMAND = """
import sys
sys.path[:0] = {tests!r}
from pathlib import Path
from small_renders import render_small
if __name__ == "__main__":
    render_small(Path({recordings!r}), Path({output!r}), pairs_per_effect=200, resume=True,
                 workers={workers})
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_render_is_resumed_to_the_same_bytes(recordings, tmp_path, workers):
    complete, killed = tmp_path / "complete.h5", tmp_path / "killed.h5"
    render_small(recordings, complete, pairs_per_effect=200)
    code = COMMAND.format(
        tests=[HELPERS],
        recordings=str(recordings),
        output=str(killed),
        workers=workers,
    )
    script = tmp_path / "render_it.py"
    script.write_text(code)
    n_killed = 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, str(script)])
        partial = storage.partial_path(killed)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if partial.exists() and n_done(partial) > 30 * (n_killed + 1):
                break
            time.sleep(0.005)
        if process.poll() is None:
            process.kill()
            n_killed += 1
        process.wait()
    assert n_killed >= 1
    assert not killed.exists()
    render_small(recordings, killed, pairs_per_effect=200, resume=True)
    assert killed.read_bytes() == complete.read_bytes()


def n_done(partial: Path) -> int:
    """Count the rows done in a file that another process is writing."""
    import h5py

    try:
        with h5py.File(partial, "r", locking=False) as file:
            return int(np.count_nonzero(file["done"][:]))
    except (OSError, KeyError):
        return 0


def test_invalid_arguments_are_refused(recordings, tmp_path):
    with pytest.raises(ConfigError, match="no effect is given"):
        render([recordings], tmp_path / "x.h5", [])
    with pytest.raises(ConfigError, match="named twice"):
        render_small(recordings, tmp_path / "x.h5", effects=("delay", "delay"))
    with pytest.raises(ConfigError, match="random, static, grid or sweep"):
        render_small(recordings, tmp_path / "x.h5", settings="wild")
    with pytest.raises(InputError, match="absent"):
        render_small(tmp_path / "absent", tmp_path / "x.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_recording_is_skipped(tmp_path):
    folder = write_recordings(tmp_path / "recordings")
    broken = folder / "plucks" / "0.wav"
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    result = render_small(folder, tmp_path / "pairs.h5", pairs_per_effect=40)
    assert result.n_pairs == 80
    with storage.Hdf5Reader(tmp_path / "pairs.h5", storage.PAIRS) as reader:
        assert np.isfinite(reader.rows(slice(None))).all()


@pytest.mark.parametrize("name", ["pairs.h5", "folder"])
def test_a_resume_refuses_a_recording_that_was_edited(recordings, tmp_path, monkeypatch, name):
    """It has the same name and length as before."""
    copy = Path(shutil.copytree(recordings, tmp_path / "recordings"))
    stop_after(monkeypatch, 5, copy, tmp_path / name)
    audio, rate = load_audio(copy / "plucks" / "0.wav")
    writer.save_audio(copy / "plucks" / "0.wav", audio / 2, rate, overwrite=True)
    with pytest.raises((ConfigError, OutputExistsError), match=r"sources|other recordings"):
        render_small(copy, tmp_path / name, resume=True)


def test_a_long_setting_is_not_truncated(recordings, tmp_path):
    """Some plugins have such names, and the text must be valid for `--effect`."""
    (effect, _) = chosen("gain")[0]
    parameter = replace(effect.parameters[0], name="level-of-" + 200 * "x")
    effect = replace(effect, parameters=(parameter,))
    size = longest_setting_text(effect.to_dict())
    for value in (parameter.minimum, parameter.maximum, 1 / 3, -1.1754944e-38):
        assert len(effect.setting_text({parameter.name: value})) <= size


@pytest.mark.parametrize("name", ["pairs.h5", "folder"])
def test_a_resume_never_mixes_recordings(recordings, tmp_path, monkeypatch, name):
    audio, rate = load_audio(recordings / "plucks" / "0.wav")
    for index in range(3):
        writer.save_audio(tmp_path / "more" / f"{index}.wav", audio, rate)
    output = tmp_path / name

    stop_after(monkeypatch, 4, recordings, output)
    with pytest.raises((ConfigError, OutputExistsError), match=r"sources|other recordings"):
        render_small(tmp_path / "more", output, resume=True)
    render_small(recordings, output, resume=True)
    complete = tmp_path / f"complete-{name}"
    render_small(recordings, complete)
    table = "pairs.csv" if name == "folder" else ""
    assert (output / table).read_bytes() == (complete / table).read_bytes()
