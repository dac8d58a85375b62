"""Hide from dafxtool what Windows lacks, in every process whose PYTHONPATH names this folder.

Python imports this at its start. Modules, functions and signals of POSIX are then missing for code
of the package (libraries have other code for Windows, and keep them), subprocess.Popen refuses or
ignores what Windows does, files that are open are not replaced or removed, and asking for a process
with signal 0 kills it. The file that DAFXTOOL_WINDOWS_LOG names gets the process ID of each.
"""

import builtins
import ctypes
import os
import runpy
import signal
import subprocess
import sys
import types
from pathlib import Path

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
OF_OS = """
    O_ASYNC O_CLOEXEC O_DIRECT O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK O_SYNC O_TMPFILE
    WNOHANG chown chroot confstr ctermid eventfd fchdir fchown fdatasync fork forkpty
    fpathconf fstatvfs getegid geteuid getgid getgroups getloadavg getpgid getpgrp
    getpriority getsid getuid getxattr initgroups killpg lchown listxattr lockf major
    makedev memfd_create minor mkfifo mknod nice openpty pathconf pidfd_open pipe2
    posix_fadvise posix_fallocate posix_spawn posix_spawnp pread preadv pwrite pwritev readv
    register_at_fork removexattr sched_getaffinity sched_setaffinity sched_yield sendfile
    setegid seteuid setgid setgroups setpgid setpgrp setpriority setregid setreuid setsid
    setuid setxattr splice statvfs sync sysconf tcgetpgrp tcsetpgrp ttyname uname wait wait3
    wait4 waitid writev
"""
OF_SIGNAL = """
    SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP
    SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ alarm
    getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending
    sigtimedwait sigwait
"""
ERROR_SHARING_VIOLATION = 32


def asks_dafxtool(through=()):
    """Return whether the package called the caller, directly or through some libraries."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in through:
        frame = frame.f_back
    return frame.f_globals.get("__name__", "").split(".")[0] == "dafxtool"


def hide(module, hidden, **instead):
    """Hide some names of a module from the package, and replace the values of others."""

    class WindowsModule(types.ModuleType):
        def __getattribute__(self, name):
            if name in hidden and asks_dafxtool():
                raise AttributeError(f"{module.__name__} has no {name!r} on Windows")
            if name in instead and asks_dafxtool():
                return instead[name]
            return super().__getattribute__(name)

    module.__class__ = WindowsModule


class WindowsPopen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        if asks_dafxtool():
            assert not options.get("pass_fds"), "pass_fds not supported on Windows"
            assert not options.get("preexec_fn"), "preexec_fn is not supported on Windows"
            options.pop("start_new_session", None)
        super().__init__(*arguments, **options)


class WindowsCDLL(ctypes.CDLL):
    def __init__(self, name, *arguments, **options):
        if name is None and asks_dafxtool():
            raise TypeError("Windows has no library without a name")
        super().__init__(name, *arguments, **options)


def import_(name, globals=None, *arguments, **options):
    if name in MODULES and (globals or {}).get("__name__", "").split(".")[0] == "dafxtool":
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return posix_import(name, globals, *arguments, **options)


def open_(file, *arguments, **options):
    if asks_dafxtool() and str(file).startswith(("/proc", "/dev/shm")):
        raise FileNotFoundError(2, "No such file or directory", str(file))
    return posix_open(file, *arguments, **options)


def kill(process, number):
    if asks_dafxtool():
        number = 9
    posix_kill(process, number)


def replace(source, target):
    if asks_dafxtool(("pathlib",)):
        check_closed(source)
        check_closed(target)
    posix_replace(source, target)


def unlink(path, **options):
    """Remove a file; only locks may be open, because on Windows filelock removes them itself."""
    if asks_dafxtool(("pathlib",)) and Path(path).suffix != ".lock" and Path(path).name != ".lock":
        check_closed(path)
    posix_unlink(path, **options)


def check_closed(path):
    """Raise what Windows raises for a file that this process has open."""
    real, descriptors = os.path.realpath(path), "/proc/self/fd"
    for name in os.listdir(descriptors):
        try:
            is_open = os.readlink(f"{descriptors}/{name}") == real
        except OSError:
            continue
        if is_open:
            error = PermissionError(13, "The file is used by another process", os.fspath(path))
            error.winerror = ERROR_SHARING_VIOLATION
            raise error


posix_kill, posix_replace, posix_unlink = os.kill, os.replace, os.unlink
posix_open, posix_import = open, builtins.__import__

if "DAFXTOOL_WINDOWS_LOG" in os.environ:
    runpy.run_path(str(Path(__file__).parent.parent / "faulty_plugins" / "sitecustomize.py"))
    hide(os, set(OF_OS.split()))
    os.kill, os.replace, os.unlink = kill, replace, unlink
    hide(signal, set(OF_SIGNAL.split()))
    hide(subprocess, set(), Popen=WindowsPopen)
    hide(ctypes, {"PyDLL"}, CDLL=WindowsCDLL)
    hide(sys, {"abiflags"}, platform="windows-like")
    builtins.open, builtins.__import__ = open_, import_
    with posix_open(os.environ["DAFXTOOL_WINDOWS_LOG"], "a", encoding="utf-8") as log:
        log.write(f"{os.getpid()}\n")
