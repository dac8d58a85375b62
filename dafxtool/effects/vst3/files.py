"""Find plugin bundles; which may be loaded."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path

from dafxtool.effects.effect import Effect
from dafxtool.errors import PluginError

_allowed: set[Path] = set()  # plugins that the user has named


def allow(path: Path | str) -> None:
    """Let effects from files use a plugin that lies in none of plugin_folders()."""
    _allowed.add(_without_dots(path))


def _without_dots(path: Path | str) -> Path:
    """Absolute; links stay links, since plugin folders are made of them at times.

    But not before "..": there the system goes up from where the link leads, and a host that
    shortens the text would load another file than the one that is looked at.
    """
    return Path(path).resolve() if ".." in Path(path).parts else Path(path).absolute()


def check_allowed(path: str) -> None:
    """A file or a checkpoint names plugins; that of a stranger shall not choose what is run."""
    plugin = _without_dots(path)
    folders = {_without_dots(folder) for folder in plugin_folders()}
    if plugin in _allowed or folders & {*plugin.parents}:
        return
    raise PluginError(
        f"{path} is named in a file and lies in none of the folders for plugins, so it is not run: "
        "put it there, or name its folder in VST3_PATH, if you know where it comes from."
    )


def plugin_folders() -> list[Path]:
    """Where VST3 plugins are looked for: $VST3_PATH first, then the system's usual places."""
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
    """The absolute path of a plugin, given as a path or as the bare name of an installed one."""
    given = Path(path).expanduser()
    if given.exists():
        return _without_dots(given)
    if given.name == str(path):
        for folder in plugin_folders():
            for name in (given.name, f"{given.name}.vst3"):
                if (folder / name).exists():
                    return (folder / name).absolute()
    folders = ", ".join(str(folder) for folder in plugin_folders())
    raise PluginError(
        f"there is no plugin {path}: give the path of a .vst3, or the name of one in {folders}."
    )


def plugin_binary(path: Path) -> Path:
    """The file with this machine's code in a VST3 bundle (which may be that file itself)."""
    if path.is_file() and path.suffix.lower() == ".vst3":
        return path
    contents = path / "Contents"
    if not contents.is_dir():
        raise PluginError(f"{path} is no VST3 plugin: give a .vst3 file or bundle.")
    wanted = _architecture()
    binaries = sorted(file for file in (contents / wanted).glob("*") if file.is_file())
    if not binaries:
        others = sorted(
            folder.name
            for folder in contents.iterdir()
            if folder.is_dir() and folder.name != "Resources"
        )
        raise PluginError(
            f"{path} is made for {', '.join(others) or 'no machine'}, not for {wanted}: "
            f"get the plugin for this kind of machine."
        )
    same_name = [file for file in binaries if file.stem == path.stem]
    return (same_name or binaries)[0]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


_unchanged: set[tuple[str, str]] = set()  # path and hash of plugins that were looked at


def check_unchanged(effect: Effect) -> None:
    """PluginError when the plugin's file is not the one that effect was read from."""
    if effect.plugin is None:
        return
    path = find_plugin(effect.plugin.path)
    if sha256_of(plugin_binary(path)) != effect.plugin.sha256:
        raise PluginError(
            f"{path} is not the file that {effect.name!r} was rendered with (version "
            f"{effect.plugin.version}): install that version, or render anew."
        )


def _architecture() -> str:
    """The folder for this machine in a VST3 bundle."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower())
    machine = machine or platform.machine().lower()
    if sys.platform == "darwin":
        return "MacOS"
    return f"{machine}-win" if sys.platform == "win32" else f"{machine}-linux"
