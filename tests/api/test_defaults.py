"""Check the defaults of omitted arguments, and the messages that report them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import pytest
from datasets import CONFIGURATION, RATE, chosen

from dafxtool import presets, storage
from dafxtool.api import defaults
from dafxtool.api.defaults import (
    built_in_recordings,
    chosen_effects,
    configuration_for,
    effects_of_run,
    newest_file,
    newest_with_audio,
    pairs_of_run,
    spectrograms_for,
    write_named_examples,
)
from dafxtool.audio import example_recordings
from dafxtool.audio.reader import load_audio
from dafxtool.errors import DiskError, InputError
from dafxtool.utils.progress import Progress, TerminalProgress


class Messages(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def messages() -> Messages:
    return Messages()


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def aged(path: Path, source: Path, seconds: float) -> Path:
    """Copy a file, and set its age in seconds."""
    path.write_bytes(source.read_bytes())
    moment = source.stat().st_mtime - seconds
    os.utime(path, (moment, moment))
    return path


def test_pairs_are_preferred_to_newer_spectrograms(here, pairs_file, spectrograms_file):
    (here / "s.h5").symlink_to(spectrograms_file)
    assert newest_with_audio() == Path("s.h5")
    (here / "p.h5").symlink_to(pairs_file)
    assert newest_with_audio() == Path("p.h5")


def test_a_damaged_file_is_named(here):
    (here / "pairs.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"no pairs file in this folder \(pairs.h5: damaged"):
        newest_file([storage.PAIRS])


def test_the_newest_file_of_a_kind_is_used(here, pairs_file, spectrograms_file):
    aged(here / "old.h5", pairs_file, 100)
    aged(here / "new.h5", pairs_file, 50)
    aged(here / "analysed.h5", spectrograms_file, 10)
    aged(here / ".hidden.h5", pairs_file, 0)
    (here / "noise.h5").write_bytes(b"noise")
    (here / "folder.h5").mkdir()
    (here / "nowhere.h5").symlink_to("missing")
    assert newest_file([storage.PAIRS]) == Path("new.h5")
    assert newest_file([storage.PAIRS, storage.SPECTROGRAMS]) == Path("analysed.h5")
    with pytest.raises(InputError, match=r"no latents file .* 'dafxtool embed'"):
        newest_file([storage.LATENTS])
    for name in ("old.h5", "new.h5", "analysed.h5"):
        (here / name).unlink()
    with pytest.raises(InputError, match=r"no spectrograms or pairs file .* 'dafxtool render'"):
        newest_file([storage.SPECTROGRAMS, storage.PAIRS])
    with pytest.raises(InputError, match=r"no latents file .* 'dafxtool embed'"):
        newest_file([storage.LATENTS])


def test_pairs_are_analysed_once(here, pairs_file, messages):
    pairs = aged(here / "pairs.h5", pairs_file, 10)
    spectrograms = spectrograms_for(pairs, CONFIGURATION, "cpu", messages)
    assert spectrograms == here / "spectrograms.h5"
    assert len(messages.lines) == 1 and str(spectrograms) in messages.lines[0]
    (here / "folder.h5").mkdir()
    assert spectrograms_for(pairs, CONFIGURATION, "cpu", messages) == spectrograms
    assert spectrograms_for(spectrograms, CONFIGURATION, "cpu", messages) == spectrograms
    assert len(messages.lines) == 1
    other = presets.override(CONFIGURATION, {"spectrogram": {"hop_length": 32}})
    assert spectrograms_for(pairs, other, "cpu", messages) == here / "spectrograms-2.h5"


def test_damaged_files_are_ignored(here, pairs_file, messages):
    pairs = aged(here / "pairs.h5", pairs_file, 10)
    spectrograms = spectrograms_for(pairs, CONFIGURATION, "cpu", messages)
    for name, source in (("a-pairs.h5", pairs), ("a-spectrograms.h5", spectrograms)):
        shutil.copyfile(source, here / name)
        with h5py.File(here / name, "r+") as file:
            file["split"][0] = 99
    assert spectrograms_for(pairs, CONFIGURATION, "cpu", messages) == spectrograms
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        data = {"pairs": reader.configuration, "spectrograms": str(spectrograms)}
    assert pairs_of_run(data, here, messages) == pairs


def test_a_run_without_a_description_of_its_pairs_takes_the_newest_pairs_file(
    here, pairs_file, messages
):
    aged(here / "old.h5", pairs_file, 10)
    pairs = aged(here / "pairs.h5", pairs_file, 5)
    assert pairs_of_run({"pairs": "", "spectrograms": ""}, here, messages) == pairs
    assert len(messages.lines) == 1


def test_the_built_in_recordings_are_written_once_and_replace_no_file(here, messages):
    (here / "a.wav").write_text("mine")
    assert built_in_recordings(messages) == [Path("built-in-recordings")]
    clips = list(here.glob("built-in-recordings/*/*.flac"))
    written = {path: path.stat().st_mtime_ns for path in (*clips, here / "a.wav", here / "b.wav")}
    assert len(clips) == 20
    assert (here / "a.wav").read_text() == "mine"
    assert "b.wav" in messages.lines[0]
    assert "a.wav" not in messages.lines[0]
    built_in_recordings(messages)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert {path.name for path in here.iterdir()} == {"built-in-recordings", "a.wav", "b.wav"}


def test_examples_are_written_only_where_they_are_named_and_missing(here, messages):
    (here / "b.wav").write_text("mine")
    write_named_examples([Path("a.wav"), Path("b.wav"), Path("c.wav"), here / "a.wav"], messages)
    assert load_audio(here / "a.wav")[0].size > 0
    assert (here / "b.wav").read_text() == "mine"
    assert {path.name for path in here.iterdir()} == {"a.wav", "b.wav"}
    assert len(messages.lines) == 1
    write_named_examples([Path("a.wav"), Path("b.wav")], messages)
    assert len(messages.lines) == 1


def test_an_interrupted_copy_of_the_clips_leaves_no_file(here, monkeypatch):
    complete = example_recordings.write_clips

    def fail(folder: Path) -> None:
        complete(folder)
        raise DiskError("full")

    monkeypatch.setattr(defaults, "write_clips", fail)
    with pytest.raises(DiskError):
        built_in_recordings()
    assert list(here.iterdir()) == []


def test_the_small_preset_is_used_and_reported_without_a_gpu(monkeypatch, messages):
    monkeypatch.setattr("dafxtool.api.defaults.n_cuda_devices", lambda: 0)
    assert configuration_for(None, None, {}, messages).preset == "small"
    assert "'small'" in messages.lines[0]
    assert configuration_for("week6", None, {}, messages).preset == "week6"
    assert len(messages.lines) == 1
    monkeypatch.setattr("dafxtool.api.defaults.n_cuda_devices", lambda: 1)
    assert configuration_for(None, None, {}, messages).preset == "default"


def test_named_effects_are_used_or_the_default_is_reported(messages):
    ((effect, fixed),) = chosen_effects(["delay:mix=25"], (), RATE, progress=messages)
    assert (effect.name, fixed) == ("delay", {"mix": 25})
    assert messages.lines == []
    names = [effect.name for effect, _ in chosen_effects((), (), RATE, progress=messages)]
    assert names == ["overdrive", "delay"]
    assert "overdrive and delay" in messages.lines[0]


def test_effects_of_a_run_are_those_it_was_trained_on(messages):
    described = [effect.to_dict() for effect, _ in chosen("gain", "reverb")]
    effects = effects_of_run(described, (), (), RATE, messages)
    assert [effect.to_dict() for effect, _ in effects] == described
    assert "gain and reverb" in messages.lines[0]
    ((named, _),) = effects_of_run(described, ["peak"], (), RATE, messages)
    assert named.name == "peak"


def test_a_plugin_without_named_effects_gives_all_of_them(plugin):
    names = [effect.name for effect, _ in chosen_effects((), [plugin], RATE)]
    assert names == ["zamtube"]


def test_details_are_printed_for_verbose_only(capsys):
    for verbose in (False, True):
        configuration_for("week6", None, {}, TerminalProgress(verbose=verbose))
        assert ("preset week6" in capsys.readouterr().err) is verbose
