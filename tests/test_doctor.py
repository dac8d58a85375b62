"""What doctor finds is what is there."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from dafxtool import __version__, doctor


@pytest.fixture(scope="module")
def checks():
    return {check.what: check for check in doctor.examine()}


@pytest.fixture
def missing(monkeypatch):
    """missing("wandb"): from now on that package is not installed."""

    def remove(package):
        def answer(name):
            if name == package:
                raise PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(doctor, "version", answer)

    return remove


def test_what_the_tests_themselves_use_works(checks):
    for name in ("python", "torch", "torchaudio", "numpy", "h5py", "matplotlib", "disk"):
        assert checks[name].state in ("ok", "warning"), checks[name]
    assert checks["dafxtool"].found.startswith(__version__)
    assert checks["numpy"].found == version("numpy")


def test_every_check_that_is_not_ok_tells_how_to_mend_it(checks):
    for check in checks.values():
        assert check.state in doctor.STATES
        assert check.found
        assert check.mend or check.state == "ok", check


def test_libsndfile_reads_and_writes_all_formats(checks):
    pytest.importorskip("soundfile")
    found = "reads and writes WAV, AIFF, FLAC, Ogg Vorbis, Opus, MP3; "
    assert checks["audio files"].found.startswith(found) and "PyAV" in checks["audio files"].found


def test_torchaudio_that_does_not_load_is_one_warning_with_the_tested_pair(monkeypatch):
    found = {"torch": "2.12.1", "torchaudio": "2.11.1"}
    monkeypatch.setattr(doctor, "version", found.__getitem__)
    monkeypatch.setattr(doctor, "_import_failure", lambda module: "undefined symbol")
    check = doctor._torchaudio()
    assert check.state == "warning"
    assert "2.11.1 beside torch 2.12.1" in check.found
    assert doctor.TORCH_PAIR in check.mend


def test_the_pair_that_doctor_names_is_the_tested_one():
    constraints = (Path(__file__).parent.parent / "constraints.txt").read_text()
    for requirement in doctor.TORCH_PAIR.split()[2:]:
        assert requirement in constraints.split()


def test_no_gpu_is_a_warning_and_a_driver_without_use_says_more(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "_driver", lambda: "")
    check = doctor._cuda()
    assert (check.state, check.found) == ("warning", "no CUDA device")
    monkeypatch.setattr(doctor, "_driver", lambda: "470.1")
    check = doctor._cuda()
    assert check.state == "warning"
    assert "driver 470.1 is here, but torch" in check.found


def test_a_machine_without_pedalboard_is_not_broken(missing):
    missing("pedalboard")
    check = doctor._pedalboard()
    assert (check.state, check.found) == ("missing", "not installed")
    assert "pip install pedalboard" in check.mend


def test_a_needed_package_that_is_not_there_is_broken(missing):
    missing("scipy")
    check = doctor._package("scipy", "scipy.signal")()
    assert (check.state, check.found) == ("broken", "not installed")


def test_a_package_that_does_not_import_is_broken():
    check = doctor._package("numpy", "numpy.no_such_part")()
    assert check.state == "broken"
    assert "does not import: No module named 'numpy.no_such_part'" in check.found


def test_an_optional_package_that_is_not_there_is_only_missing(missing):
    missing("wandb")
    check = doctor._optional("wandb", "only logs on W&B need it")()
    assert check.state == "missing"
    assert check.mend == "only logs on W&B need it: pip install 'dafxtool[wandb]'"


def test_codecs_that_fail_are_named(monkeypatch):
    pytest.importorskip("soundfile")
    monkeypatch.setattr(doctor, "_reads_back", lambda kind, subtype: kind != "MP3")
    check = doctor._codecs()
    assert (check.state, check.mend) == ("warning", "convert MP3 to WAV or FLAC first")
    monkeypatch.setattr(doctor, "_reads_back", lambda kind, subtype: False)
    assert doctor._codecs().state == "broken"


def test_a_full_disk_is_a_warning(monkeypatch, tmp_path):
    usage = doctor.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    monkeypatch.chdir(tmp_path)
    check = doctor._disk()
    assert check.state == "warning"
    assert check.found == f"1.0 GB free in {tmp_path}, which the default preset may fill"


def test_a_plugin_that_does_not_load_is_broken_and_the_exit_status_says_so(
    invoke, monkeypatch, tmp_path
):
    monkeypatch.setattr(doctor, "PACKAGES", ())
    (tmp_path / "text.vst3").write_text("not a plugin")
    result = invoke("doctor", tmp_path / "text.vst3", "--json", "--quiet")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["ok"] is False
    (check,) = [check for check in answer["checks"] if check["what"].endswith("text.vst3")]
    assert check["state"] == "broken"
    assert "text.vst3" in check["found"]


def test_a_plugin_that_loads_tells_its_effects(plugin):
    check = doctor.check_plugin(plugin)
    assert check.state == "ok"
    assert check.found.startswith("zamtube (7 settings, mono, latency 0, loaded in ")
    (effect,) = check.effects
    assert effect.plugin.repeatable and effect.plugin.sample_rate == 24_000


def test_the_command_tells_all_that_is_known_of_a_plugin(invoke, monkeypatch, plugin):
    from dafxtool.effects.vst3.files import plugin_binary, sha256_of

    found = [doctor.check_plugin(plugin, 48_000)]
    monkeypatch.setattr(doctor, "examine", lambda plugins, progress, sample_rate: found)
    told = invoke("doctor", plugin, "--sample-rate", "48000").stdout
    (effect,) = found[0].effects
    assert sha256_of(plugin_binary(plugin)) in told and str(plugin) in told
    assert f"version {effect.plugin.version}" in told
    assert "channels    mono\n" in told and "repeatable  yes\n" in told
    assert "setting at 48000 Hz" in told and "-30 to 30" in told
    for name, why in effect.plugin.left_out:
        assert any(name in line and why in line for line in told.splitlines())
    answer = json.loads(invoke("doctor", plugin, "--json").stdout)
    (kept,) = answer["checks"][0]["effects"]
    assert kept["plugin"]["repeatable"] is True
    assert ["Current Program", "it has one value only"] in kept["plugin"]["left_out"]


def test_a_plugin_that_does_not_do_what_it_is_set_to_is_a_warning(monkeypatch):
    from dafxtool.effects.effect import Effect, PluginFile
    from dafxtool.effects.vst3 import isolation
    from dafxtool.effects.vst3.audit import NOT_KEPT, Audit

    left_out = (("Speed", NOT_KEPT), ("Meter", "it moves"))
    file = PluginFile("x.vst3", None, "1.0", "00", 1, 24_000, (), left_out, repeatable=False)
    audit = Audit(24_000, 1, (), (), left_out, False, "1.0", "", 0, 0.5)
    monkeypatch.setattr(
        isolation, "audited_effects", lambda *_: [(Effect("x", plugin=file), audit)]
    )
    check = doctor.check_plugin("x.vst3")
    assert check.state == "warning" and check.mend
    assert "x: parameter 'Speed' left out (it does not keep" in check.found
    assert "x: not repeatable" in check.found and "Meter" not in check.found


def test_the_command_lists_every_check(invoke, monkeypatch):
    found = [
        doctor.Check("python", "ok", "3.12"),
        doctor.Check("cuda", "warning", "no CUDA device", "use the CPU"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda plugins, progress, sample_rate: found)
    result = invoke("doctor")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ok       python  3.12",
        "warning  cuda    no CUDA device",
        "                 -> use the CPU",
        "",
        "Everything needed works.",
    ]
    found.append(doctor.Check("torch", "broken", "not installed", "install it"))
    result = invoke("doctor")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "Broken: torch."
