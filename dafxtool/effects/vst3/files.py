"""Find VST3 bundles, decide which may be loaded, and verify their hashes."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path

from dafxtool.effects.effect import Effect
from dafxtool.errors import PluginError

OTHER_FORMATS = {
    ".so": "a VST2 or LADSPA plugin",
    ".dll": "a VST2 plugin",
    ".vst": "a VST2 plugin",
    ".component": "an Audio Unit",
    ".clap": "a CLAP plugin",
    ".lv2": "an LV2 plugin",
}
_allowed: set[Path] = set()  # plugins that the user has named in this process


def allow(path: Path | str) -> None:
    """Allow a plugin outside of plugin_folders() that the user has named."""
    _allowed.add(_without_dots(path))


def _without_dots(path: Path | str) -> Path:
    """Return the absolute path, with symbolic links kept: some plugin folders consist of links.

    Links are resolved only in a path with "..". There the system goes up from the link's target,
    so shortening the text would name another file than the one that is checked.
    """
    return Path(path).resolve() if ".." in Path(path).parts else Path(path).absolute()


def check_allowed(path: str) -> None:
    """Raise PluginError unless the user named the plugin or it lies in plugin_folders().

    Pairs files and checkpoints name plugins. An untrusted file must not choose which native code is
    run.
    """
    plugin = _without_dots(path)
    folders = {_without_dots(folder) for folder in plugin_folders()}
    if plugin in _allowed or folders & {*plugin.parents}:
        return
    raise PluginError(
        f"{path}: the plugin is named in a file but lies in none of the plugin folders, so it is "
        "not run. If you trust it, move it there, or add its folder to VST3_PATH."
    )


def plugin_folders() -> list[Path]:
    """Return the folders of VST3 plugins: $VST3_PATH, then the standard folders of the system."""
    listed = [Path(p) for p in os.environ.get("VST3_PATH", "").split(os.pathsep) if p]
    if sys.platform == "darwin":
        usual = [Path.home() / "Library/Audio/Plug-Ins/VST3", Path("/Library/Audio/Plug-Ins/VST3")]
    elif sys.platform == "win32":
        usual = [
            Path(os.environ.get("COMMONPROGRAMFILES", "C:/Program Files/Common Files"), "VST3")
        ]
    else:
        usual = [Path.home() / ".vst3", Path("/usr/local/lib/vst3"), Path("/usr/lib/vst3")]
    return listed + usual


def find_plugin(path: Path | str) -> Path:
    """Return the absolute path of a plugin; PluginError if there is none.

    path  of a VST3 bundle, or the bare name of an installed one, with or without ".vst3"
    """
    named = Path(path).expanduser()
    if named.exists():
        return _without_dots(named)
    if named.name == str(path):
        for folder in plugin_folders():
            for name in (named.name, f"{named.name}.vst3"):
                if (folder / name).exists():
                    return (folder / name).absolute()
    folders = ", ".join(str(folder) for folder in plugin_folders())
    raise PluginError(
        f"{path}: no plugin found. Give the path of a .vst3, or the name of one in {folders}."
    )


def plugin_binary(path: Path) -> Path:
    """Return the file with the code for this machine in a VST3 bundle (or the bundle itself).

    PluginError for a path that is no VST3 plugin, and for a plugin built for another machine.
    """
    if path.is_file() and path.suffix.lower() == ".vst3":
        return path
    if other := OTHER_FORMATS.get(path.suffix.lower()):
        raise PluginError(
            f"{path}: not a VST3 plugin (found the name of {other}, expected .vst3). Install the "
            "VST3 version of the plugin; no other format is loaded."
        )
    contents = path / "Contents"
    if not contents.is_dir():
        raise PluginError(f"{path}: not a VST3 plugin. Give a .vst3 file or bundle.")
    architecture = _architecture()
    binaries = sorted(file for file in (contents / architecture).glob("*") if file.is_file())
    if not binaries:
        others = sorted(
            folder.name
            for folder in contents.iterdir()
            if folder.is_dir() and folder.name != "Resources"
        )
        raise PluginError(
            f"{path}: built for another machine (found {', '.join(others) or 'nothing'}, expected "
            f"{architecture}). Install the build for this machine."
        )
    same_name = [file for file in binaries if file.stem == path.stem]
    return (same_name or binaries)[0]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    checksum = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum.update(block)
    return checksum.hexdigest()


_verified: set[tuple[str, str]] = set()  # path and hash of plugins that were checked here


def check_unchanged_once(effect: Effect) -> None:
    """Call check_unchanged, once for each plugin in a process."""
    assert effect.plugin is not None
    key = (effect.plugin.path, effect.plugin.sha256)
    if key not in _verified:
        check_unchanged(effect)
        _verified.add(key)


def check_unchanged(effect: Effect) -> None:
    """Raise PluginError if the plugin's file is not the one that the effect was read from."""
    if effect.plugin is None:
        return
    path = find_plugin(effect.plugin.path)
    if sha256_of(plugin_binary(path)) != effect.plugin.sha256:
        raise PluginError(
            f"{path}: not the file that {effect.name!r} was read from (expected version "
            f"{effect.plugin.version}). Install that version, or render again."
        )


def _architecture() -> str:
    """Return the name of the folder for this machine in a VST3 bundle."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower())
    machine = machine or platform.machine().lower()
    if sys.platform == "darwin":
        return "MacOS"
    return f"{machine}-win" if sys.platform == "win32" else f"{machine}-linux"
