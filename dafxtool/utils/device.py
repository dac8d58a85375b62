"""Choose the device of tensors, and report the machine's CUDA devices, cores and memory."""

from __future__ import annotations

import ctypes
import os
import re
from importlib.metadata import version

from dafxtool.errors import ConfigError


def n_cuda_devices() -> int:
    """Return the number of CUDA devices according to the driver.

    Calling the driver is faster than torch, which takes seconds.
    """
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
    """Raise ConfigError for a CUDA device that the driver does not have."""
    _check_name(device)
    # A torch built for ROCm calls AMD GPUs CUDA devices, but the CUDA driver does not know them.
    if device not in ("auto", "cpu") and "rocm" not in version("torch"):
        _refuse_missing(device, n_cuda_devices())


def pick_device(device: str) -> str:
    """Resolve auto to cuda if available, else cpu. Raises ConfigError for a missing device."""
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
        raise ConfigError(f"device: unknown name {device!r}. Use auto, cpu, cuda or cuda:N.")


def _refuse_missing(device: str, available: int) -> None:
    if int(device.partition(":")[2] or 0) >= available:
        raise ConfigError(
            f"device: {device!r} does not exist (found {available} CUDA devices). Use --device "
            "cpu, or check the machine with 'dafxtool doctor'."
        )


def free_memory() -> int:
    """Return the memory in bytes that can be allocated without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    import psutil

    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # not on macOS
        return len(process.cpu_affinity())
    return os.cpu_count() or 1
