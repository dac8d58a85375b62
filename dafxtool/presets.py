"""Build configurations from presets, TOML files and single values.

Single values override the TOML file, and the file overrides the preset. A Configuration is a tree
of frozen dataclasses, two levels deep: sections of plain values. Every run (`config.toml`), file
and checkpoint contains a complete one. `from_dict` reads it and refuses unknown keys.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from dafxtool.config import (
    Configuration,
    ModelConfig,
    SegmentConfig,
    SpectrogramConfig,
    SplitConfig,
    TrainingConfig,
)
from dafxtool.errors import ConfigError, InputError
from dafxtool.utils.text import near_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


SECTIONS: dict[str, type] = {
    "segments": SegmentConfig,
    "split": SplitConfig,
    "spectrogram": SpectrogramConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
}

PRESETS: dict[str, Configuration] = {
    # The report's model, loss and optimiser, as they were.
    "week6": Configuration(
        preset="week6",
        spectrogram=SpectrogramConfig(n_fft=4096, hop_length=2048, window_length=4096),
        model=ModelConfig(
            architecture="convolutional",
            channels=(8, 16, 32, 32),
            n_latent=2048,
            n_effect=0,
            n_style=0,
            n_blocks=0,
            n_components=1,
        ),
        training=TrainingConfig(
            batch_size=8,
            learning_rate=1e-5,
            schedule="constant",
            warmup_steps=0,
            max_steps=60_000,
            annealing="constant",
            annealing_steps=1,
            beta=1.0,
            gradient_clip=0.0,
            label_weight=0.0,
            validate_every=500,
        ),
    ),
    "default": Configuration(),
    # Minutes on two cores: shorter segments, a narrower model.
    "small": Configuration(
        preset="small",
        pairs_per_effect=150,
        segments=SegmentConfig(n_samples=65_536),
        split=SplitConfig(validation=0.2, test=0.2),
        spectrogram=SpectrogramConfig(n_samples=65_536),
        model=ModelConfig(channels=(192,), n_latent=8256, n_effect=2112, n_style=64, n_blocks=6),
        training=TrainingConfig(
            batch_size=8,
            warmup_steps=30,
            max_steps=400,
            annealing_steps=200,
            log_every=10,
            validate_every=200,
            checkpoint_every=100,
            checkpoint_seconds=20.0,
        ),
    ),
}


def configure(
    preset: str | None = None,
    file: Path | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    fallback: str = "default",
) -> Configuration:
    """Build a configuration from a preset, a TOML file and single values.

    overrides  section -> key -> value; None keeps the value of the file or preset
    fallback   preset if neither the argument nor the file names one

    ConfigError  a preset, key or value is unknown or impossible
    InputError   the file cannot be read
    """
    from_file = read_toml(file) if file else {}
    name = preset or str(from_file.get("preset", fallback))
    if preset and from_file.get("preset", preset) != preset:
        raise ConfigError(
            f"{file}: names another preset (found {from_file['preset']!r}, expected {preset!r}). "
            "Leave --preset out, or remove the line from the file."
        )
    if name not in PRESETS:
        raise ConfigError(f"preset: unknown name {name!r}. Use {', '.join(PRESETS)}.")
    tree = PRESETS[name].to_dict()
    _merge(tree, from_file, str(file))
    tree["preset"] = name
    source = str(file) if file else "the configuration"
    return override(from_dict(tree, source), overrides or {})


def override(
    configuration: Configuration, overrides: Mapping[str, Mapping[str, Any]]
) -> Configuration:
    """Return a configuration with single values replaced: section -> key -> value or None."""
    tree = configuration.to_dict()
    for section, values in overrides.items():
        options = {key: value for key, value in values.items() if value is not None}
        _merge(tree, {section: options}, "the command line")
    # The STFT always has the sample rate and length of the segments.
    for key in ("sample_rate", "n_samples"):
        tree["spectrogram"][key] = tree["segments"][key]
    return from_dict(tree)


def resume(
    saved: Configuration,
    preset: str | None,
    file: Path | None,
    overrides: Mapping[str, Mapping[str, Any]],
    run: Path,
) -> Configuration:
    """Return the configuration of a resumed run: the saved one, the file over it, then the values.

    ConfigError  the preset, or the one that the file names, is not that of the run
    """
    from_file = read_toml(file) if file else {}
    for name in (preset, from_file.get("preset")):
        if name is not None and name != saved.preset:
            raise ConfigError(
                f"{run}: cannot be resumed with another preset (found {name!r}, expected "
                f"{saved.preset!r}). Name the run to resume with --output, or start a new run."
            )
    sections = {key: value for key, value in from_file.items() if key in SECTIONS}
    return override(override(saved, sections), overrides)


def from_dict(tree: Mapping[str, Any], source: str = "the configuration") -> Configuration:
    """Build a Configuration from the result of `to_dict`.

    source  name of the file for error messages
    """
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values[key] = _build_section(SECTIONS[key], value, source) if key in SECTIONS else value
    return _build(Configuration, values, source)


def _build_section(kind: type, values: Any, source: str) -> Any:
    """Build a section's dataclass from plain values."""
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{source}: wrong type (found {values!r}, expected a table of values). Write the "
            "section as a table."
        )
    return _build(
        kind, {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}, source
    )


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    ConfigError  it is not valid TOML
    InputError   it does not exist or cannot be read
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: does not exist. Check the name given to --config.") from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}). Check its permissions."
        ) from error
    except (ValueError, RecursionError) as error:  # numbers too long and tables too deep as well
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}: not a TOML file ({reason}). Correct its syntax.") from error


def to_toml(configuration: Configuration) -> str:
    """Convert a configuration to the text of a TOML file for `--config`."""
    import tomli_w

    return tomli_w.dumps(configuration.to_dict())


def with_segments_of(
    configuration: Configuration, sample_rate: int, n_samples: int
) -> Configuration:
    """Return a configuration with the sample rate in Hz and length of existing segments."""
    size: dict[str, Any] = {"sample_rate": sample_rate, "n_samples": n_samples}
    return replace(
        configuration,
        segments=replace(configuration.segments, **size),
        spectrogram=replace(configuration.spectrogram, **size),
    )


def _merge(tree: dict[str, Any], values: Mapping[str, Any], source: str) -> None:
    """Replace values of a tree, and refuse unknown keys and wrong types."""
    for key, value in values.items():
        if key not in tree:
            raise ConfigError(f"{source}: unknown key {key[:60]!r}. {near_names(key, list(tree))}")
        if isinstance(tree[key], dict):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{source}: wrong type of {key} (found {value!r}, expected a table). Write "
                    f"[{key}]."
                )
            _merge(tree[key], value, f"{source} [{key}]")
        else:
            tree[key] = _convert(value, tree[key], f"{source}: {key}")


def _convert(value: Any, default: Any, where: str) -> Any:
    """Convert a value to the type of the default that it replaces.

    1 is accepted as a float, "1" is not.
    """
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(
            f"{where}: not a finite number (found {value}, expected for example {default!r}). "
            "Use a number."
        )
    if isinstance(default, list) and isinstance(value, (list, tuple)):
        kind = type(default[0]) if default else str  # lists with an empty default hold patterns
        if any(type(item) is not kind for item in value):
            raise ConfigError(
                f"{where}: wrong type (found {list(value)!r}, expected a list of {kind.__name__}). "
                "Correct the value."
            )
        return list(value)
    if type(default) is not type(value):
        raise ConfigError(
            f"{where}: wrong type (found {value!r}, expected {type(default).__name__}, for example "
            f"{default!r}). Correct the value."
        )
    return value


def _build(kind: type, values: dict[str, Any], source: str) -> Any:
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"{source}: unknown key {unknown[0]!r}. Use {', '.join(sorted(known))}.")
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{source}: values of the wrong type ({error}). Correct them.") from error
    except ConfigError as error:
        if source == "the configuration":
            raise
        raise ConfigError(f"{source}: {error}") from error
