import csv
import errno
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import HELPERS, N_SAMPLES, RATE, SEGMENTS, SPLIT, chosen, write_recordings

from dafxtool import storage
from dafxtool.audio import io, writer
from dafxtool.config import SPLITS
from dafxtool.dataset import writers
from dafxtool.dataset.pair import render_row
from dafxtool.dataset.plan import SEGMENTS_PER_SETTING
from dafxtool.dataset.render import render, rerender_row
from dafxtool.dataset.workers import Batch
from dafxtool.effects.effect import Effect
from dafxtool.errors import (
    ConfigError,
    DiskError,
    InputError,
    OutputExistsError,
)
from dafxtool.storage.layout import longest_setting_text


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("recordings"))


def render_small(recordings, output, effects=("overdrive", "delay"), **options):
    options = {"pairs_per_effect": 12, "seed": 3, **options}
    return render([recordings], output, chosen(*effects), SEGMENTS, SPLIT, **options)


@pytest.fixture(scope="module")
def rendered(recordings, tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.h5"
    render_small(recordings, path)
    return path


def test_a_file_holds_what_was_asked_for(rendered):
    with storage.Reader(rendered, storage.PAIRS) as reader:
        labels, sound = reader.labels, reader.rows(slice(None))
    assert sound.shape == (24, 2, N_SAMPLES)
    assert sound.dtype == np.float32
    assert [labels.effect_of(row) for row in range(4)] == ["overdrive", "delay"] * 2
    np.testing.assert_allclose(20 * np.log10(np.abs(sound).max(axis=2)), -12.0, atol=1e-3)
    assert {labels.split_of(row) for row in range(24)} == set(SPLITS)
    assert len(np.unique(labels.setting[labels.effect == 0], axis=0)) == 12  # random: all differ
    for row in range(24):
        effect = Effect.from_dict(labels.effects[labels.effect[row]])
        assert effect.complete(labels.setting_of(row)) == labels.setting_of(row)
        assert effect.setting_text(labels.setting_of(row)) == labels.setting_text[row]
        assert labels.recordings[labels.recording[row]]["split"] == labels.split_of(row)


def test_the_dry_segment_is_where_its_row_says(rendered):
    with storage.Reader(rendered, storage.PAIRS) as reader:
        labels, sound = reader.labels, reader.rows(slice(None))
    for row in range(24):
        whole = io.load_audio(Path(labels.path_of(row)), RATE)[0]
        offset = labels.offset[row]
        cut = whole[offset : offset + N_SAMPLES]
        scale = 10 ** (-12 / 20) / np.abs(cut).max()
        np.testing.assert_allclose(sound[row, 0], cut * scale, atol=1e-6)


def test_every_pair_can_be_rendered_again_to_the_bit(rendered):
    with storage.Reader(rendered, storage.PAIRS) as reader:
        sound = reader.rows(slice(None))
    for row in range(24):
        np.testing.assert_array_equal(rerender_row(rendered, row), sound[row])
    with pytest.raises(InputError, match="has rows 0 to 23, not 24"):
        rerender_row(rendered, 24)


def test_the_bytes_do_not_depend_on_the_number_of_workers(recordings, rendered, tmp_path):
    render_small(recordings, tmp_path / "two.h5", workers=2)
    assert (tmp_path / "two.h5").read_bytes() == rendered.read_bytes()


def test_a_longer_dataset_begins_with_the_shorter_one(recordings, rendered, tmp_path):
    render_small(recordings, tmp_path / "longer.h5", pairs_per_effect=20)
    with storage.Reader(tmp_path / "longer.h5", storage.PAIRS) as longer:
        with storage.Reader(rendered, storage.PAIRS) as shorter:
            np.testing.assert_array_equal(longer.rows(slice(0, 24)), shorter.rows(slice(None)))


def test_another_seed_is_another_dataset(recordings, rendered, tmp_path):
    render_small(recordings, tmp_path / "other.h5", seed=4)
    with storage.Reader(tmp_path / "other.h5", storage.PAIRS) as other:
        with storage.Reader(rendered, storage.PAIRS) as reader:
            assert not np.array_equal(other.rows(slice(None)), reader.rows(slice(None)))


def test_clean_leaves_the_sound_as_it_was(recordings, tmp_path):
    render_small(recordings, tmp_path / "clean.h5", effects=("clean",))
    with storage.Reader(tmp_path / "clean.h5", storage.PAIRS) as reader:
        sound = reader.rows(slice(None))
    np.testing.assert_allclose(sound[:, 1], sound[:, 0], atol=1e-7)


def test_static_settings_are_one_for_all(recordings, tmp_path):
    effect, _ = chosen("overdrive")[0]
    name = effect.parameters[0].name
    fixed = {name: effect.parameters[0].maximum}
    render(
        [recordings], tmp_path / "s.h5", [(effect, fixed)], SEGMENTS, SPLIT, 6, settings="static"
    )
    with storage.Reader(tmp_path / "s.h5", storage.PAIRS) as reader:
        settings = [reader.labels.setting_of(row) for row in range(6)]
    assert settings == [effect.complete(fixed)] * 6


def test_a_sweep_plays_every_setting_on_the_same_segment(recordings, tmp_path):
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
    with storage.Reader(tmp_path / "sweep.h5", storage.PAIRS) as reader:
        dry, labels = reader.rows(slice(None))[:, 0], reader.labels
    np.testing.assert_array_equal(dry[:n_settings], np.tile(dry[0], (n_settings, 1)))
    assert not np.array_equal(dry[0], dry[n_settings])
    default = effect.default_setting()
    for row in range(n_settings):
        moved = [k for k, v in labels.setting_of(row).items() if v != default[k]]
        assert len(moved) <= 1
    np.testing.assert_array_equal(labels.setting[:n_settings], labels.setting[n_settings:])


def test_each_segment_meets_every_setting_of_each_effect(recordings, tmp_path):
    """Also where one effect has more settings than the other, and not a multiple of them."""
    effects = chosen("bit-crusher", "overdrive")
    n_settings = [3 * len(effect.parameters) for effect, _ in effects]
    assert n_settings == [6, 9]
    output = tmp_path / "sweep.h5"
    render([recordings], output, effects, SEGMENTS, SPLIT, settings="sweep", steps=3)
    with storage.Reader(output, storage.PAIRS) as reader:
        labels = reader.labels
    for index, count in enumerate(n_settings):
        rows = np.flatnonzero(labels.effect == index)
        assert len(rows) == SEGMENTS_PER_SETTING * 9
        for group in np.split(rows, np.arange(count, len(rows), count)):
            places = {(labels.recording[i], labels.offset[i], labels.split[i]) for i in group}
            assert len(places) == 1
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
    with storage.Reader(tmp_path / "g.h5", storage.PAIRS) as reader:
        found = {tuple(row[:2]) for row in reader.labels.setting[:9]}
    assert len(found) == 9


def test_a_folder_of_audio_files_holds_the_same_sound(recordings, rendered, tmp_path):
    folder = tmp_path / "folder"
    render_small(recordings, folder)
    with (folder / "pairs.csv").open() as file:
        table = list(csv.DictReader(file))
    with storage.Reader(rendered, storage.PAIRS) as reader:
        for row in (0, 11, 23):
            for channel, kind in enumerate(("dry", "wet")):
                sound, rate = io.load_audio(folder / table[row][kind])
                assert rate == RATE
                np.testing.assert_array_equal(sound, reader.rows(np.array([row]))[0, channel])
            assert table[row]["setting"] == reader.labels.setting_text[row]
    with pytest.raises(OutputExistsError, match="already holds pairs"):
        render_small(recordings, folder)
    render_small(recordings, folder, resume=True)  # complete: nothing is left to do
    with pytest.raises(OutputExistsError, match="other recordings or options"):
        render_small(recordings, folder, resume=True, pairs_per_effect=20)


@pytest.mark.parametrize("name", ["pairs.txt", "pairs.WAV"])
def test_a_slip_of_the_name_makes_no_folder(recordings, tmp_path, name):
    with pytest.raises(InputError, match=f"{name} is named like another kind of file"):
        render_small(recordings, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_fewer_pairs_over_a_folder_leave_none_of_the_older_ones(recordings, tmp_path):
    folder = tmp_path / "folder"
    render_small(recordings, folder, pairs_per_effect=6)
    (folder / "mine.wav").write_bytes(b"a user's own")
    render_small(recordings, folder, pairs_per_effect=4, overwrite=True)
    with (folder / "pairs.csv").open() as file:
        named = {row[kind] for row in csv.DictReader(file) for kind in ("dry", "wet")}
    assert {path.name for path in folder.glob("*.wav")} == named | {"mine.wav"}
    assert len(named) == 2 * 2 * 4


COMMAND = """
import sys
sys.path[:0] = {tests!r}
from pathlib import Path
from test_render import render_small
if __name__ == "__main__":
    render_small(Path({recordings!r}), Path({output!r}), pairs_per_effect=200, resume=True,
                 workers={workers})
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_render_is_resumed_to_the_same_bytes(recordings, tmp_path, workers):
    whole, killed = tmp_path / "whole.h5", tmp_path / "killed.h5"
    render_small(recordings, whole, pairs_per_effect=200)
    code = COMMAND.format(
        tests=[str(Path(__file__).parent), HELPERS],
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
    assert killed.read_bytes() == whole.read_bytes()


def n_done(partial: Path) -> int:
    """Rows done, read from the file of a process that is writing it."""
    import h5py

    try:
        with h5py.File(partial, "r", locking=False) as file:
            return int(np.count_nonzero(file["done"][:]))
    except (OSError, KeyError):
        return 0


def test_mistakes_are_sentences(recordings, tmp_path):
    with pytest.raises(ConfigError, match="no effect is given"):
        render([recordings], tmp_path / "x.h5", [])
    with pytest.raises(ConfigError, match="named twice"):
        render_small(recordings, tmp_path / "x.h5", effects=("delay", "delay"))
    with pytest.raises(ConfigError, match="random, static, grid or sweep"):
        render_small(recordings, tmp_path / "x.h5", settings="wild")
    with pytest.raises(InputError, match="absent"):
        render_small(tmp_path / "absent", tmp_path / "x.h5")
    assert list(tmp_path.iterdir()) == []


def test_recordings_that_break_off_are_passed_over_and_listed(tmp_path):
    folder = write_recordings(tmp_path / "recordings")
    broken = folder / "plucks" / "0.wav"
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    result = render_small(folder, tmp_path / "pairs.h5", pairs_per_effect=40)
    assert result.n_pairs == 80
    with storage.Reader(tmp_path / "pairs.h5", storage.PAIRS) as reader:
        assert np.isfinite(reader.rows(slice(None))).all()


class Stop(Exception):
    pass


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_after(monkeypatch, n_rows, *arguments, **options):
    """Render n_rows rows and raise Stop."""

    def render_then_stop(plan, *_):
        yield from (Batch(np.array([row]), [render_row(plan, row)[0]]) for row in range(n_rows))
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("dafxtool.dataset.render.render_batches", render_then_stop)
        with pytest.raises(Stop):
            render_small(*arguments, **options)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("n_written", [0, 1, 17])
def test_a_folder_keeps_its_older_pairs_until_all_new_ones_are_written(
    recordings, tmp_path, monkeypatch, n_written
):
    folder, fresh, other = tmp_path / "folder", tmp_path / "fresh", {"seed": 4}
    render_small(recordings, folder, pairs_per_effect=3)
    before, written = contents(folder), []
    stop_after(monkeypatch, 5, recordings, folder, overwrite=True, **other)
    assert before.items() <= contents(folder).items()

    def fill_up(path, *rest, **options):
        if len(written) == n_written:
            full()
        written.append(path)
        writer.save_audio(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(writers, "save_audio", fill_up)
        with pytest.raises(DiskError, match="full"):
            render_small(recordings, folder, resume=True, **other)
    after = contents(folder)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {".pairs.h5"}
    with pytest.raises(OutputExistsError, match="or --resume to continue"):
        render_small(recordings, folder, **other)
    render_small(recordings, folder, resume=True, **other)
    render_small(recordings, fresh, **other)
    assert contents(folder) == contents(fresh)


@pytest.mark.parametrize("n_renamed", [0, 1, 20, 49])
def test_an_export_that_is_killed_is_resumed_to_the_same_bytes(
    recordings, tmp_path, monkeypatch, n_renamed
):
    """Even between the last steps, when older audio files are gone already."""
    folder, fresh = tmp_path / "folder", tmp_path / "fresh"
    render_small(recordings, fresh)
    render_small(recordings, folder, seed=4, pairs_per_effect=20)
    replace, renamed = Path.replace, []

    def killed(path, target):
        if len(renamed) == n_renamed and target.parent == folder:
            raise Stop
        renamed.append(target)
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Stop):
            render_small(recordings, folder, overwrite=True)
    assert not (folder / "pairs.csv").exists()
    render_small(recordings, folder, resume=True)
    assert contents(folder) == contents(fresh)


def test_audio_of_somebody_else_is_not_replaced(recordings, tmp_path):
    """A folder may hold files that are called like pairs and are in no table."""
    folder = tmp_path / "folder"
    writer.save_audio(folder / "000007_wet.wav", np.full(9, 0.5), RATE)
    before = contents(folder)
    for resume in (False, True):
        with pytest.raises(OutputExistsError, match="already holds pairs"):
            render_small(recordings, folder, resume=resume)
    assert contents(folder) == before


def test_a_pairs_file_in_the_folder_is_left_alone(recordings, rendered, tmp_path):
    """As with `render -o .` beside a pairs.h5."""
    shutil.copy(rendered, tmp_path / "pairs.h5")
    render_small(recordings, tmp_path, seed=4)
    assert (tmp_path / "pairs.h5").read_bytes() == rendered.read_bytes()


def test_a_folder_that_does_not_fit_on_the_disk_is_refused_before_rendering(
    recordings, tmp_path, monkeypatch
):
    n_bytes = 2 * 24 * 2 * N_SAMPLES * 4  # the pairs file and the audio files

    def usage(path):
        return shutil._ntuple_diskusage(n_bytes, 1, n_bytes - 1)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(DiskError, match=r"needs 1.6 MB while it is rendered, the disk has"):
        render_small(recordings, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_an_overwriting_render_that_is_resumed_leaves_none_of_the_older_ones(
    recordings, tmp_path, monkeypatch
):
    """Nor those of one that was started over them, in another format, and never finished."""
    folder, fresh = tmp_path / "folder", tmp_path / "fresh"
    render_small(recordings, folder)
    stop_after(monkeypatch, 20, recordings, folder, seed=4, audio_format="flac", overwrite=True)
    stop_after(monkeypatch, 2, recordings, folder, pairs_per_effect=2, overwrite=True)
    render_small(recordings, folder, pairs_per_effect=2, resume=True)
    render_small(recordings, fresh, pairs_per_effect=2)
    assert contents(folder) == contents(fresh)


def test_what_a_render_makes_is_not_what_it_is_made_of(recordings, tmp_path, monkeypatch):
    """The output lies among the recordings, as with `render . -o wet`."""
    inside = Path(shutil.copytree(recordings, tmp_path / "recordings")) / "wet"
    stop_after(monkeypatch, 5, inside.parent, inside)
    render_small(inside.parent, inside, resume=True)
    with (inside / "pairs.csv").open() as file:
        paths = {row["recording"] for row in csv.DictReader(file)}
    assert len(paths) > 3 and not any("wet" in Path(path).parts for path in paths)
    render_small(inside.parent, inside, overwrite=True)


@pytest.mark.parametrize("name", ["pairs.h5", "folder"])
def test_a_recording_that_was_edited_in_place_is_another_one(
    recordings, tmp_path, monkeypatch, name
):
    """As long as before, under the same name."""
    copy = Path(shutil.copytree(recordings, tmp_path / "recordings"))
    stop_after(monkeypatch, 5, copy, tmp_path / name)
    sound, rate = io.load_audio(copy / "plucks" / "0.wav")
    writer.save_audio(copy / "plucks" / "0.wav", sound / 2, rate, overwrite=True)
    with pytest.raises((ConfigError, OutputExistsError), match=r"sources|other recordings"):
        render_small(copy, tmp_path / name, resume=True)


def test_a_long_setting_is_kept_whole(recordings, tmp_path):
    """Plugins have parameters with names like these; the text has to be what `--effect` takes."""
    (effect, _) = chosen("gain")[0]
    named = replace(effect.parameters[0], name="level-of-" + 200 * "x")
    monster = replace(effect, parameters=(named,))
    size = longest_setting_text(monster.to_dict())
    for value in (named.minimum, named.maximum, 1 / 3, -1.1754944e-38):
        assert len(monster.setting_text({named.name: value})) <= size


@pytest.mark.parametrize("name", ["pairs.h5", "folder"])
def test_a_resume_never_mixes_in_other_recordings(recordings, tmp_path, monkeypatch, name):
    sound, rate = io.load_audio(recordings / "plucks" / "0.wav")
    for index in range(3):
        writer.save_audio(tmp_path / "more" / f"{index}.wav", sound, rate)
    output = tmp_path / name

    stop_after(monkeypatch, 4, recordings, output)
    with pytest.raises((ConfigError, OutputExistsError), match=r"sources|other recordings"):
        render_small(tmp_path / "more", output, resume=True)
    render_small(recordings, output, resume=True)
    whole = tmp_path / f"whole-{name}"
    render_small(recordings, whole)
    table = "pairs.csv" if name == "folder" else ""
    assert (output / table).read_bytes() == (whole / table).read_bytes()
