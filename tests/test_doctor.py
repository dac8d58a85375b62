"""Checks of the machine and plugins report the true state and a fix."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from dafxtool import __version__, doctor
from dafxtool.errors import PluginError


@pytest.fixture(scope="module")
def checks():
    return {check.what: check for check in doctor.examine()}


@pytest.fixture
def missing(monkeypatch):
    """Return missing(package), which makes a package appear not installed."""

    def remove(package):
        def find_version(name):
            if name == package:
                raise PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(doctor, "version", find_version)

    return remove


def test_packages_that_the_tests_use_work(checks):
    for name in ("python", "torch", "torchaudio", "numpy", "h5py", "matplotlib", "disk"):
        assert checks[name].state in ("ok", "warning"), checks[name]
    assert checks["dafxtool"].found.startswith(__version__)
    assert checks["numpy"].found == version("numpy")


def test_every_check_that_is_not_ok_has_a_fix(checks):
    for check in checks.values():
        assert check.state in doctor.STATES
        assert check.found
        assert check.fix or check.state == "ok", check


def test_libsndfile_reads_and_writes_all_formats(checks):
    pytest.importorskip("soundfile")
    found = "reads and writes WAV, AIFF, FLAC, Ogg Vorbis, Opus, MP3; "
    assert checks["audio files"].found.startswith(found) and "PyAV" in checks["audio files"].found


def test_torchaudio_that_cannot_be_imported_is_one_warning_with_the_tested_pair(monkeypatch):
    versions = {"torch": "2.12.1", "torchaudio": "2.11.1"}
    monkeypatch.setattr(doctor, "version", versions.__getitem__)
    monkeypatch.setattr(doctor, "_import_failure", lambda module: "undefined symbol")
    check = doctor._torchaudio()
    assert check.state == "warning"
    assert "2.11.1 with torch 2.12.1" in check.found
    assert doctor.TORCH_PAIR in check.fix


def test_the_pair_that_doctor_names_is_the_tested_one():
    constraints = (Path(__file__).parent.parent / "constraints.txt").read_text()
    for requirement in doctor.TORCH_PAIR.split()[2:]:
        assert requirement in constraints.split()


def test_no_gpu_is_a_warning_that_names_an_unusable_driver(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "_driver", lambda: "")
    check = doctor._cuda()
    assert (check.state, check.found) == ("warning", "no CUDA device")
    monkeypatch.setattr(doctor, "_driver", lambda: "470.1")
    check = doctor._cuda()
    assert check.state == "warning"
    assert "driver 470.1, but torch" in check.found


def test_a_machine_without_pedalboard_is_not_broken(missing):
    missing("pedalboard")
    check = doctor._pedalboard()
    assert (check.state, check.found) == ("missing", "not installed")
    assert "pip install pedalboard" in check.fix


def test_a_needed_package_that_is_not_installed_is_broken(missing):
    missing("scipy")
    check = doctor._package("scipy", "scipy.signal")()
    assert (check.state, check.found) == ("broken", "not installed")


def test_a_package_that_cannot_be_imported_is_broken():
    check = doctor._package("numpy", "numpy.no_such_part")()
    assert check.state == "broken"
    assert "cannot be imported: No module named 'numpy.no_such_part'" in check.found


def test_an_optional_package_that_is_not_installed_is_only_missing(missing):
    missing("wandb")
    check = doctor._optional("wandb", "needed only for logs on W&B")()
    assert check.state == "missing"
    assert check.fix == "needed only for logs on W&B: pip install 'dafxtool[wandb]'"


def test_codecs_that_fail_are_named(monkeypatch):
    pytest.importorskip("soundfile")
    monkeypatch.setattr(doctor, "_reads_back", lambda kind, subtype: kind != "MP3")
    check = doctor._codecs()
    assert (check.state, check.fix) == ("warning", "convert MP3 to WAV or FLAC first")
    monkeypatch.setattr(doctor, "_reads_back", lambda kind, subtype: False)
    assert doctor._codecs().state == "broken"


def test_a_full_disk_is_a_warning(monkeypatch, tmp_path):
    usage = doctor.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    monkeypatch.chdir(tmp_path)
    check = doctor._disk()
    assert check.state == "warning"
    assert check.found == f"1.0 GB free in {tmp_path}, which the default preset may use up"


def test_a_plugin_that_does_not_load_is_broken_and_the_exit_status_is_1(
    invoke, monkeypatch, tmp_path
):
    monkeypatch.setattr(doctor, "PACKAGES", ())
    (tmp_path / "text.vst3").write_text("not a plugin")
    result = invoke("doctor", tmp_path / "text.vst3", "--json", "--quiet")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["ok"] is False
    (check,) = [check for check in answer["checks"] if check["subject"].endswith("text.vst3")]
    assert check["state"] == "broken"
    assert "text.vst3" in check["result"]


def test_the_check_of_a_plugin_lists_its_effects(plugin):
    check = doctor.check_plugin(plugin)
    assert check.state == "ok"
    assert check.found.startswith("zamtube (7 parameters, mono, latency 0, loaded in ")
    (effect,) = check.effects
    assert effect.plugin.repeatable and effect.plugin.sample_rate == 24_000


def test_the_command_describes_a_plugin(invoke, monkeypatch, plugin):
    from dafxtool.effects.vst3.files import plugin_binary, sha256_of

    checks = [doctor.check_plugin(plugin, 48_000)]
    monkeypatch.setattr(doctor, "examine", lambda plugins, progress, sample_rate: checks)
    output = invoke("doctor", plugin, "--sample-rate", "48000").stdout
    (effect,) = checks[0].effects
    assert sha256_of(plugin_binary(plugin)) in output and str(plugin) in output
    assert f"version {effect.plugin.version}" in output
    assert "channels    mono\n" in output and "repeatable  yes\n" in output
    assert "parameter at 48000 Hz" in output and "-30 to 30" in output
    for name, why in effect.plugin.left_out:
        assert any(name in line and why in line for line in output.splitlines())
    answer = json.loads(invoke("doctor", plugin, "--json").stdout)
    (kept,) = answer["checks"][0]["effects"]
    assert kept["plugin"]["repeatable"] is True
    assert ["Current Program", "it has only one value"] in kept["plugin"]["left_out"]


def test_a_plugin_that_ignores_parameters_is_a_warning(invoke, monkeypatch):
    from dafxtool.effects.effect import Effect, PluginFile
    from dafxtool.effects.vst3 import examine
    from dafxtool.effects.vst3.audit import NOT_KEPT, Audit

    left_out = (("Speed", NOT_KEPT), ("Meter", "it moves"))
    file = PluginFile("x.vst3", None, "1.0", "00", 1, 24_000, (), left_out, repeatable=False)
    audit = Audit(24_000, 1, (), (), left_out, False, "1.0", "", 0, 0.5)
    audited = examine.FileAudit(((Effect("x", plugin=file), audit),))
    monkeypatch.setattr(examine, "audited_file", lambda *_, **__: audited)
    check = doctor.check_plugin("x.vst3")
    assert check.state == "warning" and check.fix
    assert check.found.endswith("; 2 warnings")
    details = "\n".join(check.details)
    assert "'Speed'" in details and "not repeatable" in details and "Meter" not in details
    monkeypatch.setattr(doctor, "examine", lambda plugins, progress, sample_rate: [check])
    lines = invoke("doctor").stdout.splitlines()
    start = lines.index("x.vst3:")
    assert lines[start + 1 : start + 3] == [f"  {line}" for line in check.details]


def test_a_file_of_many_plugins_is_one_short_line(monkeypatch):
    from dafxtool.effects.effect import Effect, PluginFile
    from dafxtool.effects.vst3 import examine
    from dafxtool.effects.vst3.audit_result import Audit

    file = PluginFile("x.vst3", "x", "1.0", "00", 2, 24_000)
    audit = Audit(24_000, 2, (), (), (), True, "1.0", "", 7, 0.5)
    effects = tuple((Effect(f"mda-effect-{n}", plugin=file), audit) for n in range(34))
    left_out = (("mda Piano", examine.IS_INSTRUMENT), ("mda JX10", examine.IS_INSTRUMENT))
    audited = examine.FileAudit(effects, left_out)
    monkeypatch.setattr(examine, "audited_file", lambda *_, **__: audited)
    check = doctor.check_plugin("x.vst3")
    assert check.state == "ok" and len(check.found) < 80
    assert "34 effects" in check.found and "2 plugins left out" in check.found
    assert len(check.details) == 36
    assert all(
        effect.name in line for (effect, _), line in zip(effects, check.details[:34], strict=True)
    )
    assert "mda Piano" in check.details[34] and "instrument" in check.details[34]


@pytest.mark.parametrize(
    "message", ["it crashed. " * 300, "in a worker process:\n" + "line\n" * 90]
)
def test_a_long_error_of_a_plugin_is_shortened_to_one_line(monkeypatch, message):
    from dafxtool.effects.vst3 import examine

    def fail(*_, **__):
        raise PluginError(message)

    monkeypatch.setattr(examine, "audited_file", fail)
    check = doctor.check_plugin("x.vst3")
    assert check.state == "broken"
    assert "\n" not in check.found and len(check.found) <= doctor.MAX_LINE + 4
    assert "\n".join(check.details) == message.strip()


def test_a_short_error_of_a_plugin_has_no_details(monkeypatch):
    from dafxtool.effects.vst3 import examine

    def fail(*_, **__):
        raise PluginError("x.vst3: cannot be loaded.")

    monkeypatch.setattr(examine, "audited_file", fail)
    check = doctor.check_plugin("x.vst3")
    assert (check.found, check.details) == ("x.vst3: cannot be loaded.", ())


def test_the_command_lists_every_check(invoke, monkeypatch):
    checks = [
        doctor.Check("python", "ok", "3.12"),
        doctor.Check("cuda", "warning", "no CUDA device", "use the CPU"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda plugins, progress, sample_rate: checks)
    result = invoke("doctor")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ok       python  3.12",
        "warning  cuda    no CUDA device",
        "                 -> use the CPU",
        "",
        "Everything needed works.",
    ]
    checks.append(doctor.Check("torch", "broken", "not installed", "install it"))
    result = invoke("doctor")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "Broken: torch."
