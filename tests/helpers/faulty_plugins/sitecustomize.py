"""Python imports this at its start, where its folder is in PYTHONPATH: mad plugins.

Files called NAME-anything.vst3 then are plugins that misbehave as NAME says, in every process that
loads them; whatever needs no plugin is as it was. They stand in for compiled ones: crash, hang and
print happen in native code, with Python waiting for it.
"""

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from pathlib import Path


class Knob:
    name, label, num_steps, is_automatable = "Drive", "dB", 0, True

    def __init__(self):
        self.raw_value = 0.5

    def get_text_for_raw_value(self, raw):
        return f"{40 * raw:.2f}"

    @property
    def string_value(self):
        return self.get_text_for_raw_value(self.raw_value)


class ReloadType:
    """pedalboard's private property."""

    def __get__(self, plugin, kind=None):
        return self

    def __set__(self, plugin, value):
        pass


def crash():
    if sys.platform == "win32":  # where ctypes would make an OSError of it
        faulthandler._sigsegv()
    ctypes.string_at(0)


def hang():
    """With the interpreter's lock, as native code may."""
    if sys.platform == "win32":
        ctypes.PyDLL("kernel32").Sleep(3_600_000)
    else:
        ctypes.PyDLL(None).sleep(3600)


def spit():
    block = b"mad plugin! " * 1000
    for _ in range(400):
        os.write(1, block)
        os.write(2, block)


class MadPlugin:
    version, manufacturer_name, is_effect, _reload_type = "1.0", "Nobody", True, ReloadType()

    @staticmethod
    def get_plugin_names_for_file(path):
        return [Path(path).stem]

    def __init__(self, path, plugin_name=None, initialization_timeout=None, parameter_values=None):
        self.path = Path(path)
        self.name = self.path.stem
        self.deed = self.name.partition("-")[0]
        self._parameters = [Knob()]
        self.n_processed = 0
        {"loadcrash": crash, "loadhang": hang}.get(self.deed, int)()
        if self.deed == "loadslow":
            time.sleep(1.0)

    @property
    def parameters(self):
        return {"drive": self._parameters[0]}

    def reset(self):
        pass

    def process(self, audio, sample_rate, *arguments, **options):
        if abs(audio).max() < 0.1:  # when it is only looked at, it behaves
            return audio.copy()
        return self.misbehave(audio)

    def misbehave(self, audio):
        once = self.path.with_name(f"{self.name}.once")
        loud = self._parameters[0].raw_value > 0.5
        if self.deed == "once" and not once.exists():
            once.touch()
            crash()
        self.n_processed += 1
        if self.deed == "idle":
            if self.n_processed == 1:
                threading.Thread(target=self.crash_later, daemon=True).start()
            time.sleep(0.1)
        if self.deed == "crash" or (self.deed == "sometimes" and loud):
            crash()
        if self.deed == "killed":
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        if self.deed == "exit":
            os._exit(3)
        if self.deed == "hang":
            hang()
        if self.deed == "spit":
            spit()
        if self.deed == "raise":
            raise RuntimeError("I would rather not.")
        if self.deed == "nan":
            audio = audio * float("nan")
        if self.deed == "infinite":
            audio = audio + float("inf")
        if self.deed == "silence":
            audio = audio * 0
        if self.deed == "shape":
            audio = audio[:, :-7]
        return audio / 2

    def crash_later(self):
        """In a thread of its own, while the others wait for work."""
        time.sleep(0.6)
        if self.n_processed == 1:
            crash()


def install():
    import pedalboard

    pedalboard.VST3Plugin = MadPlugin


def needs_plugins():
    return "DAFXTOOL_MAD_PLUGINS" in os.environ


if needs_plugins():
    try:
        install()
    except ImportError:
        print("no pedalboard: no mad plugins", file=sys.stderr)
