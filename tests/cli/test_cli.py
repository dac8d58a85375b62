"""The frame of the command line: help, errors, exit statuses, reporting."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import dafxtool
from dafxtool import __version__
from dafxtool.cli import COMMANDS, GROUPS, DafxGroup, _options, main
from dafxtool.cli._options import (
    config_option,
    device_option,
    effect_options,
    json_option,
    output_option,
    overwrite_option,
    preset_option,
    progress_options,
    resume_option,
    seed_option,
    strict_option,
    workers_option,
)
from dafxtool.cli._output import Table, progress_from, report
from dafxtool.errors import InputError

NAMES = main.list_commands(click.Context(main))
HEAVY = {"torch", "torchaudio", "matplotlib", "numpy", "scipy", "pedalboard", "h5py"}


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """The real thing, in a process of its own."""
    command = [sys.executable, "-m", "dafxtool", *arguments]
    return subprocess.run(command, text=True, stderr=subprocess.PIPE, **options)


def failing(error: BaseException, *options: click.Parameter) -> DafxGroup:
    """A group whose command `fail` raises error."""

    class Group(DafxGroup):
        def get_command(self, ctx, cmd_name):
            return click.Command("fail", callback=fail, params=list(options))

    def fail(**_):
        raise error

    return Group("dafxtool")


# --- help -------------------------------------------------------------------------------------


def test_commands_come_in_the_order_of_the_work():
    assert [name for name in COMMANDS if name in NAMES] == NAMES
    listed = [
        name
        for name in re.findall(r"^│ ([a-z-]+) ", CliRunner().invoke(main, ["--help"]).stdout, re.M)
        if name in NAMES
    ]
    assert listed == NAMES


def test_help_groups_commands_by_purpose():
    shown = CliRunner().invoke(main, ["--help"]).stdout
    positions = [shown.index(f"─ {group} ─") for group in GROUPS]
    assert positions == sorted(positions)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself_with_examples(invoke, name):
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert result.stdout == invoke(name, "-h").stdout
    description = result.stdout.split("─ Options ─")[0]
    examples = description.split("Examples:")[1].strip().splitlines()
    assert examples[0].strip().startswith(f"dafxtool {name}")


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_explained(name):
    options = main.get_command(click.Context(main), name).params
    assert [o.name for o in options if isinstance(o, click.Option) and not o.help] == []


def test_help_imports_no_slow_package():
    program = (
        "import sys\n"
        "from dafxtool.cli import main\n"
        f"for arguments in [['--help'], *([name, '--help'] for name in {NAMES!r})]:\n"
        "    main(arguments, standalone_mode=False)\n"
        f"sys.exit(repr(sorted({HEAVY!r} & set(sys.modules))))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_the_version(invoke):
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"dafxtool {__version__}\n")


# --- what goes wrong --------------------------------------------------------------------------


def test_a_misspelt_command_is_usage_and_suggests(invoke):
    result = invoke("efects")
    assert result.exit_code == 2
    assert re.search(r"Did you mean.*'effects'", result.stderr)


def test_an_unknown_option_is_usage(invoke):
    result = invoke("effects", "--no-such-option")
    assert result.exit_code == 2
    assert "--no-such-option" in result.stderr


def test_a_mistake_of_the_user_is_one_sentence_on_standard_error():
    result = CliRunner().invoke(failing(InputError("a.wav is missing: look again.")), ["fail"])
    assert result.exit_code == 1
    assert result.stderr == "Error: a.wav is missing: look again.\n"
    assert result.stdout == ""


def test_a_mistake_of_ours_keeps_its_traceback():
    for mistake in (ZeroDivisionError("ours"), OSError(errno.EBADF, "ours")):
        result = CliRunner().invoke(failing(mistake), ["fail"])
        assert result.exception is mistake


def test_a_full_disk_is_a_sentence_wherever_it_happens():
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a/metrics.csv")
    result = CliRunner().invoke(failing(full), ["fail"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: runs/a/metrics.csv: cannot be written (the disk")


def test_an_interruption_prints_how_to_resume_if_possible():
    result = CliRunner().invoke(failing(KeyboardInterrupt()), ["fail"])
    assert (result.exit_code, result.stderr) == (
        130,
        "Interrupted. No incomplete output was kept.\n",
    )
    resumable = failing(KeyboardInterrupt(), click.Option(["--resume"], is_flag=True))
    assert "--resume to continue" in CliRunner().invoke(resumable, ["fail"]).stderr


def test_an_interruption_inside_a_lock_is_one_as_well():
    """Python then raises a RuntimeError about the lock, after the KeyboardInterrupt."""
    error = RuntimeError("cannot release un-acquired lock")
    error.__context__ = KeyError("of no matter")
    error.__context__.__context__ = KeyboardInterrupt()
    result = CliRunner().invoke(failing(error), ["fail"])
    assert result.stderr == "Interrupted. No incomplete output was kept.\n"
    assert result.exit_code == 130
    ours = RuntimeError("ours")
    assert CliRunner().invoke(failing(ours), ["fail"]).exception is ours


def test_a_real_mistake_of_the_user_shows_no_traceback():
    done = run("effects", "no-such-effect", stdout=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: unknown effect 'no-such-effect'")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_has_gone_is_no_reason_to_shout():
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = run("effects", stdout=write_end)
    finally:
        os.close(write_end)
    assert done.stderr == ""


# --- options and reporting --------------------------------------------------------------------


def test_the_presets_offered_are_those_there_are():
    from dafxtool.presets import PRESETS

    assert tuple(PRESETS) == _options.PRESETS


def parsed(*arguments: str) -> dict:
    """What a command with all shared options receives."""
    seen: dict = {}

    @click.command()
    @output_option("pairs.h5")
    @overwrite_option
    @resume_option
    @strict_option
    @seed_option()
    @workers_option
    @device_option
    @preset_option
    @config_option
    @effect_options
    @json_option
    @progress_options
    def command(**values):
        seen.update(values)

    command.main(list(arguments), standalone_mode=False)
    return seen


def test_the_shared_options_have_their_defaults():
    values = parsed()
    assert values == {
        "output": None,
        "workers": None,
        "overwrite": False,
        "resume": False,
        "strict": False,
        "seed": 0,
        "device": "auto",
        "preset": None,
        "config": None,
        "effects": (),
        "plugins": (),
        "as_json": False,
        "quiet": False,
        "verbose": False,
    }


def test_the_shared_options_take_values(tmp_path):
    plugin = tmp_path / "plugin.vst3"
    plugin.touch()
    values = parsed(
        *("-o", "a b.h5", "--workers", "3", "--device", "cpu", "--preset", "week6"),
        *("--effect", "delay:time=300", "--effect", "overdrive", "--plugin", str(plugin)),
    )
    assert values["output"] == Path("a b.h5")
    assert values["workers"] == 3
    assert values["device"] == "cpu"
    assert values["preset"] == "week6"
    assert values["effects"] == ("delay:time=300", "overdrive")
    assert values["plugins"] == (plugin,)


@pytest.mark.parametrize(
    "arguments", [("--device", "gpu"), ("--workers", "0"), ("--seed", "-1"), ("--preset", "week7")]
)
def test_a_value_that_cannot_be_meant_is_usage(arguments):
    with pytest.raises(click.UsageError):
        parsed(*arguments)


def test_a_report_as_json_is_strict_json(capsys):
    import numpy as np

    result = {
        "output": Path("pairs.h5"),
        "count": np.int64(3),
        "error": float("nan"),
        "mse": np.float32(0.5),
        "latent": np.array([[1.0, np.inf]]),
        "table": Table(("a",), [("é",)]),
    }
    report(result, True, ["not shown"])
    answer = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert answer == {
        "output": "pairs.h5",
        "count": 3,
        "error": None,
        "mse": 0.5,
        "latent": [[1.0, None]],
        "table": {"columns": ["a"], "rows": [["é"]], "right": []},
    }


def test_a_table_for_another_program_is_never_wrapped(capsys):
    long = " ".join(["word"] * 100)
    report({}, False, ["above", Table(("name", "[what]"), [("[red]", long)])])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == "above"
    assert lines[1].split() == ["name", "[what]"]
    assert lines[2] == f"[red]  {long}"
    assert len(lines) == 3


def test_quiet_is_silent_and_loud_ends_its_bar(capsys):
    @click.command()
    @progress_options
    def command(**options):
        progress = progress_from(options)
        progress.start("rendering", 2, "pair")
        progress.advance(1)
        raise InputError("stop")

    for arguments in (["--quiet"], []):
        with pytest.raises(InputError):
            command.main(arguments, standalone_mode=False)
    assert capsys.readouterr().err == "rendering: 1/2 pairs, in 0:00\n"


# --- effects ----------------------------------------------------------------------------------


def test_effects_are_listed_with_ranges_and_units(invoke):
    from dafxtool.effects.builtin import builtin_effects

    result = invoke("effects", "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)["effects"]
    assert {effect["name"] for effect in answer} == set(builtin_effects())
    (delay,) = [effect for effect in answer if effect["name"] == "delay"]
    time = delay["parameters"][0]
    assert (time["name"], time["unit"]) == ("time", "ms")
    assert time["minimum"] < time["default"] < time["maximum"]


def test_effects_named_are_shown_alone(invoke):
    result = invoke("effects", "delay")
    assert result.exit_code == 0
    heading, *rows = [line.split() for line in result.stdout.splitlines()]
    assert heading[:6] == ["effect,", "parameters", "range", "usual", "range", "unit"]
    assert [row[0] for row in rows] == ["delay", "time", "feedback", "mix"]
    assert rows[1][1:10] == ["1", "to", "2000", "20", "to", "1000", "ms", "350", "logarithmic"]


def test_effects_list_the_range_of_random_settings_only_where_it_is_narrower(invoke):
    (reverb,) = json.loads(invoke("effects", "reverb", "--json").stdout)["effects"]
    usual = {p["name"]: (p["usual_minimum"], p["usual_maximum"]) for p in reverb["parameters"]}
    assert usual == {"size": (10, 100), "damping": (0, 100), "width": (0, 100), "mix": (15, 70)}
    rows = {row[0].strip(): row[1:3] for row in dafxtool.list_effects("reverb").rows()}
    assert rows["size"] == ("0 to 100", "10 to 100")
    assert rows["damping"] == ("0 to 100", "")


def test_effects_of_a_plugin_join_the_built_in_ones(invoke, plugin):
    result = invoke("effects", "--plugin", plugin, "--json")
    names = [effect["name"] for effect in json.loads(result.stdout)["effects"]]
    assert "zamtube" in names
    assert "delay" in names
