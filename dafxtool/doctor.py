"""Check the machine and plugins, and report how to fix what does not work.

An installed package does not always work, so each check runs a small real task: it writes a file in
memory, or multiplies matrices on the GPU. Checks return failures instead of raising them.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dafxtool import __version__
from dafxtool.audio.av_reader import has_av
from dafxtool.effects.effect import Effect
from dafxtool.errors import DafxError
from dafxtool.utils.device import usable_cores
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import counted

STATES = ("ok", "warning", "missing", "broken")
MAX_LINE = 160  # characters of a plugin's error in one line

OLDEST_PYTHON = (3, 10)
# torchaudio's binaries work with some releases of torch only, and its metadata does not name them.
# This pair is tested; constraints.txt contains it, too.
TORCH_PAIR = "pip install torch==2.14.1 torchaudio==2.11.1"
REINSTALL = "reinstall dafxtool with its dependencies: pip install dafxtool"
BYTES_OF_PRESET = 4 * 2**30  # pairs and spectrograms of two effects with the default preset
CODECS = {  # name: format and subtype in libsndfile
    "WAV": ("WAV", "PCM_16"),
    "AIFF": ("AIFF", "PCM_16"),
    "FLAC": ("FLAC", "PCM_16"),
    "Ogg Vorbis": ("OGG", "VORBIS"),
    "Opus": ("OGG", "OPUS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}


@dataclass(frozen=True)
class Check:
    """The result of one check.

    what     the package, part of the machine or plugin file
    state    "ok"; "warning": works with restrictions; "missing": not installed, and needed only for
             the purpose that `fix` names; "broken": needed, and does not work
    found    the result in one line
    fix     how to fix it
    effects  of a plugin file
    details  further lines, such as parameters that a plugin ignores
    """

    what: str
    state: str
    found: str
    fix: str = ""
    effects: tuple[Effect, ...] = ()
    details: tuple[str, ...] = ()


def examine(
    plugins: Sequence[Path] = (), progress: Progress = SILENT, sample_rate: int = 24_000
) -> list[Check]:
    """Check Python, packages, devices and disk, and each plugin file. Takes some seconds.

    sample_rate  in Hz, for plugins
    """
    checks: list[Callable[[], Check]] = [
        _python,
        _dafxtool,
        _torch,
        _torchaudio,
        _cuda,
        *(_package(name, module) for name, module in PACKAGES),
        _pedalboard,
        _codecs,
        _h5py,
        _matplotlib,
        _cores,
        _disk,
        *(_optional(*each) for each in OPTIONAL),
    ]
    results = [check() for check in checks]
    for path in plugins:
        progress.message(f"checking {path}; some plugins take minutes")
        results.append(check_plugin(path, sample_rate))
    return results


def check_plugin(path: Path, sample_rate: int = 24_000) -> Check:
    """Check that a plugin file loads, and that its effects apply their settings repeatably.

    sample_rate  in Hz; ranges of parameters can depend on it

    Each audio result that is compared comes from a fresh instance of the plugin.
    """
    from dafxtool.effects.known import plugin_warnings
    from dafxtool.effects.vst3.examine import audited_file

    try:
        result = audited_file(path, sample_rate, is_fresh=True)
    except DafxError as error:
        fix = "install the VST3 version of the plugin for this system, or leave it out"
        found, details = _shorten(str(error))
        return Check(str(path), "broken", found, fix, details=details)
    effects = tuple(effect for effect, _ in result.effects)
    lines = [
        f"{effect.name} ({_parameters(effect)}, {_channels(effect)}, latency "
        f"{audit.latency_samples}, loaded in {audit.seconds_to_load:.1f} s)"
        for effect, audit in result.effects
    ]
    found, further = lines[0], list[str]()
    if len(lines) > 1:  # a file may hold dozens
        found, further = counted(len(lines), "effect"), lines
    if result.left_out:
        found += f", {counted(len(result.left_out), 'plugin')} left out"
        further += [f"{name} left out ({reason})." for name, reason in result.left_out]
    warnings_of_effects = [text for effect in effects for text in plugin_warnings(effect)]
    further += warnings_of_effects
    if warnings_of_effects:
        found += f"; {counted(len(warnings_of_effects), 'warning')}"
        fix = "use it with these restrictions, which the output file records, or another version"
        return Check(str(path), "warning", found, fix, effects, tuple(further))
    return Check(str(path), "ok", found, effects=effects, details=tuple(further))


def _shorten(message: str) -> tuple[str, tuple[str, ...]]:
    """Return the start of a message as one line, and all its lines if that is not everything."""
    lines = message.strip().splitlines() or [""]
    if len(lines) == 1 and len(message) <= MAX_LINE:
        return message, ()
    return f"{lines[0][:MAX_LINE].rstrip()} ...", tuple(lines)


def _parameters(effect: Effect) -> str:
    return counted(len(effect.parameters), "parameter")


def _channels(effect: Effect) -> str:
    return "stereo only" if effect.plugin and effect.plugin.n_channels == 2 else "mono"


# --- Python and its packages --------------------------------------------------------------------

PACKAGES = (
    ("numpy", "numpy"),
    ("scipy", "scipy.signal"),
    ("scikit-learn", "sklearn.neighbors"),
    ("tensorboard", ""),  # not imported, because that takes longer than all other checks
    ("rich", "rich"),
    ("tqdm", "tqdm"),
)

OPTIONAL = (
    ("umap-learn", "needed only for 'dafxtool map --method umap'", "umap"),
    ("starlette", "needed only for 'dafxtool explore'", "explore"),
    ("uvicorn", "needed only for 'dafxtool explore'", "explore"),
    ("wandb", "needed only for logs on W&B"),
    ("dask", "needed only for work on a cluster"),
)


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "broken", found, "install Python 3.10 or newer")
    return Check("python", "ok", found)


def _dafxtool() -> Check:
    return Check("dafxtool", "ok", f"{__version__} in {Path(__file__).parent}")


def _package(name: str, module: str) -> Callable[[], Check]:
    def check() -> Check:
        try:
            found = version(name)
        except PackageNotFoundError:
            return Check(name, "broken", "not installed", REINSTALL)
        failure = _import_failure(module) if module else ""
        if failure:
            return Check(name, "broken", f"{found}, {failure}", REINSTALL)
        return Check(name, "ok", found)

    return check


def _optional(name: str, purpose: str, extra: str = "") -> Callable[[], Check]:
    def check() -> Check:
        try:
            return Check(name, "ok", f"{version(name)} (optional)")
        except PackageNotFoundError:
            fix = f"{purpose}: pip install 'dafxtool[{extra or name}]'"
            return Check(name, "missing", "not installed (optional)", fix)

    return check


def _import_failure(module: str) -> str:
    """Import a module; return the failure as one line, or nothing."""
    try:
        import_module(module)
    except Exception as error:  # a broken library may raise any exception
        return f"cannot be imported: {_first_line(error)}"
    return ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# --- torch and CUDA -----------------------------------------------------------------------------


def _torch() -> Check:
    failure = _import_failure("torch")
    if failure:
        return Check("torch", "broken", failure, TORCH_PAIR)
    import torch

    total = float(torch.ones(4, 4).matmul(torch.ones(4, 4)).sum())
    if total != 64.0:
        return Check("torch", "broken", f"{torch.__version__} computes wrong products", TORCH_PAIR)
    return Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _torchaudio() -> Check:
    """Check torchaudio, with which tests and benchmarks compare; no command needs it."""
    purpose = "needed only for tests and benchmarks"
    try:
        found, torch_version = version("torchaudio"), version("torch")
    except PackageNotFoundError as error:
        text = f"{error.name} is not installed"
        return Check("torchaudio", "missing", text, f"{purpose}: {TORCH_PAIR}")
    failure = _import_failure("torchaudio")
    if failure:
        text = f"{found} with torch {torch_version}, {failure}"
        return Check("torchaudio", "warning", text, f"{purpose}: {TORCH_PAIR}")
    return Check("torchaudio", "ok", f"{found} with torch {torch_version}")


def _cuda() -> Check:
    if _import_failure("torch"):
        return Check("cuda", "warning", "not checked, because torch cannot be imported", TORCH_PAIR)
    import torch

    driver = _driver()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an old driver, which this check reports itself
        available = torch.cuda.is_available()
    if not available:
        if driver:
            found = f"driver {driver}, but torch {torch.__version__} cannot use it"
            fix = "update the driver, or install a torch built for it; until then, use the CPU"
            return Check("cuda", "warning", found, fix)
        fix = "train on the CPU, where the preset small takes minutes"
        return Check("cuda", "warning", "no CUDA device", fix)
    try:
        ones = torch.ones(64, 64).to("cuda")
        total = float(ones.matmul(ones).sum())
    except RuntimeError as error:
        fix = "check nvidia-smi, or use --device cpu"
        return Check("cuda", "broken", _first_line(error), fix)
    if total != 64.0**3:
        return Check("cuda", "broken", "the GPU computes wrong products", "use --device cpu")
    return Check("cuda", "ok", f"{_devices()}, driver {driver or 'unknown'}")


def _devices() -> str:
    import torch

    devices = []
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        devices.append(f"cuda:{i} {properties.name} ({properties.total_memory / 2**30:.0f} GiB)")
    bfloat16 = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
    return f"{', '.join(devices)}, CUDA {torch.version.cuda}, {bfloat16}"


def _driver() -> str:
    """Return the version of the NVIDIA driver, or nothing without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        result = subprocess.run(
            [program, "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip().splitlines()[0] if result.stdout.strip() else ""


# --- audio, files, figures ----------------------------------------------------------------------


def _pedalboard() -> Check:
    what = "pedalboard"
    try:
        found = version(what)
    except PackageNotFoundError:
        fix = "needed only to apply effects: pip install pedalboard"
        return Check(what, "missing", "not installed", fix)
    failure = _import_failure(what)
    if failure:
        return Check(what, "broken", f"{found}, {failure}", f"pip install --force-reinstall {what}")
    import numpy as np
    import pedalboard

    tone = np.full(1000, 0.5, dtype=np.float32)
    wet = pedalboard.Gain(gain_db=-20.0)(tone, 24_000)
    if not np.allclose(wet, 0.05, atol=1e-4):
        return Check(what, "broken", f"{found} computes a wrong gain", f"pip install -U {what}")
    return Check(what, "ok", f"{found}, effects work")


def _codecs() -> Check:
    what = "audio files"
    failure = _import_failure("soundfile")
    if failure:
        fix = "needed only to read and write audio: pip install soundfile"
        return Check(what, "missing", f"soundfile {failure}", fix)
    failures = [name for name, (kind, subtype) in CODECS.items() if not _reads_back(kind, subtype)]
    usable = [name for name in CODECS if name not in failures]
    found = f"reads and writes {', '.join(usable) or 'nothing'}"
    found += "; PyAV reads M4A, WMA and video files" if has_av() else ""
    if "WAV" in failures:
        return Check(what, "broken", found, "pip install -U soundfile")
    if failures:
        return Check(what, "warning", found, f"convert {', '.join(failures)} to WAV or FLAC first")
    if not has_av():
        found += "; M4A, WMA and video files need PyAV (pip install 'dafxtool[av]')"
    return Check(what, "ok", found)


def _reads_back(kind: str, subtype: str) -> bool:
    """Write a tone to memory, read it, and check its level."""
    import numpy as np
    import soundfile

    sample_rate = 48_000
    tone = np.sin(2 * np.pi * 480.0 * np.arange(sample_rate) / sample_rate) / 2
    memory = io.BytesIO()
    try:
        with soundfile.SoundFile(memory, "w", sample_rate, 1, subtype, format=kind) as file:
            for start in range(0, sample_rate, 4800):
                file.write(tone[start : start + 4800])
        memory.seek(0)
        audio, _ = soundfile.read(memory)
    except (soundfile.SoundFileError, ValueError, TypeError):
        return False
    level = float(np.sqrt(np.mean(audio[4096:-4096] ** 2))) if len(audio) == sample_rate else 0.0
    return abs(level - np.sqrt(0.125)) < 0.02


def _h5py() -> Check:
    failure = _import_failure("h5py")
    if failure:
        return Check("h5py", "broken", failure, REINSTALL)
    import h5py
    import numpy as np

    values = np.arange(12, dtype=np.float16).reshape(3, 4)
    with h5py.File(io.BytesIO(), "w") as file:
        file.create_dataset("values", data=values, chunks=(1, 4), compression="gzip")
        is_equal = bool(np.array_equal(file["values"][:], values))
    if not is_equal:
        return Check("h5py", "broken", f"{h5py.__version__} reads wrong values", REINSTALL)
    return Check("h5py", "ok", f"{h5py.__version__}, HDF5 {h5py.version.hdf5_version}")


def _matplotlib() -> Check:
    failure = _import_failure("matplotlib.figure")
    if failure:
        return Check("matplotlib", "broken", failure, REINSTALL)
    from matplotlib.figure import Figure

    memory = io.BytesIO()
    Figure(figsize=(1, 1)).savefig(memory, format="png")
    if not memory.getvalue().startswith(b"\x89PNG"):
        return Check("matplotlib", "broken", "cannot draw a PNG", REINSTALL)
    return Check("matplotlib", "ok", f"{version('matplotlib')}, draws without a display")


def _cores() -> Check:
    return Check(
        "cores", "ok", f"{usable_cores()} of {os.cpu_count()} usable, the default of --workers"
    )


def _disk() -> Check:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    found = f"{_gigabytes(free)} free in {folder}"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"dafxtool")
    except OSError as error:
        fix = "change to a folder that you may write to, or choose another --output"
        return Check("disk", "broken", f"{found}, but not writable ({error.strerror})", fix)
    if free < BYTES_OF_PRESET:
        fix = "free some space, or choose another --output"
        return Check("disk", "warning", f"{found}, which the default preset may use up", fix)
    return Check("disk", "ok", found)


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
