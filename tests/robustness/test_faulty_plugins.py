"""Plugins that crash, hang, print and lie cost the pairs that they spoil, and nothing else."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from arrays import row_arrays
from datasets import HELPERS, SEGMENTS, SPLIT, chosen, write_recordings

from dafxtool import storage
from dafxtool.dataset import workers
from dafxtool.dataset.render import render, rerender_row
from dafxtool.effects import apply
from dafxtool.effects.effect import Effect
from dafxtool.effects.vst3 import files, isolation
from dafxtool.errors import PluginError
from dafxtool.utils import child_process
from dafxtool.utils.child_process import MOST_PRINTED_BYTES

pytestmark = pytest.mark.torture

MAD = Path(HELPERS) / "faulty_plugins"
DEEDS = {
    "crash": "exit status" if sys.platform == "win32" else "SIGSEGV",
    "killed": "exit status 15" if sys.platform == "win32" else "SIGKILL",
    "exit": "exit status 3",
    "raise": "I would rather not",
    "nan": "not finite",
    "infinite": "not finite",
    "silence": "silent",
    "shape": "not as long",
}


@pytest.fixture(autouse=True)
def mad(monkeypatch, tmp_path):
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(MAD), *filter(None, [inherited])]))
    monkeypatch.setenv("DAFXTOOL_MAD_PLUGINS", "1")
    isolation.end_worker()
    yield
    isolation.end_worker()
    isolation.limit_time(isolation.PLUGIN_SECONDS)


@pytest.fixture
def mad_effect(tmp_path):
    def made(deed):
        path = tmp_path / f"{deed}.vst3"
        path.touch()
        (effect,) = apply.load_effects(path, SEGMENTS.sample_rate).values()
        return effect, {}

    return made


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("recordings"))


def sound(seed=0):
    return np.random.default_rng(seed).normal(0, 0.3, 4096).astype(np.float32)


@pytest.mark.parametrize(
    ("deed", "name"), [("crash", "folder"), *((deed, "pairs.h5") for deed in DEEDS)]
)
def test_a_misdeed_costs_only_its_own_pairs(mad_effect, recordings, tmp_path, deed, name, figure):
    mixed = [*chosen("overdrive"), mad_effect(deed)]
    result = render([recordings], tmp_path / name, mixed, SEGMENTS, SPLIT, 12, seed=4, workers=2)
    assert result.pairs_per_effect == {"overdrive": 12, deed: 0}
    assert [row for row, _, _ in result.failed] == list(range(1, 24, 2))
    assert all(DEEDS[deed] in reason for _, _, reason in result.failed)
    assert not list(tmp_path.glob(".*.partial*"))
    figure("pairs of other effects lost", 12 - result.pairs_per_effect["overdrive"])
    if name == "folder":
        told = (tmp_path / name / "lost.csv").read_text().splitlines()
        assert len(told) == 1 + 12 and DEEDS[deed] in told[1]
        assert len(list((tmp_path / name).glob("*_wet.wav"))) == 12
        return
    # The sound effect's rows are what they are without the mad one beside it, and readers see
    # no others.
    with storage.Reader(tmp_path / name, storage.PAIRS) as pairs:
        assert set(pairs.labels.effect.tolist()) == {0} and len(pairs) == 12
        assert sorted(pairs.failed()) == list(range(1, 24, 2))
        heard = pairs.rows(np.arange(12))
        assert np.abs(heard).max(axis=(1, 2)).min() > 0.1
        assert np.array_equal(pairs.rows(slice(3, 5)), heard[3:5])
        assert np.array_equal(pairs.column("offset"), pairs.labels.offset)
    assert np.array_equal(rerender_row(tmp_path / name, 5), heard[5])


def test_what_happened_once_is_tried_again_and_found(mad_effect, recordings, tmp_path):
    effect = mad_effect("once")
    render([recordings], tmp_path / "a.h5", [effect], SEGMENTS, SPLIT, 20, seed=4, workers=2)
    assert (tmp_path / "once.once").exists()  # it did crash
    render([recordings], tmp_path / "b.h5", [effect], SEGMENTS, SPLIT, 20, seed=4, workers=1)
    first, second = row_arrays(tmp_path / "a.h5"), row_arrays(tmp_path / "b.h5")
    for name in first:
        assert np.array_equal(first[name], second[name]), name


def test_a_crash_at_some_settings_leaves_the_others(mad_effect, recordings, tmp_path):
    effect = mad_effect("sometimes")
    output = tmp_path / "pairs.h5"
    result = render([recordings], output, [effect], SEGMENTS, SPLIT, 40, seed=1, workers=2)
    _, setting = zip(*row_arrays(output)[f"settings/{effect[0].name}"].tolist(), strict=True)
    told = {row for row, _, _ in result.failed}
    tried = [row for row, _, reason in result.failed if "not tried" not in reason]
    assert 5 < result.n_pairs < 35
    assert all(setting[row] > 20 for row in tried)
    assert all(setting[row] <= 20 for row in range(40) if row not in told)


def test_pairs_of_a_slow_plugin_do_not_wait_for_each_other(
    mad_effect, recordings, tmp_path, monkeypatch
):
    """They are written one by one; some of these are lost, and what comes out is the same."""
    mixed = [*chosen("overdrive"), mad_effect("well"), mad_effect("nan")]
    sizes = {}

    def counted(name):
        def counting(plan, missing, *rest, **named):
            for batch in workers.render_batches(plan, missing, *rest, **named):
                sizes.setdefault(name, []).append(len(batch.pairs))
                yield batch

        return counting

    lost = {}
    for name, seconds in (("patient.h5", 3600.0), ("at-once.h5", 0.0)):
        monkeypatch.setattr(workers, "SECONDS_BEFORE_WRITTEN", seconds)
        monkeypatch.setattr("dafxtool.dataset.render.render_batches", counted(name))
        result = render([recordings], tmp_path / name, mixed, SEGMENTS, SPLIT, 16, workers=2)
        lost[name] = result.failed
    assert max(sizes["patient.h5"]) > 1 and max(sizes["at-once.h5"]) == 1
    assert lost["patient.h5"] == lost["at-once.h5"] != []
    patient, at_once = row_arrays(tmp_path / "patient.h5"), row_arrays(tmp_path / "at-once.h5")
    for name in patient:
        assert np.array_equal(patient[name], at_once[name], equal_nan=name == "setting"), name


def test_one_that_hangs_is_stopped_and_given_up(mad_effect, recordings, tmp_path):
    mixed = [*chosen("overdrive"), mad_effect("hang")]
    begun = time.monotonic()
    result = render(
        [recordings], tmp_path / "p.h5", mixed, SEGMENTS, SPLIT, 30, workers=2, plugin_seconds=0.5
    )
    assert result.pairs_per_effect == {"overdrive": 30, "hang": 0}
    reasons = [reason for _, _, reason in result.failed]
    assert "more than 0.5 s" in reasons[0]
    assert sum("not tried" in reason for reason in reasons) >= 20  # once five have failed twice
    assert time.monotonic() - begun < 60  # 30 pairs, twice each, of an hour


def test_what_is_printed_goes_to_a_bounded_log(mad_effect, recordings, tmp_path, capfd):
    effect = mad_effect("spit")
    result = render([recordings], tmp_path / "p.h5", [effect], SEGMENTS, SPLIT, 6, workers=2)
    heard = capfd.readouterr()
    assert "mad plugin" not in heard.out + heard.err
    assert result.n_pairs == 6 and result.failed == []
    assert result.printed == tmp_path / "p.plugins.log"
    printed = result.printed.read_bytes()
    assert printed.startswith(b"--- spit\nmad plugin!")
    assert len(printed) < MOST_PRINTED_BYTES + 1000


def test_strict_stops_at_the_first_pair_and_keeps_the_rest(mad_effect, recordings, tmp_path):
    mixed = [*chosen("overdrive"), mad_effect("crash")]
    output = tmp_path / "p.h5"
    with pytest.raises(PluginError, match=rf"pair \d+ of crash:drive=.*{DEEDS['crash']}"):
        render([recordings], output, mixed, SEGMENTS, SPLIT, 12, workers=2, strict=True)
    assert not output.exists()


def test_a_render_of_nothing_but_losses_is_an_error(mad_effect, recordings, tmp_path):
    with pytest.raises(PluginError, match="all pairs failed"):
        render([recordings], tmp_path / "p.h5", [mad_effect("nan")], SEGMENTS, SPLIT, 6)
    assert not list(tmp_path.glob("*p.h5*"))


def test_a_resume_tries_lost_rows_again(mad_effect, recordings, tmp_path, monkeypatch):
    """A render that ends in the middle forgets what it lost: the reason may be gone."""
    effect = mad_effect("nan")
    mixed = [*chosen("overdrive"), effect]
    output = tmp_path / "p.h5"

    def stop_late(plan, missing, *rest, **named):
        from dafxtool.dataset.workers import render_batches

        for batch in render_batches(plan, missing, *rest, **named):
            yield batch
            if batch.failed:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dafxtool.dataset.render.render_batches", stop_late)
        with pytest.raises(KeyboardInterrupt):
            render([recordings], output, mixed, SEGMENTS, SPLIT, 20, workers=2)
    monkeypatch.delenv("DAFXTOOL_MAD_PLUGINS")  # now it is another error: no such plugin
    result = render([recordings], output, mixed, SEGMENTS, SPLIT, 20, workers=2, resume=True)
    assert result.n_pairs == 20
    assert all("loaded" in reason for _, _, reason in result.failed)


def test_one_that_dies_while_it_waits_for_work_costs_nothing(mad_effect, recordings, tmp_path):
    """A plugin's own thread may crash it: one process has 16 rows, the other one, and is done."""
    n_rows = workers.ROWS_PER_TASK + 1
    output = tmp_path / "p.h5"
    result = render([recordings], output, [mad_effect("idle")], SEGMENTS, SPLIT, n_rows, workers=2)
    assert result.n_pairs == n_rows and not result.failed


def test_one_that_is_found_dead_when_it_is_given_work_costs_nothing(
    mad_effect, recordings, tmp_path, monkeypatch
):
    send, n_sent = child_process.ChildProcess.send, []

    def dead_at_the_third(child, request, seconds):
        n_sent.append(request)
        if len(n_sent) == 3:
            child.process.kill()
            child.process.wait()
        send(child, request, seconds)

    monkeypatch.setattr(child_process.ChildProcess, "send", dead_at_the_third)
    n_rows = 4 * workers.ROWS_PER_TASK
    effect = mad_effect("well")
    n_sent.clear()
    result = render([recordings], tmp_path / "p.h5", [effect], SEGMENTS, SPLIT, n_rows, workers=1)
    assert result.n_pairs == n_rows and not result.failed
    assert len(n_sent) == 5  # four tasks, one of them twice


@pytest.mark.parametrize("name", ["p.h5", "folder"])
def test_a_resume_of_what_is_complete_tells_its_losses_again(
    mad_effect, recordings, tmp_path, name
):
    made = ([recordings], tmp_path / name, [mad_effect("sometimes")], SEGMENTS, SPLIT, 12)
    first, again = (render(*made, seed=1, resume=resume) for resume in (False, True))
    assert first.failed and 0 < first.n_pairs < 12
    assert replace(again, printed=None, warnings=[]) == replace(first, printed=None, warnings=[])


@pytest.mark.parametrize(
    ("deed", "reason"), [("loadcrash", "crashed while loading"), ("loadhang", "within 0.5 s")]
)
def test_loading_is_survived_too(tmp_path, deed, reason):
    path = tmp_path / f"{deed}.vst3"
    path.touch()
    isolation.limit_time(0.5)
    with pytest.raises(PluginError, match=reason):
        apply.load_effects(path)


@pytest.mark.parametrize("deed", ["crash", "exit", "hang", "nan", "shape"])
def test_a_single_sound_is_an_error_and_the_next_one_is_made(mad_effect, deed):
    effect, good = mad_effect(deed)[0], mad_effect("well")[0]
    isolation.limit_time(1.0)
    with pytest.raises(PluginError):
        apply.apply(effect, sound(), SEGMENTS.sample_rate, {})
    wet, _ = apply.apply(good, sound(), SEGMENTS.sample_rate, {})
    np.testing.assert_array_equal(wet, sound() / 2)


def test_a_file_does_not_choose_which_plugin_is_run(mad_effect, tmp_path, monkeypatch):
    """What a stranger's pairs or checkpoint names is run from the plugin folders alone."""
    effect = Effect.from_dict(mad_effect("well")[0].to_dict())
    monkeypatch.setattr(files, "_allowed", set())
    with pytest.raises(PluginError, match="named in a file but lies in none of the plugin folders"):
        apply.apply(effect, sound(), SEGMENTS.sample_rate, {})
    monkeypatch.setenv("VST3_PATH", str(tmp_path / "elsewhere"))
    around = str(tmp_path / "elsewhere" / ".." / "well.vst3")
    roundabout = replace(effect, plugin=replace(effect.plugin, path=around))
    with pytest.raises(PluginError, match="named in a file"):
        apply.apply(roundabout, sound(), SEGMENTS.sample_rate, {})
    # A link in a folder for plugins, and up from where it leads: as text, that is the folder.
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "built").mkdir()
    (tmp_path / "elsewhere" / "link.vst3").symlink_to(tmp_path / "built")
    behind = str(tmp_path / "elsewhere" / "link.vst3" / ".." / "well.vst3")
    with pytest.raises(PluginError, match="named in a file"):
        away = replace(effect, plugin=replace(effect.plugin, path=behind))
        apply.apply(away, sound(), SEGMENTS.sample_rate, {})
    monkeypatch.setenv("VST3_PATH", str(tmp_path))
    apply.apply(effect, sound(), SEGMENTS.sample_rate, {})


def test_the_command_ends_well_and_says_what_it_lost(mad_effect, recordings, tmp_path):
    import subprocess

    mad_effect("crash")
    command = ["render", str(recordings), "--plugin", str(tmp_path / "crash.vst3")]
    command += ["--effect", "crash", "--effect", "overdrive", "--pairs-per-effect", "4"]
    command += ["--segment-seconds", "0.2", "-o", str(tmp_path / "p.h5"), "--short", "pad"]
    ended = subprocess.run(
        [sys.executable, "-m", "dafxtool", *command], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "4 pairs failed:" in ended.stdout and DEEDS["crash"] in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.plugin
def test_real_bundles_render_or_are_refused_with_the_reason(
    plugin_named, monkeypatch, recordings, tmp_path, amount, figure
):
    monkeypatch.delenv("DAFXTOOL_MAD_PLUGINS")
    folder = plugin_named("ZamTube").parent
    bundles = sorted(folder.glob("Za[mM]*.vst3"))
    n_pairs, refused = amount(3, 20), {}
    for bundle in bundles if amount(0, 1) else [plugin_named("ZamTube"), plugin_named("ZamEQ2")]:
        output = tmp_path / f"{bundle.stem}.h5"
        try:
            effects = [
                (effect, {}) for effect in apply.load_effects(bundle, SEGMENTS.sample_rate).values()
            ]
        except PluginError as error:
            refused[bundle.stem] = str(error)
            continue
        result = render([recordings], output, effects, SEGMENTS, SPLIT, n_pairs, workers=2)
        assert result.n_pairs + len(result.failed) == n_pairs
        figure(bundle.stem, f"{result.n_pairs} of {n_pairs} pairs, {result.failed[:1]}")
    assert set(refused) <= {"ZamVerb"}, refused  # which takes two minutes to load
    assert all("--plugin-timeout" in reason for reason in refused.values())
    figure("refused", refused)
