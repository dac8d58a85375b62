"""Examine plugins in child processes, and remember the results.

An audit takes up to minutes, and a file may contain dozens of plugins. So a plugin is audited when
it is first used, and its audit is remembered in the user's cache folder, by the hash of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dafxtool import __version__
from dafxtool.effects.effect import Effect, PluginFile
from dafxtool.effects.vst3.audit import DEEP, PASSIVE
from dafxtool.effects.vst3.audit_result import MEMORY, Audit, InstrumentError
from dafxtool.effects.vst3.files import find_plugin, plugin_binary, sha256_of
from dafxtool.effects.vst3.host import audit, plugin_names, render_digest
from dafxtool.effects.vst3.isolation import SECONDS_BEFORE_NOTICE, time_limit_s
from dafxtool.effects.vst3.memory import OTHER_FILL, ZEROS, can_fill_memory, fill_memory
from dafxtool.effects.vst3.output_channel import chosen_output_channel
from dafxtool.errors import PluginError
from dafxtool.utils import cache, child_process
from dafxtool.utils.child_process import ChildDied, ChildProcess, ChildSilent
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import slug

# Raise it with every change of the audit: remembered audits of other versions are not used.
AUDIT_VERSION = 4
IS_INSTRUMENT = "it is an instrument, without an audio input"

_remembered: dict[tuple[str, str], Any] = {}  # kind and key -> content, in this process


@dataclass(frozen=True)
class FileAudit:
    """Audits of the plugins of a VST3 file.

    effects   with their audits
    left_out  (name, reason) of the other plugins: instruments, and plugins that fail
    """

    effects: tuple[tuple[Effect, Audit], ...]
    left_out: tuple[tuple[str, str], ...] = ()


def names_in_file(path: Path | str, progress: Progress = SILENT) -> list[str]:
    """Return the names of the plugins in a VST3 file, instruments too; PluginError if none."""
    with _examiner(path, 0, progress) as examiner:
        return examiner.names()


def audited_plugin(
    path: Path | str, name: str, sample_rate: int = 24_000, progress: Progress = SILENT
) -> tuple[Effect, Audit]:
    """Return one plugin of a VST3 file as an effect, with its audit.

    path         a VST3 file, or the bare name of an installed plugin
    name         as of names_in_file
    sample_rate  Hz

    InstrumentError for an instrument, PluginError as of load_effects.
    """
    with _examiner(path, sample_rate, progress) as examiner:
        return examiner.audit(name)


def audited_file(
    path: Path | str,
    sample_rate: int = 24_000,
    progress: Progress = SILENT,
    is_fresh: bool = False,
) -> FileAudit:
    """Audit every plugin of a VST3 file; arguments and errors as of audited_plugin.

    is_fresh  whether to audit again even if a remembered audit exists

    PluginError if no plugin is left.
    """
    effects, left_out, error = [], [], None
    with _examiner(path, sample_rate, progress, is_fresh) as examiner:
        names = examiner.names()
        for name in names:
            try:
                effects.append(examiner.audit(name))
            except InstrumentError:
                left_out.append((name, IS_INSTRUMENT))
            except PluginError as problem:
                left_out.append((name, str(problem)))
                error = problem
    if effects:
        return FileAudit(tuple(effects), tuple(left_out))
    if error is not None:
        raise error
    raise PluginError(f"{path}: contains instruments only. Give a plugin with an audio input.")


def forget() -> None:
    """Clear the audits that this process remembers, but not the cache folder."""
    _remembered.clear()


@contextmanager
def _examiner(
    path: Path | str, sample_rate: int, progress: Progress, is_fresh: bool = False
) -> Iterator[_Examiner]:
    examiner = _Examiner(find_plugin(path), int(sample_rate), progress, is_fresh)
    try:
        yield examiner
    finally:
        examiner.close()


class _CrashError(PluginError):
    """Raised if the child process ended."""


class _Examiner:
    """Examine the plugins of one file in a child process, which starts when it is needed."""

    def __init__(self, path: Path, sample_rate: int, progress: Progress, is_fresh: bool) -> None:
        self.path, self.sample_rate, self.progress = path, sample_rate, progress
        self.is_fresh = is_fresh
        self.fill = ZEROS  # of fresh memory in the child; see `memory`
        self.sha256 = sha256_of(plugin_binary(path))
        self._child: ChildProcess | None = None
        self._other: _Examiner | None = None  # whose fresh memory has another content

    def names(self) -> list[str]:
        """Return the names of the plugins in the file."""
        key = self._key()
        names = None if self.is_fresh else _recall("plugin-names", key)
        if names is None:
            names = self._ask("names", self.path)
            _remember("plugin-names", key, names)
        return list(names)

    def audit(self, name: str) -> tuple[Effect, Audit]:
        """Return a plugin as an effect, with its audit.

        InstrumentError for an instrument, PluginError if it crashes or cannot be audited.
        """
        names = self.names()
        key = self._key() | {"plugin": name, "sample_rate": self.sample_rate}
        saved = None if self.is_fresh else _recall("plugin-audits", key)
        if saved == IS_INSTRUMENT:
            raise InstrumentError(f"{name}: the plugin is an instrument. Leave it out.")
        result = _read_audit(saved)
        if result is None:
            result, depth = self._audit(name if len(names) > 1 else None, key)
            if depth == DEEP:  # a crash may have had a reason that does not last
                _remember("plugin-audits", key, result.to_dict())
            else:
                _remembered["plugin-audits", str(key)] = result.to_dict()
        else:
            self.progress.detail(f"{name}: audited before")
        return self._effect(name, name if len(names) > 1 else None, result), result

    def close(self) -> None:
        """End the child processes."""
        if self._child is not None:
            self._child.kill()
        self._child = None
        if self._other is not None:
            self._other.close()
        self._other = None

    def _key(self) -> dict[str, Any]:
        versions = {"audit": AUDIT_VERSION, "dafxtool": __version__}
        return {"sha256": self.sha256, "pedalboard": version("pedalboard"), **versions}

    def _audit(self, plugin_name: str | None, key: Mapping[str, Any]) -> tuple[Audit, int]:
        """Audit in the child; after a crash again with less depth. Also returns the depth.

        A plugin that crashes at some settings, or when its state is restored, can still be
        rendered.
        """
        for depth in range(DEEP, PASSIVE - 1, -1):
            try:
                result = self._ask("audit", self.path, plugin_name, self.sample_rate, depth)
                return self._audit_memory(plugin_name, result), depth
            except InstrumentError:
                _remember("plugin-audits", key, IS_INSTRUMENT)
                raise
            except _CrashError:
                if depth == PASSIVE:
                    raise
        raise AssertionError("unreachable")

    def _audit_memory(self, plugin_name: str | None, result: Audit) -> Audit:
        """Repeat a trial in another process whose fresh memory holds other values.

        A plugin that reads memory before it writes it then gives another output. That process is
        shared by all plugins of the file, so a difference is verified in new ones.
        """
        if not result.repeatable or not can_fill_memory():
            return result
        trial = (
            "render",
            *(self.path, plugin_name, self.sample_rate),
            *(result.n_channels, result.trial_setting),
        )
        if self._other is None:
            self._other = self._with_fill(OTHER_FILL)
        if self._other.digest(trial) == result.trial_digest:
            return result
        digests = []
        for fill in (OTHER_FILL, ZEROS):
            new = self._with_fill(fill)
            digests.append(new.digest(trial))
            new.close()
        if digests[1] != result.trial_digest:
            return replace(result, repeatable=False)
        if digests[0] == result.trial_digest:
            return result
        return replace(result, remarks=(*result.remarks, MEMORY))

    def _with_fill(self, fill: int) -> _Examiner:
        other = _Examiner(self.path, self.sample_rate, self.progress, self.is_fresh)
        other.fill = fill
        return other

    def digest(self, trial: tuple[Any, ...]) -> str:
        """Return the digest of the output of a trial; empty after a crash."""
        try:
            return str(self._ask(*trial))
        except _CrashError:
            return ""

    def _ask(self, *request: Any) -> Any:
        if self._child is None:
            self._child = ChildProcess(_start_examining, environment=fill_memory(self.fill))
        try:
            return self._child.ask(
                request,
                time_limit_s(),
                SECONDS_BEFORE_NOTICE,
                lambda: self.progress.message(
                    f"{self.path.name}: still loading and auditing. Some plugins take minutes."
                ),
            )
        except ChildDied as death:
            self.close()
            raise _CrashError(
                f"{self.path}: the plugin crashed while loading ({death}). Leave it out, or try "
                "another version."
            ) from death
        except ChildSilent as silence:
            self.close()
            raise PluginError(
                f"{self.path}: the plugin was not loaded within {time_limit_s():g} s. Raise "
                "--plugin-timeout, or leave it out."
            ) from silence

    def _effect(self, name: str, plugin_name: str | None, result: Audit) -> Effect:
        file = PluginFile(
            str(self.path),
            plugin_name,
            result.version,
            self.sha256,
            result.n_channels,
            result.sample_rate,
            result.indices,
            result.left_out,
            result.repeatable,
            self._output_channel(name, result),
            result.latency_samples,
            result.remarks,
        )
        summary = f"VST3 plugin by {result.maker}" if result.maker else "VST3 plugin"
        return Effect(slug(name), result.parameters, summary, file)

    def _output_channel(self, name: str, result: Audit) -> str:
        channel = chosen_output_channel(result.output_channel)
        if result.n_channels == 1 and channel == "side":
            raise PluginError(
                f"{self.path}: the side of {name} is silence, because it is mono. Choose another "
                "--plugin-channel."
            )
        return channel if result.n_channels == 2 else "left"


def _read_audit(saved: Any) -> Audit | None:
    with suppress(TypeError, ValueError, KeyError, AttributeError):
        return None if saved is None else Audit.from_dict(saved)
    return None


def _recall(kind: str, key: Mapping[str, Any]) -> Any:
    """Return the audit that is remembered here or in the cache folder, or None."""
    if (kind, str(key)) not in _remembered:
        content = cache.read_entry(kind, key)
        if content is None:
            return None
        _remembered[kind, str(key)] = content
    return _remembered[kind, str(key)]


def _remember(kind: str, key: Mapping[str, Any], content: Any) -> None:
    _remembered[kind, str(key)] = content
    cache.write_entry(kind, key, content)


def _start_examining() -> child_process.Answer:
    """Return the function that answers "names", "audit" and "render" with their arguments."""

    def answer(request: tuple[Any, ...], send: child_process.Send) -> Any:
        if request[0] == "names":
            return plugin_names(request[1])
        if request[0] == "render":
            return render_digest(*request[1:])
        path, plugin_name, sample_rate, depth = request[1:]
        return audit(path, plugin_name, sample_rate, depth, lambda: send("still working"))

    return answer
