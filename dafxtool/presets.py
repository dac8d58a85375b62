"""Configurations: the presets, TOML files over them, single values over those.

A Configuration is a tree of frozen dataclasses, two levels deep: sections of plain values. It is
written whole into every run (`config.toml`), every file and every checkpoint, and read back by
`from_dict`, which refuses a key that nobody reads.
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
    """A preset, with a TOML file over it, with single values over that.

    overrides  section -> key -> value; a value of None is no override
    fallback   the preset when neither the argument nor the file names one
    """
    from_file = read_toml(file) if file else {}
    name = preset or str(from_file.get("preset", fallback))
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is unknown: use {', '.join(PRESETS)}.")
    tree = PRESETS[name].to_dict()
    _merge(tree, from_file, str(file))
    tree["preset"] = name
    source = str(file) if file else "the configuration"
    return overridden(from_dict(tree, source), overrides or {})


def overridden(
    configuration: Configuration, overrides: Mapping[str, Mapping[str, Any]]
) -> Configuration:
    """The configuration with single values over it: section -> key -> value or None."""
    tree = configuration.to_dict()
    for section, values in overrides.items():
        given = {key: value for key, value in values.items() if value is not None}
        _merge(tree, {section: given}, "the command line")
    # The spectrogram's segment is the segment.
    for key in ("sample_rate", "n_samples"):
        tree["spectrogram"][key] = tree["segments"][key]
    return from_dict(tree)


def from_dict(tree: Mapping[str, Any], source: str = "the configuration") -> Configuration:
    """The Configuration that `to_dict` gave."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values[key] = section_from(SECTIONS[key], value, source) if key in SECTIONS else value
    return _build(Configuration, values, source)


def section_from(kind: type, values: Any, source: str = "the configuration") -> Any:
    """A section's dataclass from plain values."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source} has {values!r} where a table of values was wanted.")
    return _build(
        kind, {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}, source
    )


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: check the name given to --config.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # numbers too long and tables too deep as well
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path} is no TOML file: {reason}.") from error


def to_toml(configuration: Configuration) -> str:
    """The configuration as a TOML file that `--config` takes."""
    import tomli_w

    return tomli_w.dumps(configuration.to_dict())


def with_segments_of(
    configuration: Configuration, sample_rate: int, n_samples: int
) -> Configuration:
    """The configuration for segments that exist already."""
    size: dict[str, Any] = {"sample_rate": sample_rate, "n_samples": n_samples}
    return replace(
        configuration,
        segments=replace(configuration.segments, **size),
        spectrogram=replace(configuration.spectrogram, **size),
    )


def _merge(tree: dict[str, Any], values: Mapping[str, Any], source: str) -> None:
    for key, value in values.items():
        if key not in tree:
            raise ConfigError(
                f"{source} has the key {key[:60]!r}, which nobody reads: "
                f"{near_names(key, list(tree))}"
            )
        if isinstance(tree[key], dict):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{source} has {key} = {value!r}: wanted a table, [{key}].")
            _merge(tree[key], value, f"{source} [{key}]")
        else:
            tree[key] = _as_type_of(tree[key], value, f"{source}: {key}")


def _as_type_of(example: Any, value: Any, where: str) -> Any:
    """The value in the type of the one that it replaces: 1 is a fine float, "1" is not."""
    if isinstance(example, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} is {value}: wanted a number, such as {example!r}.")
    if isinstance(example, list) and isinstance(value, (list, tuple)):
        kind = type(example[0]) if example else str  # an empty list is one of patterns
        if any(type(item) is not kind for item in value):
            raise ConfigError(f"{where} is {list(value)!r}: wanted a list of {kind.__name__}.")
        return list(value)
    if type(example) is not type(value):
        raise ConfigError(
            f"{where} is {value!r}: wanted {type(example).__name__}, such as {example!r}."
        )
    return value


def _build(kind: type, values: dict[str, Any], source: str) -> Any:
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(
            f"{source} has the key {unknown[0]!r}, which nobody reads: use "
            f"{', '.join(sorted(known))}."
        )
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{source} has values of the wrong type: {error}.") from error
    except ConfigError as error:
        if source == "the configuration":
            raise
        raise ConfigError(f"{source} will not do: {error}") from error
