"""Plugins that crash, hang, print or return invalid audio: only their own pairs fail."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from arrays import row_arrays
from datasets import HELPERS, SEGMENTS, SPLIT, chosen, write_recordings

from dafxtool import storage
from dafxtool.dataset import workers
from dafxtool.dataset.render import render, rerender_row
from dafxtool.effects import apply
from dafxtool.effects.effect import Effect
from dafxtool.effects.vst3 import examine, files, isolation
from dafxtool.effects.vst3.audit_result import MEMORY
from dafxtool.effects.vst3.memory import can_fill_memory, fill_memory
from dafxtool.errors import ArgumentError, OutputExistsError, PluginError
from dafxtool.utils import child_process
from dafxtool.utils.child_process import MOST_PRINTED_BYTES

pytestmark = pytest.mark.robustness

FAULTY_PLUGINS = Path(HELPERS) / "faulty_plugins"
FAULTS = {  # name: part of the reason
    "crash": "exit status" if sys.platform == "win32" else "SIGSEGV",
    "killed": "exit status 15" if sys.platform == "win32" else "SIGKILL",
    "exit": "exit status 3",
    "raise": "I would rather not",
    "nan": "not finite",
    "infinite": "not finite",
    "silence": "silen",
    "shape": "not as long",
}


@pytest.fixture(autouse=True)
def faulty_plugins(monkeypatch, tmp_path):
    """Load faulty plugins in child processes, and start with a new worker."""
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(FAULTY_PLUGINS), *filter(None, [inherited])])
    )
    monkeypatch.setenv("DAFXTOOL_FAULTY_PLUGINS", "1")
    monkeypatch.setenv("DAFXTOOL_CACHE", str(tmp_path / "cache"))
    examine.forget()
    isolation.end_worker()
    yield
    isolation.end_worker()
    isolation.limit_time(isolation.PLUGIN_SECONDS)


@pytest.fixture
def faulty_effect(tmp_path):
    """Function that returns the effect of a plugin with a fault."""

    def load(fault):
        path = tmp_path / f"{fault}.vst3"
        path.write_text(fault)  # names and audits are remembered by content
        (effect,) = apply.load_effects(path, SEGMENTS.sample_rate).values()
        return effect, {}

    return load


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.mark.skipif(not can_fill_memory(), reason="the C library is not glibc")
@pytest.mark.parametrize(
    ("fault", "is_repeatable", "reads_memory"),
    [("memory", True, True), ("process", False, False), ("never", True, False)],
)
def test_an_audit_finds_plugins_that_read_fresh_memory(
    tmp_path, monkeypatch, fault, is_repeatable, reads_memory
):
    """Two children whose fresh memory holds other values give two outputs."""
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    path = tmp_path / f"{fault}.vst3"
    path.touch()
    effect, audit = examine.audited_plugin(path, fault, SEGMENTS.sample_rate)
    assert audit.repeatable is effect.plugin.repeatable is is_repeatable
    assert (MEMORY in effect.plugin.remarks) is reads_memory


@pytest.mark.skipif(not can_fill_memory(), reason="the C library is not glibc")
def test_a_plugin_that_reads_fresh_memory_is_rendered_with_zeros(recordings, tmp_path):
    """Without zeros, the stub would add a constant to its half of the input."""
    (tmp_path / "memory.vst3").touch()
    (effect,) = apply.load_effects(tmp_path / "memory.vst3", SEGMENTS.sample_rate).values()
    wet = {apply.apply(effect, signal(), SEGMENTS.sample_rate, {})[0].tobytes() for _ in range(8)}
    assert wet == {(signal() / 2).tobytes()}
    render([recordings], tmp_path / "pairs.h5", [(effect, {})], SEGMENTS, SPLIT, 8, workers=2)
    with storage.Hdf5Reader(tmp_path / "pairs.h5", storage.PAIRS) as pairs:
        (described,) = pairs.labels.effects
        assert MEMORY in described["plugin"]["remarks"]
        dry, wet = np.moveaxis(pairs.rows(slice(0, 8)), 1, 0)
    np.testing.assert_allclose(dry, wet, atol=1e-6)  # both have the same peak


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_a_folder_in_stereo_has_both_outputs_of_a_plugin(
    faulty_effect, recordings, tmp_path, audio_format
):
    mixed = [*chosen("overdrive"), faulty_effect("dryleft")]
    assert mixed[1][0].plugin.output_channel == "right"
    options = {"seed": 3, "workers": 2, "audio_format": audio_format}
    rendered = {}
    for channels in ("mono", "stereo"):
        output = tmp_path / channels
        for resume in (False, True):
            result = render(
                *([recordings], output, mixed, SEGMENTS, SPLIT, 4),
                **options,
                channels=channels,
                resume=resume,
            )
        assert result.n_pairs == 8 and result.unchanged_per_effect == {"overdrive": 0, "dryleft": 0}
        rendered[channels] = {
            path.name: soundfile.read(path, dtype="float32", always_2d=True)[0].T
            for path in sorted(output.glob(f"*.{audio_format}"))
        }
    for row in range(8):
        names = [f"{row:06d}_{part}.{audio_format}" for part in ("dry", "wet")]
        dry, wet = (rendered["stereo"][name] for name in names)
        mono_dry, mono_wet = (rendered["mono"][name] for name in names)
        assert (len(dry), len(wet), len(mono_wet)) == (1, 2, 1)
        np.testing.assert_array_equal(dry, mono_dry)
        if row % 2 == 0:  # a built-in effect has a single output
            np.testing.assert_array_equal(wet[0], wet[1])
            np.testing.assert_array_equal(wet[:1], mono_wet)
        else:
            np.testing.assert_allclose(wet[0], dry[0], atol=1e-6)  # their peaks are equal
            np.testing.assert_allclose(wet[1], dry[0] ** 3, atol=1e-6)
    with pytest.raises(OutputExistsError):
        render([recordings], output, mixed, SEGMENTS, SPLIT, 4, **options, resume=True)
    with pytest.raises(ArgumentError, match="mono"):
        render([recordings], tmp_path / "a.h5", mixed, SEGMENTS, SPLIT, 4, channels="stereo")


def test_memory_settings_of_the_user_are_kept(monkeypatch):
    if not can_fill_memory():
        assert fill_memory() == {}
        return
    monkeypatch.delenv("MALLOC_PERTURB_", raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    tunable = "glibc.malloc.tcache_count"
    assert fill_memory() == {"MALLOC_PERTURB_": "255", "GLIBC_TUNABLES": f"{tunable}=0"}
    monkeypatch.setenv("MALLOC_PERTURB_", "7")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    assert fill_memory() == {
        "MALLOC_PERTURB_": "7",
        "GLIBC_TUNABLES": f"glibc.malloc.arena_max=2:{tunable}=0",
    }
    assert fill_memory(1)["MALLOC_PERTURB_"] == "1"
    monkeypatch.setenv("GLIBC_TUNABLES", f"{tunable}=3")
    assert fill_memory()["GLIBC_TUNABLES"] == f"{tunable}=3"


def signal(seed=0):
    return np.random.default_rng(seed).normal(0, 0.3, 4096).astype(np.float32)


@pytest.mark.parametrize(
    ("fault", "name"), [("crash", "folder"), *((fault, "pairs.h5") for fault in FAULTS)]
)
def test_only_pairs_of_the_faulty_plugin_fail(
    faulty_effect, recordings, tmp_path, fault, name, figure
):
    mixed = [*chosen("overdrive"), faulty_effect(fault)]
    result = render([recordings], tmp_path / name, mixed, SEGMENTS, SPLIT, 12, seed=4, workers=2)
    assert result.pairs_per_effect == {"overdrive": 12, fault: 0}
    assert [row for row, _, _ in result.failed] == list(range(1, 24, 2))
    assert all(FAULTS[fault] in reason for _, _, reason in result.failed)
    assert not list(tmp_path.glob(".*.partial*"))
    figure("pairs of other effects lost", 12 - result.pairs_per_effect["overdrive"])
    if name == "folder":
        lines = (tmp_path / name / "lost.csv").read_text().splitlines()
        assert len(lines) == 1 + 12 and FAULTS[fault] in lines[1]
        assert len(list((tmp_path / name).glob("*_wet.wav"))) == 12
        return
    # The rows of the other effect are as without the faulty one, and readers see no other rows.
    with storage.Hdf5Reader(tmp_path / name, storage.PAIRS) as pairs:
        assert set(pairs.labels.effect.tolist()) == {0} and len(pairs) == 12
        assert sorted(pairs.failed()) == list(range(1, 24, 2))
        stored = pairs.rows(np.arange(12))
        assert np.abs(stored).max(axis=(1, 2)).min() > 0.1
        assert np.array_equal(pairs.rows(slice(3, 5)), stored[3:5])
        assert np.array_equal(pairs.column("offset"), pairs.labels.offset)
        assert pairs.labels.row.tolist() == list(range(0, 24, 2))
    assert np.array_equal(rerender_row(tmp_path / name, 10), stored[5])


def test_a_pair_that_failed_once_is_rendered_again(faulty_effect, recordings, tmp_path):
    effect = faulty_effect("once")
    render([recordings], tmp_path / "a.h5", [effect], SEGMENTS, SPLIT, 20, seed=4, workers=2)
    assert (tmp_path / "once.once").exists()  # it did crash
    render([recordings], tmp_path / "b.h5", [effect], SEGMENTS, SPLIT, 20, seed=4, workers=1)
    first, second = row_arrays(tmp_path / "a.h5"), row_arrays(tmp_path / "b.h5")
    for name in first:
        assert np.array_equal(first[name], second[name]), name


def test_a_crash_at_some_settings_leaves_the_other_pairs(faulty_effect, recordings, tmp_path):
    effect = faulty_effect("sometimes")
    output = tmp_path / "pairs.h5"
    result = render([recordings], output, [effect], SEGMENTS, SPLIT, 40, seed=1, workers=2)
    _, setting = zip(*row_arrays(output)[f"settings/{effect[0].name}"].tolist(), strict=True)
    failed = {row for row, _, _ in result.failed}
    tried = [row for row, _, reason in result.failed if "not tried" not in reason]
    assert 5 < result.n_pairs < 35
    assert all(setting[row] > 20 for row in tried)
    assert all(setting[row] <= 20 for row in range(40) if row not in failed)


def test_pairs_of_a_slow_plugin_do_not_wait_for_each_other(
    faulty_effect, recordings, tmp_path, monkeypatch
):
    """Pairs written one by one, some of which fail, are the same as those written together."""
    mixed = [*chosen("overdrive"), faulty_effect("well"), faulty_effect("nan")]
    sizes = {}

    def count_batches(name):
        def counting(plan, missing, *rest, **named):
            for batch in workers.render_batches(plan, missing, *rest, **named):
                sizes.setdefault(name, []).append(len(batch.pairs))
                yield batch

        return counting

    lost = {}
    for name, seconds in (("patient.h5", 3600.0), ("at-once.h5", 0.0)):
        monkeypatch.setattr(workers, "SECONDS_BEFORE_WRITTEN", seconds)
        monkeypatch.setattr("dafxtool.dataset.render.render_batches", count_batches(name))
        result = render([recordings], tmp_path / name, mixed, SEGMENTS, SPLIT, 16, workers=2)
        lost[name] = result.failed
    assert max(sizes["patient.h5"]) > 1 and max(sizes["at-once.h5"]) == 1
    assert lost["patient.h5"] == lost["at-once.h5"] != []
    patient, at_once = row_arrays(tmp_path / "patient.h5"), row_arrays(tmp_path / "at-once.h5")
    for name in patient:
        np.testing.assert_array_equal(patient[name], at_once[name], err_msg=name)  # NaN: failed


def test_a_plugin_that_hangs_is_killed_and_skipped(faulty_effect, recordings, tmp_path):
    mixed = [*chosen("overdrive"), faulty_effect("hang")]
    started = time.monotonic()
    result = render(
        [recordings], tmp_path / "p.h5", mixed, SEGMENTS, SPLIT, 30, workers=2, plugin_seconds=0.5
    )
    assert result.pairs_per_effect == {"overdrive": 30, "hang": 0}
    reasons = [reason for _, _, reason in result.failed]
    assert "more than 0.5 s" in reasons[0]
    assert sum("not tried" in reason for reason in reasons) >= 20  # after five have failed twice
    assert time.monotonic() - started < 60  # 30 pairs would hang twice each


def test_output_of_plugins_goes_to_a_log_of_limited_size(
    faulty_effect, recordings, tmp_path, capfd
):
    effect = faulty_effect("print")
    result = render([recordings], tmp_path / "p.h5", [effect], SEGMENTS, SPLIT, 6, workers=2)
    output = capfd.readouterr()
    assert "faulty plugin" not in output.out + output.err
    assert result.n_pairs == 6 and result.failed == []
    assert result.printed == tmp_path / "p.plugins.log"
    printed = result.printed.read_bytes()
    assert printed.startswith(b"--- print\nfaulty plugin!")
    assert len(printed) < MOST_PRINTED_BYTES + 1000


def test_strict_stops_at_the_first_failed_pair(faulty_effect, recordings, tmp_path):
    mixed = [*chosen("overdrive"), faulty_effect("crash")]
    output = tmp_path / "p.h5"
    with pytest.raises(PluginError, match=rf"pair \d+ of crash:drive=.*{FAULTS['crash']}"):
        render([recordings], output, mixed, SEGMENTS, SPLIT, 12, workers=2, strict=True)
    assert not output.exists()


def test_a_render_without_any_pair_is_an_error(faulty_effect, recordings, tmp_path):
    with pytest.raises(PluginError, match="all pairs failed"):
        render([recordings], tmp_path / "p.h5", [faulty_effect("nan")], SEGMENTS, SPLIT, 6)
    assert not list(tmp_path.glob("*p.h5*"))


def test_a_resume_renders_failed_rows_again(faulty_effect, recordings, tmp_path, monkeypatch):
    """An interrupted render does not store failed rows, because the reason may be temporary."""
    effect = faulty_effect("nan")
    mixed = [*chosen("overdrive"), effect]
    output = tmp_path / "p.h5"

    def interrupt(plan, missing, *rest, **named):
        from dafxtool.dataset.workers import render_batches

        for batch in render_batches(plan, missing, *rest, **named):
            yield batch
            if batch.failed:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dafxtool.dataset.render.render_batches", interrupt)
        with pytest.raises(KeyboardInterrupt):
            render([recordings], output, mixed, SEGMENTS, SPLIT, 20, workers=2)
    monkeypatch.delenv(
        "DAFXTOOL_FAULTY_PLUGINS"
    )  # the error is now that the plugin cannot be loaded
    result = render([recordings], output, mixed, SEGMENTS, SPLIT, 20, workers=2, resume=True)
    assert result.n_pairs == 20
    assert all("loaded" in reason for _, _, reason in result.failed)


def test_a_process_that_dies_while_waiting_is_replaced(faulty_effect, recordings, tmp_path):
    """A thread of the plugin crashes: one process has 16 rows, the other has one and waits."""
    n_rows = workers.ROWS_PER_TASK + 1
    output = tmp_path / "p.h5"
    result = render(
        [recordings], output, [faulty_effect("idle")], SEGMENTS, SPLIT, n_rows, workers=2
    )
    assert result.n_pairs == n_rows and not result.failed


def test_a_process_that_died_before_a_task_is_replaced(
    faulty_effect, recordings, tmp_path, monkeypatch
):
    send, n_sent = child_process.ChildProcess.send, []

    def kill_before_the_third(child, request, seconds):
        n_sent.append(request)
        if len(n_sent) == 3:
            child.process.kill()
            child.process.wait()
        send(child, request, seconds)

    monkeypatch.setattr(child_process.ChildProcess, "send", kill_before_the_third)
    n_rows = 4 * workers.ROWS_PER_TASK
    effect = faulty_effect("well")
    n_sent.clear()
    result = render([recordings], tmp_path / "p.h5", [effect], SEGMENTS, SPLIT, n_rows, workers=1)
    assert result.n_pairs == n_rows and not result.failed
    assert len(n_sent) == 5  # four tasks, one of them twice


@pytest.mark.parametrize("name", ["p.h5", "folder"])
def test_a_resume_of_a_complete_render_reports_failed_pairs_again(
    faulty_effect, recordings, tmp_path, name
):
    arguments = ([recordings], tmp_path / name, [faulty_effect("sometimes")], SEGMENTS, SPLIT, 12)
    first, repeated = (render(*arguments, seed=1, resume=resume) for resume in (False, True))
    assert first.failed and 0 < first.n_pairs < 12
    assert replace(repeated, printed=None, warnings=[]) == replace(first, printed=None, warnings=[])


@pytest.mark.parametrize(
    ("fault", "reason"), [("loadcrash", "crashed while loading"), ("loadhang", "within 0.5 s")]
)
def test_a_crash_or_hang_while_loading_is_an_error(tmp_path, fault, reason):
    path = tmp_path / f"{fault}.vst3"
    path.touch()
    isolation.limit_time(0.5)
    with pytest.raises(PluginError, match=reason):
        apply.load_effects(path)


@pytest.mark.parametrize("fault", ["crash", "exit", "hang", "nan", "shape"])
def test_after_a_failed_call_the_next_one_works(faulty_effect, fault):
    effect, good = faulty_effect(fault)[0], faulty_effect("well")[0]
    isolation.limit_time(1.0)
    with pytest.raises(PluginError):
        apply.apply(effect, signal(), SEGMENTS.sample_rate, {})
    wet, _ = apply.apply(good, signal(), SEGMENTS.sample_rate, {})
    np.testing.assert_array_equal(wet, signal() / 2)


def test_a_file_cannot_choose_which_plugin_is_run(faulty_effect, tmp_path, monkeypatch):
    """A plugin named in a pairs file or checkpoint is run only from the plugin folders."""
    effect = Effect.from_dict(faulty_effect("well")[0].to_dict())
    monkeypatch.setattr(files, "_allowed", set())
    with pytest.raises(PluginError, match="named in a file but lies in none of the plugin folders"):
        apply.apply(effect, signal(), SEGMENTS.sample_rate, {})
    monkeypatch.setenv("VST3_PATH", str(tmp_path / "elsewhere"))
    around = str(tmp_path / "elsewhere" / ".." / "well.vst3")
    roundabout = replace(effect, plugin=replace(effect.plugin, path=around))
    with pytest.raises(PluginError, match="named in a file"):
        apply.apply(roundabout, signal(), SEGMENTS.sample_rate, {})
    # A link in a plugin folder, followed by "..": as text this is in the folder, in the system not.
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "built").mkdir()
    (tmp_path / "elsewhere" / "link.vst3").symlink_to(tmp_path / "built")
    behind = str(tmp_path / "elsewhere" / "link.vst3" / ".." / "well.vst3")
    with pytest.raises(PluginError, match="named in a file"):
        away = replace(effect, plugin=replace(effect.plugin, path=behind))
        apply.apply(away, signal(), SEGMENTS.sample_rate, {})
    monkeypatch.setenv("VST3_PATH", str(tmp_path))
    apply.apply(effect, signal(), SEGMENTS.sample_rate, {})


def test_the_command_succeeds_and_reports_failed_pairs(faulty_effect, recordings, tmp_path):
    import subprocess

    faulty_effect("crash")
    command = ["render", str(recordings), "--plugin", str(tmp_path / "crash.vst3")]
    command += ["--effect", "crash", "--effect", "overdrive", "--pairs-per-effect", "4"]
    command += ["--segment-seconds", "0.2", "-o", str(tmp_path / "p.h5"), "--short", "pad"]
    process = subprocess.run(
        [sys.executable, "-m", "dafxtool", *command], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert "4 pairs failed:" in process.stdout and FAULTS["crash"] in process.stdout
    assert "Traceback" not in process.stdout + process.stderr


@pytest.mark.plugin
def test_real_plugins_render_or_are_refused_with_a_reason(
    plugin_named, monkeypatch, recordings, tmp_path, amount, figure
):
    monkeypatch.delenv("DAFXTOOL_FAULTY_PLUGINS")
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
    assert set(refused) <= {"ZamVerb"}, refused  # it takes two minutes to load
    assert all("--plugin-timeout" in reason for reason in refused.values())
    figure("refused", refused)
