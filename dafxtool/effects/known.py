"""Find effects by name: built-in ones, and those of plugins, which are audited on first use."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from dataclasses import replace
from pathlib import Path

from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import Effect
from dafxtool.effects.vst3.audit import VALUE_NOT_KEPT
from dafxtool.effects.vst3.behaviour import is_warning
from dafxtool.effects.vst3.examine import audited_file, audited_plugin, names_in_file
from dafxtool.effects.vst3.files import allow, find_plugin
from dafxtool.effects.vst3.preset import class_id, is_preset, read_preset
from dafxtool.errors import PluginError
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import slug


class KnownEffects(Mapping[str, Effect]):
    """Effects by name. A plugin is audited when its effect is requested, not when it is named.

    A plugin effect whose name is taken gets the suffix "-2", "-3" and so on. Names are known
    without an audit, so those of instruments are among the keys until `values` or `items` is
    called. PluginError for a file that is no plugin, at once or when its plugins are listed.

    plugin_files  VST3 files, and presets (.vstpreset) of their plugins
    """

    def __init__(
        self,
        plugin_files: Sequence[Path | str] = (),
        sample_rate: int = 24_000,
        progress: Progress = SILENT,
        with_builtin: bool = True,
    ) -> None:
        self._presets = [Path(path) for path in plugin_files if is_preset(path)]
        self._preset_settings: dict[str, dict[str, float]] = {}  # effect -> values of its preset
        self._used_presets: dict[Path, str] = {}  # and the effect
        files = [path for path in plugin_files if not is_preset(path)]
        self._files = list(dict.fromkeys(find_plugin(path) for path in files))
        for path in self._files:
            allow(path)
        self._sample_rate, self._progress = sample_rate, progress
        self._effects = builtin_effects() if with_builtin else {}
        self._plugins: dict[str, tuple[Path, str]] | None = None  # name -> file, plugin's own name

    def __getitem__(self, name: str) -> Effect:
        if name not in self._effects:
            path, own_name = self._list_plugins()[name]
            effect, _ = audited_plugin(path, own_name, self._sample_rate, self._progress)
            self._add(name, effect)
        return self._effects[name]

    def __contains__(self, name: object) -> bool:
        return name in self._effects or name in self._list_plugins()

    def __iter__(self) -> Iterator[str]:
        plugins = self._list_plugins()
        yield from (name for name in self._effects if name not in plugins)
        yield from plugins

    def __len__(self) -> int:
        return len(list(iter(self)))

    def items(self) -> ItemsView[str, Effect]:
        """Audit all plugins; return names and effects, without instruments."""
        return self._audit_all().items()

    def values(self) -> ValuesView[Effect]:
        """Return effects, all plugins audited and instruments left out."""
        return self._audit_all().values()

    def unused_files(self) -> list[Path]:
        """Return the plugin files of which no effect was requested."""
        used = {effect.plugin.path for effect in self._effects.values() if effect.plugin}
        return [path for path in self._files if str(path) not in used]

    def preset_setting(self, name: str) -> dict[str, float]:
        """Return the values that a preset gives an effect; none without a preset for it.

        PluginError for two presets of one plugin, and as of read_preset.
        """
        effect = self[name]
        if effect.plugin is None or name in self._preset_settings:
            return self._preset_settings.get(name, {})
        for path in self._presets:
            setting = read_preset(path, effect, self._progress)
            if setting is None:
                continue
            if name in self._preset_settings:
                raise PluginError(
                    f"{path}: a second preset for {name}. Choose one --plugin-preset for a plugin."
                )
            self._preset_settings[name] = setting
            self._used_presets[path] = name
        return self._preset_settings.get(name, {})

    def check_presets(self) -> None:
        """Raise PluginError for a preset that belongs to none of the requested effects."""
        for path in self._presets:
            if path not in self._used_presets:
                raise PluginError(
                    f"{path}: the preset is for another plugin (class id {class_id(path)}) than "
                    "those that are used. Name its plugin with --plugin, and its effect with "
                    "--effect."
                )

    def plugin_names(self) -> list[str]:
        """Return the effects of the plugins; with presets, those that have one."""
        names = [name for name, effect in self.items() if effect.plugin]
        if not self._presets:
            return names
        return [name for name in names if self.preset_setting(name)] or names

    def _audit_all(self) -> dict[str, Effect]:
        audits = {
            path: audited_file(path, self._sample_rate, self._progress) for path in self._files
        }
        plugins = self._list_plugins()
        for path, result in audits.items():
            own_names = {own: name for name, (file, own) in plugins.items() if file == path}
            for effect, _ in result.effects:
                own = (effect.plugin and effect.plugin.plugin_name) or next(iter(own_names))
                if own_names[own] not in self._effects:
                    self._add(own_names[own], effect)
            for own, reason in result.left_out:
                if plugins.pop(own_names[own], None):
                    self._progress.message(f"{path.name}: {own} left out ({reason}).")
        return {name: self._effects[name] for name in self}

    def _list_plugins(self) -> dict[str, tuple[Path, str]]:
        if self._plugins is None:
            plugins: dict[str, tuple[Path, str]] = {}
            for path in self._files:
                for own_name in names_in_file(path, self._progress):
                    first = name = slug(own_name)
                    number = 2
                    while name in self._effects or name in plugins:
                        name, number = f"{first}-{number}", number + 1
                    plugins[name] = (path, own_name)
            self._plugins = plugins
        return self._plugins

    def _add(self, name: str, effect: Effect) -> None:
        self._effects[name] = effect = replace(effect, name=name)
        for warning in plugin_warnings(effect):
            self._progress.message(warning)


def plugin_warnings(effect: Effect) -> list[str]:
    """Warn of parameters that do not keep their value, and of what makes a plugin's pairs useless.

    Also of an output other than the left one, and of what is done to make the plugin repeatable.
    """
    if effect.plugin is None:
        return []
    warnings = [
        f"{effect.name}: parameter {name!r} left out ({reason})."
        for name, reason in effect.plugin.left_out
        if reason in VALUE_NOT_KEPT
    ]
    if not effect.plugin.repeatable:
        warnings.append(
            f"{effect.name}: not repeatable. The same audio and setting gave different samples, or "
            "the plugin crashed in this test."
        )
    remarks = filter(is_warning, effect.plugin.remarks)
    return warnings + [f"{effect.name}: {remark}." for remark in remarks]
