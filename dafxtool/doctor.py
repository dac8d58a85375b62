"""Look at the machine: what works here, what does not, and how to mend it.

Each check does the real thing in miniature (a file written to memory, a product on the GPU), for
a package that is installed need not work. Checks never raise; what they find is their answer.
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

STATES = ("ok", "warning", "missing", "broken")

OLDEST_PYTHON = (3, 10)
# torchaudio's binary fits some releases of torch, and its metadata does not say which. This pair
# was tested; constraints.txt holds it too.
TORCH_PAIR = "pip install torch==2.14.1 torchaudio==2.11.1"
REINSTALL = "install dafxtool again, with its dependencies: pip install dafxtool"
ROOM_FOR_PRESET = 4 * 2**30  # bytes; pairs and spectrograms of the default preset for two effects
CODECS = {  # name: format and subtype of libsndfile
    "WAV": ("WAV", "PCM_16"),
    "AIFF": ("AIFF", "PCM_16"),
    "FLAC": ("FLAC", "PCM_16"),
    "Ogg Vorbis": ("OGG", "VORBIS"),
    "Opus": ("OGG", "OPUS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    state  "ok"; "warning": works, with less; "missing": not here, and only needed for what `mend`
           says; "broken": needed, and does not work
    """

    what: str
    state: str
    found: str
    mend: str = ""
    effects: tuple[Effect, ...] = ()  # of a plugin's file


def examine(
    plugins: Sequence[Path] = (), progress: Progress = SILENT, sample_rate: int = 24_000
) -> list[Check]:
    """Look at everything, and at each of the plugin files, at a sample rate. Takes some seconds."""
    looks: list[Callable[[], Check]] = [
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
    checks = [look() for look in looks]
    for path in plugins:
        progress.say(f"Loading and trying {path}; some plugins take minutes.")
        checks.append(check_plugin(path, sample_rate))
    return checks


def check_plugin(path: Path, sample_rate: int = 24_000) -> Check:
    """Does it load, which effects does it hold, and do they do what they are set to, repeatably?

    It is loaded again for every sound that is compared; the ranges are those at sample_rate (Hz).
    """
    from dafxtool.effects.apply import plugin_warnings
    from dafxtool.effects.vst3.isolation import audited_effects

    try:
        found = audited_effects(path, sample_rate)
    except DafxError as error:
        mend = "get a build of it for this system; every other effect works without it"
        return Check(str(path), "broken", str(error), mend)
    effects = tuple(effect for effect, _ in found)
    told = ", ".join(
        f"{effect.name} ({_settings(effect)}, {_channels(effect)}, latency "
        f"{audit.latency_samples}, loaded in {audit.seconds_to_load:.1f} s)"
        for effect, audit in found
    )
    doubts = " ".join(warning for effect in effects for warning in plugin_warnings(effect))
    if doubts:
        mend = "render with it as it is, and the file says so; or try another version of it"
        return Check(str(path), "warning", f"{told}. {doubts}", mend, effects)
    return Check(str(path), "ok", told, effects=effects)


def _settings(effect: Effect) -> str:
    n = len(effect.parameters)
    return f"{n} setting{'' if n == 1 else 's'}"


def _channels(effect: Effect) -> str:
    return "stereo only" if effect.plugin and effect.plugin.n_channels == 2 else "mono"


# --- Python and its packages --------------------------------------------------------------------

PACKAGES = (
    ("numpy", "numpy"),
    ("scipy", "scipy.signal"),
    ("scikit-learn", "sklearn.neighbors"),
    ("tensorboard", ""),  # not imported: that takes longer than all the rest
    ("rich", "rich"),
    ("tqdm", "tqdm"),
)

OPTIONAL = (
    ("umap-learn", "only 'dafxtool map --method umap' needs it", "umap"),
    ("wandb", "only logs on W&B need it"),
    ("dask", "only rendering on a cluster needs it"),
)


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "broken", found, "install Python 3.10 or newer")
    return Check("python", "ok", found)


def _dafxtool() -> Check:
    return Check("dafxtool", "ok", f"{__version__} in {Path(__file__).parent}")


def _package(name: str, module: str) -> Callable[[], Check]:
    def look() -> Check:
        try:
            found = version(name)
        except PackageNotFoundError:
            return Check(name, "broken", "not installed", REINSTALL)
        failure = _import_failure(module) if module else ""
        if failure:
            return Check(name, "broken", f"{found}, {failure}", REINSTALL)
        return Check(name, "ok", found)

    return look


def _optional(name: str, purpose: str, extra: str = "") -> Callable[[], Check]:
    def look() -> Check:
        try:
            return Check(name, "ok", f"{version(name)} (optional)")
        except PackageNotFoundError:
            mend = f"{purpose}: pip install 'dafxtool[{extra or name}]'"
            return Check(name, "missing", "not installed (optional)", mend)

    return look


def _import_failure(module: str) -> str:
    """What went wrong on importing, in a line; empty when it works."""
    try:
        import_module(module)
    except Exception as error:  # a broken library raises whatever it likes
        return f"which does not import: {_first_line(error)}"
    return ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# --- torch and CUDA -----------------------------------------------------------------------------


def _torch() -> Check:
    failure = _import_failure("torch")
    if failure:
        return Check("torch", "broken", failure.removeprefix("which "), TORCH_PAIR)
    import torch

    total = float(torch.ones(4, 4).matmul(torch.ones(4, 4)).sum())
    if total != 64.0:
        return Check("torch", "broken", f"{torch.__version__} multiplies wrongly", TORCH_PAIR)
    return Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _torchaudio() -> Check:
    """Check torchaudio. No command needs it: the tests and benchmarks compare with it."""
    purpose = "only tests and benchmarks need it"
    try:
        found, torch_version = version("torchaudio"), version("torch")
    except PackageNotFoundError as error:
        text = f"{error.name} is not installed"
        return Check("torchaudio", "missing", text, f"{purpose}: {TORCH_PAIR}")
    failure = _import_failure("torchaudio")
    if failure:
        text = f"{found} beside torch {torch_version}, {failure}"
        return Check("torchaudio", "warning", text, f"{purpose}: {TORCH_PAIR}")
    return Check("torchaudio", "ok", f"{found} beside torch {torch_version}")


def _cuda() -> Check:
    if _import_failure("torch"):
        return Check("cuda", "warning", "not looked at, for torch does not import", TORCH_PAIR)
    import torch

    driver = _driver()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an old driver, which the check itself tells
        available = torch.cuda.is_available()
    if not available:
        if driver:
            found = f"driver {driver} is here, but torch {torch.__version__} cannot use it"
            mend = "update the driver, or install a torch built for it; until then the CPU is used"
            return Check("cuda", "warning", found, mend)
        mend = "training runs on the CPU, where the preset small takes minutes"
        return Check("cuda", "warning", "no CUDA device", mend)
    try:
        ones = torch.ones(64, 64).to("cuda")
        total = float(ones.matmul(ones).sum())
    except RuntimeError as error:
        mend = "look at nvidia-smi, or use --device cpu"
        return Check("cuda", "broken", _first_line(error), mend)
    if total != 64.0**3:
        return Check("cuda", "broken", "the GPU multiplies wrongly", "use --device cpu")
    return Check("cuda", "ok", f"{_devices()}, driver {driver or 'unknown'}")


def _devices() -> str:
    import torch

    described = []
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        described.append(f"cuda:{i} {properties.name} ({properties.total_memory / 2**30:.0f} GiB)")
    bfloat16 = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
    return f"{', '.join(described)}, CUDA {torch.version.cuda}, {bfloat16}"


def _driver() -> str:
    """The NVIDIA driver's version; empty where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        answer = subprocess.run(
            [program, "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip().splitlines()[0] if answer.stdout.strip() else ""


# --- sound, files, pictures ---------------------------------------------------------------------


def _pedalboard() -> Check:
    what = "pedalboard"
    try:
        found = version(what)
    except PackageNotFoundError:
        mend = "to apply effects (training does not need them): pip install pedalboard"
        return Check(what, "missing", "not installed", mend)
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
        install = "to read and write audio (training needs neither): pip install soundfile"
        return Check(what, "missing", f"soundfile {failure.removeprefix('which ')}", install)
    failures = [name for name, (kind, subtype) in CODECS.items() if not _reads_back(kind, subtype)]
    works = [name for name in CODECS if name not in failures]
    found = f"reads and writes {', '.join(works) or 'nothing'}"
    found += "; PyAV reads M4A, WMA and video files" if has_av() else ""
    if "WAV" in failures:
        return Check(what, "broken", found, "pip install -U soundfile")
    if failures:
        return Check(what, "warning", found, f"convert {', '.join(failures)} to WAV or FLAC first")
    if not has_av():
        found += "; M4A, WMA and video files need PyAV (pip install 'dafxtool[av]')"
    return Check(what, "ok", found)


def _reads_back(kind: str, subtype: str) -> bool:
    """Write a tone into memory, read it, and compare its level."""
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
        back, _ = soundfile.read(memory)
    except (soundfile.SoundFileError, ValueError, TypeError):
        return False
    level = float(np.sqrt(np.mean(back[4096:-4096] ** 2))) if len(back) == sample_rate else 0.0
    return abs(level - np.sqrt(0.125)) < 0.02


def _h5py() -> Check:
    failure = _import_failure("h5py")
    if failure:
        return Check("h5py", "broken", failure.removeprefix("which "), REINSTALL)
    import h5py
    import numpy as np

    values = np.arange(12, dtype=np.float16).reshape(3, 4)
    with h5py.File(io.BytesIO(), "w") as file:
        file.create_dataset("values", data=values, chunks=(1, 4), compression="gzip")
        intact = bool(np.array_equal(file["values"][:], values))
    if not intact:
        return Check("h5py", "broken", f"{h5py.__version__} reads back wrong values", REINSTALL)
    return Check("h5py", "ok", f"{h5py.__version__}, HDF5 {h5py.version.hdf5_version}")


def _matplotlib() -> Check:
    failure = _import_failure("matplotlib.figure")
    if failure:
        return Check("matplotlib", "broken", failure.removeprefix("which "), REINSTALL)
    from matplotlib.figure import Figure

    memory = io.BytesIO()
    Figure(figsize=(1, 1)).savefig(memory, format="png")
    if not memory.getvalue().startswith(b"\x89PNG"):
        return Check("matplotlib", "broken", "draws no PNG", REINSTALL)
    return Check("matplotlib", "ok", f"{version('matplotlib')}, draws without a display")


def _cores() -> Check:
    return Check("cores", "ok", f"{usable_cores()} of {os.cpu_count()}, which --workers takes")


def _disk() -> Check:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    found = f"{_gigabytes(free)} free in {here}"
    try:
        with tempfile.TemporaryFile(dir=here) as file:
            file.write(b"dafxtool")
    except OSError as error:
        mend = "change to a folder of yours, or write elsewhere with --output"
        return Check("disk", "broken", f"{found}, but not writable ({error.strerror})", mend)
    if free < ROOM_FOR_PRESET:
        mend = "free some space, or write elsewhere with --output"
        return Check("disk", "warning", f"{found}, which the default preset may fill", mend)
    return Check("disk", "ok", found)


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
