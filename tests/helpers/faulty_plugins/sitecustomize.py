"""Replace VST3 plugins by faulty ones: Python imports this at its start from PYTHONPATH.

A file FAULT-anything.vst3 then is a plugin with that fault, in every process that loads it; nothing
else changes. These plugins stand for compiled ones: they crash, hang and print in native code,
while Python waits.
"""

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from pathlib import Path


class FakeParameter:
    """A parameter, with the attributes of pedalboard."""

    name, label, num_steps, is_automatable = "Drive", "dB", 0, True

    def __init__(self):
        self.raw_value = 0.5

    def get_text_for_raw_value(self, raw):
        return f"{40 * raw:.2f}"

    @property
    def string_value(self):
        return self.get_text_for_raw_value(self.raw_value)


class ReloadType:
    """A private property of pedalboard's plugins."""

    def __get__(self, plugin, kind=None):
        return self

    def __set__(self, plugin, value):
        pass


def crash():
    """End the process by a segmentation fault."""
    if sys.platform == "win32":  # ctypes would raise OSError
        faulthandler._sigsegv()
    ctypes.string_at(0)


def hang():
    """Sleep while holding the interpreter's lock, as native code may."""
    if sys.platform == "win32":
        ctypes.PyDLL("kernel32").Sleep(3_600_000)
    else:
        ctypes.PyDLL(None).sleep(3600)


def print_much():
    """Write about 10 MB to standard output and standard error."""
    block = b"faulty plugin! " * 1000
    for _ in range(400):
        os.write(1, block)
        os.write(2, block)


def fresh_memory(audio):
    """Add what fresh memory of the C library holds, as a plugin that forgets to clear a buffer."""
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    address = library.malloc(1000)
    held = sum(ctypes.string_at(address, 1000))
    library.free(address)
    return audio / 2 + audio.dtype.type(held / 1e6)


def process_id(audio):
    """Add what differs from process to process whatever fresh memory holds."""
    return audio / 2 + audio.dtype.type(os.getpid() % 1000 / 1e4)


def dry_left(audio):
    """Put the input on the left output and the effect on the right one; accept stereo only."""
    if len(audio) != 2:
        raise ValueError("does not support 1-channel output")
    wet = audio.copy()
    wet[1] = audio[1] ** 3
    return wet


STEREO = {"dryleft": dry_left}
READS_MEMORY = {"memory": fresh_memory, "process": process_id}


class FaultyPlugin:
    """A plugin that halves the level, with the fault in its name."""

    version, manufacturer_name, is_effect, _reload_type = "1.0", "Nobody", True, ReloadType()

    @staticmethod
    def get_plugin_names_for_file(path):
        return [Path(path).stem]

    def __init__(self, path, plugin_name=None, initialization_timeout=None, parameter_values=None):
        self.path = Path(path)
        self.name = self.path.stem
        self.fault = self.name.partition("-")[0]
        self._parameters = [FakeParameter()]
        self.n_processed = 0
        {"loadcrash": crash, "loadhang": hang}.get(self.fault, int)()
        if self.fault == "loadslow":
            time.sleep(1.0)

    @property
    def parameters(self):
        return {"drive": self._parameters[0]}

    def reset(self):
        pass

    def process(self, audio, sample_rate, *arguments, **options):
        if self.fault in {**READS_MEMORY, **STEREO}:
            return {**READS_MEMORY, **STEREO}[self.fault](audio)
        if abs(audio).max() < 0.2505:  # the trials of an audit, softer than segments: no fault
            return audio.copy()
        return self.process_with_fault(audio)

    def process_with_fault(self, audio):
        once = self.path.with_name(f"{self.name}.once")
        loud = self._parameters[0].raw_value > 0.5
        if self.fault == "once" and not once.exists():
            once.touch()
            crash()
        self.n_processed += 1
        if self.fault == "idle":
            if self.n_processed == 1:
                threading.Thread(target=self.crash_later, daemon=True).start()
            time.sleep(0.1)
        if self.fault == "crash" or (self.fault == "sometimes" and loud):
            crash()
        if self.fault == "killed":
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        if self.fault == "exit":
            os._exit(3)
        if self.fault == "hang":
            hang()
        if self.fault == "print":
            print_much()
        if self.fault == "raise":
            raise RuntimeError("I would rather not.")
        if self.fault == "nan":
            audio = audio * float("nan")
        if self.fault == "infinite":
            audio = audio + float("inf")
        if self.fault == "silence":
            audio = audio * 0
        if self.fault == "shape":
            audio = audio[:, :-7]
        return audio / 2

    def crash_later(self):
        """Crash in a thread of the plugin, while its process waits for work."""
        time.sleep(0.6)
        if self.n_processed == 1:
            crash()


def install():
    """Make pedalboard load faulty plugins."""
    import pedalboard

    pedalboard.VST3Plugin = FaultyPlugin


if "DAFXTOOL_FAULTY_PLUGINS" in os.environ:
    try:
        install()
    except ImportError:
        print("pedalboard is not installed: no faulty plugins", file=sys.stderr)
