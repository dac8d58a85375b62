"""Every command reports a wrong input before it imports a library that takes seconds.

The cases come from the commands' own parameters, so that a new option is covered. The commands run
in a process in which importing one of SLOW fails, so that no case can profit from another's import.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
import pytest

from dafxtool.cli import main
from dafxtool.cli._options import DeviceType, PathType

SLOW = ("torch", "torchaudio", "sklearn", "matplotlib", "umap", "plotly", "librosa", "pandas")
NAMES = main.list_commands(click.Context(main))

# What a command is given beside the wrong value, and a name that its output may have.
INPUTS = {
    "interpolate": ("a.wav", "b.wav"),
    "match": ("a.wav", "b.wav"),
    "import": ("a.wav", "b.wav"),
    "render": ("a.wav",),
}
OPTIONS = {"render": ("-o", "new.h5"), "import": ("-o", "new.h5", "--effect", "amp")}
OUTPUTS = {
    **dict.fromkeys(("render", "import", "spectrogram", "embed"), "taken.h5"),
    **{"invert": "taken.wav"},
    **{"match": "taken.wav", "train": "runs/small-1", "report": "taken.html", "demo": "taken.wav"},
}
WRITTEN = {"output": "taken.png", "csv": "taken.csv", "audio": "taken", "pairs": "taken.png"}
WRITTEN_BY = {"sweep": {"output", "csv", "pairs"}}  # elsewhere --pairs is an input
# render, demo, explore and interpolate have examples in the package; doctor and effects need
# nothing, match and import recordings only.
NEED_NOTHING = {
    *("render", "demo", "explore", "interpolate", "doctor", "effects", "match", "import"),
}

PROGRAM = """
import json, sys
from click.testing import CliRunner

class SlowImport(BaseException):
    pass

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in SLOW:
            raise SlowImport(name)

SLOW = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Forbidden())
from dafxtool.cli import main
for arguments in json.load(sys.stdin):
    try:
        result = CliRunner().invoke(main, arguments, prog_name="dafxtool")
        answer = [result.exit_code, result.stderr, repr(result.exception)]
    except SlowImport as error:
        answer = [-1, "", f"{error} was imported"]
    print(json.dumps(answer), flush=True)
"""


@dataclass(frozen=True)
class Case:
    """Arguments of a command that are wrong, its exit status, and a part of its message."""

    arguments: tuple[str, ...]
    status: int
    message: str
    folder: str = "full"

    def __str__(self) -> str:
        return " ".join((*self.arguments, *(["(empty folder)"] * (self.folder == "empty"))))


def cases() -> Iterator[Case]:
    for name in NAMES:
        command = main.get_command(click.Context(main), name)
        if name not in NEED_NOTHING:
            yield Case((name, *INPUTS.get(name, ())), 1, "dafxtool ", "empty")
        yield Case((name, "--no-such-option"), 2, "No such option")
        for parameter in command.params:
            yield from cases_of(name, parameter)


def cases_of(name: str, parameter: click.Parameter) -> Iterator[Case]:
    option = parameter.opts[0] if isinstance(parameter, click.Option) else None
    values = (*(INPUTS.get(name, ()) if option else ()), *OPTIONS.get(name, ()))
    if parameter.name in WRITTEN_BY.get(name, WRITTEN.keys() - {"pairs"}):
        taken = OUTPUTS.get(name, "taken.png") if parameter.name == "output" else ""
        taken = taken or WRITTEN[parameter.name]
        effect = ("--effect", "delay") if name == "sweep" else ()  # which names its figure
        yield Case(
            (name, *values, *effect, option, taken), 1, "taken" if name != "train" else "run"
        )
        if name not in ("train", "demo", "render", "spectrogram") and parameter.name != "audio":
            yield Case((name, *values, option, "wrong.suffix"), 1, "wrong.suffix")
    elif name in ("match", "import") and parameter.name in ("dry", "wet", "like"):
        named = {"dry": ("missing.wav", "b.wav"), "wet": ("a.wav", "missing.wav")}
        paths = named.get(parameter.name, ("a.wav", "--like", "missing.wav"))
        yield Case((name, *paths, *OPTIONS.get(name, ())), 1, "missing.wav")
    elif isinstance(parameter.type, PathType):
        missing = (option, "missing.wav") if option else ("missing.wav",)
        yield Case((name, *missing, *values), 1, "missing.wav")
        if option is None and name not in ("render", "doctor", "interpolate"):
            yield Case((name, "missing.h5"), 1, "missing.h5")
            yield Case((name, "damaged.h5"), 1, "damaged.h5")
    elif parameter.name == "effects":
        for wrong in ("delai", "delay:tiem=1", "delay:time=1e9"):
            yield Case((name, *values, option, wrong), 1, "delay")
    elif isinstance(parameter.type, DeviceType):
        yield Case((name, *values, option, "cuda:99"), 1, "cuda:99")
        yield Case((name, *values, option, "gpu"), 2, "gpu")
    elif isinstance(parameter.type, click.Choice):
        yield Case((name, *values, option, "nonsense"), 2, "nonsense")
    elif parameter.name == "rows" and name != "invert":
        yield Case((name, "a.wav", option, "1"), 2, "rows are those")
    elif parameter.name == "rows":
        yield Case((name, option, "999"), 1, "found 0 to")


ALL = (
    *cases(),
    Case(("effects", "delai"), 1, "Did you mean delay"),
    Case(("train", "--config", "unknown-key.toml"), 1, "steps_per_day"),
    Case(("spectrogram", "--config", "unknown-key.toml"), 1, "steps_per_day"),
    Case(("render", "a.wav", "--config", "no-toml.toml"), 1, "no-toml.toml"),
    Case(("map", "pairs.h5", "a.wav"), 2, "alone"),
    Case(("embed", "pairs.h5", "a.wav"), 2, "alone"),
    Case(("map", "no-recordings"), 1, "no-recordings"),
    Case(("reconstruct", "spectrograms.h5"), 1, "holds spectrograms"),
    Case(("train", "latents.h5"), 1, "holds latents"),
    Case(("evaluate", "--pairs", "spectrograms.h5"), 1, "holds spectrograms"),
    Case(("interpolate", "a.wav", "--effect", "delay"), 2, "1 effect for 1 recording"),
    Case(("embed", "--run", "no-recordings"), 1, "no checkpoint"),
    Case(("embed", "--run", "damaged.h5"), 1, "not a checkpoint"),
    Case(("invert", "latents.h5", "--run", "no-recordings"), 1, "no checkpoint"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(pairs_file, spectrograms_file, run_folder, run, tmp_path_factory) -> dict[str, Path]:
    """Everything that a command can work on in `full`, nothing in `empty`."""
    from dafxtool import storage
    from dafxtool.audio.writer import save_audio
    from dafxtool.latents.embed import embed
    from dafxtool.latents.table import write_latents

    full = tmp_path_factory.mktemp("full")
    for file in (pairs_file, spectrograms_file):
        shutil.copy(file, full)
    (full / "runs").mkdir()
    shutil.copytree(run_folder, full / "runs" / "small-1")
    write_latents(embed([pairs_file], run), full / "latents.h5")
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        for name, dry in zip(("a.wav", "b.wav"), reader.rows(slice(0, 2))[:, 0], strict=True):
            save_audio(full / name, dry, reader.configuration["segments"]["sample_rate"])
    for suffix in ("h5", "csv", "png", "html", "wav"):
        (full / f"taken.{suffix}").write_text("taken")
    for folder in ("taken", "no-recordings"):
        (full / folder).mkdir()
        (full / folder / "notes.txt").write_text("taken")
    (full / "damaged.h5").write_bytes(b"\x89HDF" + bytes(5000))
    (full / "unknown-key.toml").write_text("[training]\nsteps_per_day = 3\n")
    (full / "no-toml.toml").write_text("preset: small")
    return {"full": full, "empty": tmp_path_factory.mktemp("empty")}


@pytest.fixture(scope="module")
def answer_of(folders):
    """Exit status, standard error and exception of a case; one process for each folder."""

    @cache
    def answers(folder: str) -> dict[Case, list]:
        chosen = [each for each in ALL if each.folder == folder]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, ",".join(SLOW)],
            input=json.dumps([each.arguments for each in chosen]),
            capture_output=True,
            text=True,
            cwd=folders[folder],
        )
        lines = done.stdout.splitlines()
        assert len(lines) == len(chosen), done.stderr
        return dict(zip(chosen, map(json.loads, lines), strict=True))

    return lambda case: answers(case.folder)[case]


@pytest.mark.parametrize("case", ALL, ids=str)
def test_a_wrong_input_is_reported_before_anything_slow_is_imported(answer_of, case):
    status, output, raised = answer_of(case)
    assert (status, raised) == (case.status, f"SystemExit({case.status})"), output
    assert case.message in output
    assert "Traceback" not in output


def test_every_command_has_cases_for_each_kind_of_input():
    assert {case.arguments[0] for case in ALL} == set(NAMES)
    for name in NAMES:
        options = {o.name: o for o in main.get_command(click.Context(main), name).params}
        for parameter in ("run", "config", "plugins", "device", "effects", "output"):
            if parameter in options:
                assert [c for c in cases_of(name, options[parameter])], (name, parameter)


def test_a_right_input_is_not_refused_early(folders):
    """The control: with nothing wrong, the same processes do reach the slow imports."""
    arguments = [
        *(
            ["embed", "-o", "new.h5"],
            ["map", "-o", "new.png"],
            ["map", "latents.h5", "-o", "n.png"],
        ),
        *(["reconstruct", "-o", "new.png"], ["interpolate", "a.wav", "b.wav", "-o", "new.png"]),
        *(["sweep", "-o", "new.png"], ["evaluate", "-o", "new.png"], ["report", "-o", "new.html"]),
        *(["invert", "-o", "new.wav"], ["train", "-o", "runs/new"], ["demo", "-o", "new"]),
        *(["spectrogram", "-o", "new.h5"],),
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(SLOW)],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        cwd=folders["full"],
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(arguments), done.stderr
    for values, (_, output, raised) in zip(arguments, answers, strict=True):
        assert raised.endswith("was imported"), (values, output)


def test_nothing_was_written(folders):
    assert not list(folders["empty"].iterdir())
    assert not list(folders["full"].glob("new*"))
