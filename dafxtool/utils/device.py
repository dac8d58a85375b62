"""Where tensors live: the CPU or a CUDA device."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import torch

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


def pick_device(device: str) -> str:
    """auto becomes cuda where there is one, else cpu; a device that is not there is an error."""
    if device == "cpu":
        return "cpu"

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    name, _, number = device.partition(":")
    if name != "cuda" or (number and not number.isdigit()):
        raise ConfigError(f"device {device!r} is unknown: use auto, cpu, cuda or cuda:N.")
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= available:
        raise ConfigError(
            f"device {device!r} was asked for, and {available} CUDA devices are here: use "
            "--device cpu, or look with 'dafxtool doctor'."
        )
    return device


def _free_memory() -> int:
    """Bytes of memory that can be taken without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 4 * 2**30


# --- the machine --------------------------------------------------------------------------------


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
