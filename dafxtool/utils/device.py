"""Where tensors live: the CPU or a CUDA device."""

from __future__ import annotations

import ctypes
import os
import re
from importlib.metadata import version

from dafxtool.errors import ConfigError


def n_cuda_devices() -> int:
    """CUDA devices that the driver offers, asked of the driver itself: torch takes seconds."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int(0)
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0


def check_device(device: str) -> None:
    """Refuse a CUDA device that the driver does not offer (ConfigError); torch is not imported."""
    _check_name(device)
    # AMD's GPUs are CUDA devices of a torch that is built for ROCm, and no CUDA driver knows them.
    if device not in ("auto", "cpu") and "rocm" not in version("torch"):
        _refuse_missing(device, n_cuda_devices())


def pick_device(device: str) -> str:
    """auto becomes cuda where there is one, else cpu; a device that is not there is an error."""
    _check_name(device)
    if device == "cpu":
        return "cpu"
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    _refuse_missing(device, torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return device


def _check_name(device: str) -> None:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ConfigError(f"device {device!r} is unknown: use auto, cpu, cuda or cuda:N.")


def _refuse_missing(device: str, available: int) -> None:
    if int(device.partition(":")[2] or 0) >= available:
        raise ConfigError(
            f"device {device!r} was asked for, and {available} CUDA devices are here: use "
            "--device cpu, or look with 'dafxtool doctor'."
        )


def _free_memory() -> int:
    """Return the bytes of memory that can be taken without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


# --- the machine --------------------------------------------------------------------------------


def usable_cores() -> int:
    """Return the number of cores that this process may use, at most those of the machine."""
    import psutil

    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # macOS has none
        return len(process.cpu_affinity())
    return os.cpu_count() or 1
