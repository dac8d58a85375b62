"""Convert effects and recordings to tables and back: one line each, one column per property.

An effect is one line of `effects`, with a line of `parameters` for each of its parameters; choices,
curves and left-out parameters of plugins have tables of their own. Labels hold them as plain
dicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.storage.layout import (
    FileProblem,
    decode_text,
    encode_text,
    text_type,
)

TEXT = "text"
Columns = Mapping[str, str]  # name -> TEXT or a numpy type
EFFECTS: Columns = {
    "name": TEXT,
    "summary": TEXT,
    "is_plugin": "u1",
    "plugin_path": TEXT,
    "plugin_name": TEXT,
    "plugin_version": TEXT,
    "plugin_sha256": TEXT,
    "plugin_channels": "<i4",
    "plugin_sample_rate": "<i4",
    "plugin_repeatable": "u1",
    "plugin_output": TEXT,
    "plugin_latency": "<i4",  # samples
    "plugin_remarks": TEXT,
    "is_recorded": "u1",  # 1 for an imported effect, which cannot be applied
}
# Columns that the first files do not have.
LATER_COLUMNS = ("plugin_output", "plugin_latency", "plugin_remarks", "is_recorded")
# The stages of chains. A chain has its own lines in the other tables; its parameters are those of
# its stages in their order, with the stage and a point before their name.
STAGES: Columns = {"effect": TEXT, "stage": TEXT, "n_parameters": "<i4", **EFFECTS}
PARAMETERS: Columns = {
    "effect": TEXT,
    "name": TEXT,
    "unit": TEXT,
    "minimum": "<f8",
    "maximum": "<f8",
    "default": "<f8",
    "usual_minimum": "<f8",  # what is drawn and swept; NaN where that is the whole range
    "usual_maximum": "<f8",
    "scale": TEXT,
    "description": TEXT,
    "plugin_index": "<i4",  # -1 for a built-in effect
}
CHOICES: Columns = {"effect": TEXT, "parameter": TEXT, "choice": TEXT, "position": "<f8"}
CURVES: Columns = {"effect": TEXT, "parameter": TEXT, "position": "<f8", "value": "<f8"}
LEFT_OUT: Columns = {"effect": TEXT, "name": TEXT, "reason": TEXT}
RECORDINGS: Columns = {
    "path": TEXT,
    "folder": TEXT,
    "split": TEXT,
    "sample_rate": "<i4",
    "n_channels": "<i4",
    "n_samples_native": "<i8",
    "n_samples": "<i8",
    "track": "<i8",
    "channel": TEXT,  # that was read; empty where it is unknown
    "digest": TEXT,  # of the content, as of audio.fingerprint; empty where it is unknown
    "sketch": TEXT,
}
PARTS: Columns = {"name": TEXT, "start": "<i8", "stop": "<i8"}
COLUMNS = {
    "effects": EFFECTS,
    "parameters": PARAMETERS,
    "choices": CHOICES,
    "curves": CURVES,
    "left_out": LEFT_OUT,
    "stages": STAGES,
    "recordings": RECORDINGS,
    "parts": PARTS,
}


def make_table(name: str, rows: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    """Build the table `name`, without columns that no row has."""
    known = COLUMNS[name]
    columns = {each: kind for each, kind in known.items() if any(each in row for row in rows)}
    values: dict[str, Any] = {}
    types: list[tuple[str, Any]] = []
    for column, kind in columns.items():
        if kind == TEXT:
            values[column] = [encode_text(str(row[column])) for row in rows]
            types.append((column, text_type(max(map(len, values[column])))))
        else:
            values[column] = [row[column] for row in rows]
            types.append((column, kind))
    table = np.zeros(len(rows), np.dtype(types or [(next(iter(known)), text_type(1))]))
    for column in columns:
        table[column] = values[column]
    return table


def read_table(name: str, table: NDArray[Any]) -> list[dict[str, Any]]:
    """Read the rows of a table as dicts. FileProblem for a column of another type."""
    columns: dict[str, list[Any]] = {}
    for column, kind in COLUMNS[name].items():
        if column not in (table.dtype.names or ()):
            continue
        dtype = table.dtype[column]
        kinds = "S" if kind == TEXT else "f" if kind == "<f8" else "iu"
        if dtype.kind not in kinds or dtype.shape:
            raise FileProblem(
                f"column {column!r} of the table {name!r} has type {dtype}, expected "
                f"{'fixed-length text' if kind == TEXT else kind.strip('<')}"
            )
        values = table[column].tolist()
        columns[column] = [decode_text(each) for each in values] if kind == TEXT else values
    if not columns:
        raise FileProblem(f"the table {name!r} has no column {next(iter(COLUMNS[name]))!r}")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


# Effects


def effect_tables(effects: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Make the tables of effects (as of Effect.to_dict()), without the empty ones."""
    lines: dict[str, list[dict[str, Any]]] = {
        "effects": [_effect_line(effect) for effect in effects],
        **{name: [] for name in ("parameters", "choices", "curves", "left_out", "stages")},
    }
    if any(effect.get("is_recorded") for effect in effects):
        for line, effect in zip(lines["effects"], effects, strict=True):
            line["is_recorded"] = effect.get("is_recorded", False)
    for effect in effects:
        name, indices = effect["name"], _plugin_indices(effect)
        for parameter, index in zip(effect["parameters"], indices, strict=True):
            line = {each: parameter[each] for each in PARAMETERS if each in parameter}
            usual = parameter.get("usual") or (np.nan, np.nan)
            line |= {"usual_minimum": usual[0], "usual_maximum": usual[1]}
            lines["parameters"].append({**line, "effect": name, "plugin_index": index})
            keys = {"effect": name, "parameter": parameter["name"]}
            positions, values = parameter["positions"], parameter["values"]
            if parameter["choices"]:
                choice_positions = positions or [np.nan] * len(parameter["choices"])
                lines["choices"] += [
                    {**keys, "choice": choice, "position": position}
                    for choice, position in zip(parameter["choices"], choice_positions, strict=True)
                ]
            else:
                lines["curves"] += [
                    {**keys, "position": position, "value": value}
                    for position, value in zip(positions, values, strict=True)
                ]
        lines["left_out"] += [
            {"effect": name, "name": parameter_name, "reason": reason}
            for parameter_name, reason in _left_out(effect)
        ]
        lines["stages"] += [
            {
                "effect": name,
                "stage": stage["label"],
                "n_parameters": len(stage["effect"]["parameters"]),
                **_effect_line(stage["effect"]),
            }
            for stage in effect.get("stages", ())
        ]
    return {name: make_table(name, rows) for name, rows in lines.items() if rows}


def _plugin_indices(effect: Mapping[str, Any]) -> list[int]:
    """Return the index of each parameter in its plugin; -1 without a plugin."""
    if effect.get("stages"):
        return [i for stage in effect["stages"] for i in _plugin_indices(stage["effect"])]
    plugin = effect["plugin"] or {}
    return list(plugin.get("indices", ())) or [-1] * len(effect["parameters"])


def _left_out(effect: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (name, reason) of parameters of plugins that are no parameters of the effect."""
    if effect.get("stages"):
        return [
            (f"{stage['label']}.{name}", reason)
            for stage in effect["stages"]
            for name, reason in _left_out(stage["effect"])
        ]
    plugin = effect["plugin"] or {}
    return [(name, reason) for name, reason in plugin.get("left_out", ())]


def _effect_line(effect: Mapping[str, Any]) -> dict[str, Any]:
    plugin = effect["plugin"] or {}
    return {
        "name": effect["name"],
        "summary": effect["summary"],
        "is_plugin": bool(plugin),
        "plugin_path": plugin.get("path", ""),
        "plugin_name": plugin.get("plugin_name") or "",
        "plugin_version": plugin.get("version", ""),
        "plugin_sha256": plugin.get("sha256", ""),
        "plugin_channels": plugin.get("n_channels", 0),
        "plugin_sample_rate": plugin.get("sample_rate", 0),
        "plugin_repeatable": plugin.get("repeatable", True),
        "plugin_output": plugin.get("output_channel", "left"),
        "plugin_latency": plugin.get("latency_samples", 0),
        "plugin_remarks": "; ".join(plugin.get("remarks", ())),
    }


def read_effects(
    names: Sequence[str],
    tables: Mapping[str, NDArray[Any]],
    settings: Mapping[str, tuple[list[str], NDArray[np.float64]]],
) -> list[dict[str, Any]]:
    """Read the descriptions of effects, as of Effect.to_dict().

    names     of the effects, in the order of their indices
    settings  effect -> (names, values) of the columns of its settings table; they describe the
              parameters where there is no table of parameters
    """
    rows = {name: read_table(name, table) for name, table in tables.items() if name in COLUMNS}
    described = {
        line["name"]: line for line in _require_columns(rows.get("effects"), "effects", "name")
    }
    if described and list(described) != list(names):
        raise FileProblem(
            f"the table 'effects' names {', '.join(described)}, the array 'effect' "
            f"{', '.join(names)}: expected the same names in the same order"
        )
    if "parameters" in rows:
        lines = _require_columns(rows["parameters"], "parameters", "effect", "name")
        parameters = {
            name: [dict(line) for line in lines if line["effect"] == name] for name in names
        }
        unknown = sorted({line["effect"] for line in lines} - set(names))
        if unknown:
            raise FileProblem(f"the table 'parameters' names an unknown effect {unknown[0]!r}")
    else:
        parameters = {
            name: [_parameter_of_column(*column) for column in zip(columns, values.T, strict=True)]
            for name, (columns, values) in settings.items()
        }
    by_parameter = {
        name: _group_by_parameter(rows.get(name, ()), name) for name in ("choices", "curves")
    }
    stages = _require_columns(
        rows.get("stages"), "stages", "effect", "stage", "n_parameters", "name"
    )
    effects = []
    for name in names:
        line, left_out = described.get(name, {}), _pairs_left_out(rows.get("left_out", ()), name)
        parameter_lines = parameters.get(name, ())
        effect = {
            "name": name,
            "summary": line.get("summary", ""),
            "parameters": [
                _parameter(name, each, by_parameter["choices"], by_parameter["curves"])
                for each in parameter_lines
            ],
            "plugin": _plugin(line, parameter_lines, left_out),
        }
        if line.get("is_recorded"):
            effect["is_recorded"] = True
        own_stages = [each for each in stages if each["effect"] == name]
        if own_stages:
            effect["stages"] = _stages(own_stages, effect, parameter_lines, left_out)
        effects.append(effect)
    return effects


def _pairs_left_out(rows: Iterable[Mapping[str, Any]], effect: str) -> list[list[str]]:
    return [[each["name"], each["reason"]] for each in rows if each["effect"] == effect]


def _stages(
    stages: Sequence[Mapping[str, Any]],
    chain: Mapping[str, Any],
    parameter_lines: Sequence[Mapping[str, Any]],
    left_out: Sequence[Sequence[str]],
) -> list[dict[str, Any]]:
    """Read the stages of a chain from their lines and from the parameters of the chain."""
    counts = [int(each["n_parameters"]) for each in stages]
    if min(counts) < 0 or sum(counts) != len(parameter_lines):
        raise FileProblem(
            f"the stages of {chain['name']!r} have {sum(counts)} parameters, the table "
            f"'parameters' {len(parameter_lines)}"
        )
    described, first = [], 0
    for stage, count in zip(stages, counts, strict=True):
        own, prefix = slice(first, first + count), f"{stage['stage']}."
        parameters = [dict(each) for each in chain["parameters"][own]]
        for each in parameters:
            if not each["name"].startswith(prefix):
                raise FileProblem(
                    f"the parameter {each['name']!r} of {chain['name']!r} is not of its stage "
                    f"{stage['stage']!r}"
                )
            each["name"] = each["name"].removeprefix(prefix)
        mine = [[n.removeprefix(prefix), why] for n, why in left_out if n.startswith(prefix)]
        effect = {
            "name": stage["name"],
            "summary": stage.get("summary", ""),
            "parameters": parameters,
            "plugin": _plugin(stage, parameter_lines[own], mine),
        }
        described.append({"label": stage["stage"], "effect": effect})
        first += count
    return described


def _require_columns(
    rows: Sequence[dict[str, Any]] | None, table: str, *required: str
) -> Sequence[dict[str, Any]]:
    """Return the rows. FileProblem where a required column is missing."""
    for column in required:
        if rows and column not in rows[0]:
            raise FileProblem(f"the table {table!r} has no column {column!r}")
    return rows or ()


def _group_by_parameter(
    rows: Iterable[dict[str, Any]], table: str
) -> dict[tuple[str, str], list[Any]]:
    """Group the lines of a table by (effect, parameter)."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for line in _require_columns(list(rows), table, *COLUMNS[table]):
        groups.setdefault((line["effect"], line["parameter"]), []).append(line)
    return groups


def _parameter(
    effect: str,
    line: Mapping[str, Any],
    choices: Mapping[tuple[str, str], list[Any]],
    curves: Mapping[tuple[str, str], list[Any]],
) -> dict[str, Any]:
    name = line["name"]
    choice_lines, curve = choices.get((effect, name), []), curves.get((effect, name), [])
    positions = [each["position"] for each in choice_lines or curve]
    usual = [line.get("usual_minimum", np.nan), line.get("usual_maximum", np.nan)]
    for column in ("minimum", "maximum"):
        if column not in line:
            raise FileProblem(f"the table 'parameters' has no column {column!r}")
    return {
        "name": name,
        "unit": line.get("unit", ""),
        "minimum": line["minimum"],
        "maximum": line["maximum"],
        "default": line.get("default", line["minimum"]),
        "scale": line.get("scale", "linear"),
        "description": line.get("description", ""),
        "choices": [each["choice"] for each in choice_lines],
        "positions": [] if np.isnan(positions).any() else positions,
        "values": [each["value"] for each in curve],
        "usual": [] if np.isnan(usual).any() else usual,
    }


def _parameter_of_column(name: str, values: NDArray[np.float64]) -> dict[str, Any]:
    """Describe a parameter by the values of its settings alone."""
    rounded = np.float32(values).astype(float)  # Parameter stores float32 limits
    if not len(rounded) or not np.isfinite(rounded).all():
        raise FileProblem(f"the settings of {name!r} are not all finite numbers")
    default = float(np.sort(rounded)[len(rounded) // 2])
    return {
        "name": name,
        "minimum": float(rounded.min()),
        "maximum": float(rounded.max()),
        "default": default,
    }


def _plugin(
    line: Mapping[str, Any],
    parameters: Sequence[Mapping[str, Any]],
    left_out: Sequence[Sequence[str]],
) -> dict[str, Any] | None:
    if not line.get("is_plugin"):
        return None
    missing = [each for each in EFFECTS if each not in line and each not in LATER_COLUMNS]
    if missing:
        raise FileProblem(f"the table 'effects' has no column {missing[0]!r}")
    if not line["plugin_path"] or line["plugin_channels"] < 1:
        raise FileProblem(f"the plugin of {line['name']!r} has no path or no channels")
    indices = [parameter.get("plugin_index", -1) for parameter in parameters]
    return {
        "path": line["plugin_path"],
        "plugin_name": line["plugin_name"] or None,
        "version": line["plugin_version"],
        "sha256": line["plugin_sha256"],
        "n_channels": line["plugin_channels"],
        "sample_rate": line["plugin_sample_rate"],
        "indices": indices if min(indices, default=-1) >= 0 else [],
        "left_out": [list(each) for each in left_out],
        "repeatable": bool(line["plugin_repeatable"]),
        "output_channel": line.get("plugin_output") or "left",
        "latency_samples": line.get("plugin_latency", 0),
        "remarks": [each for each in line.get("plugin_remarks", "").split("; ") if each],
    }


# Recordings


def read_recordings(
    table: NDArray[Any], splits: Sequence[str], sample_rate: int, n_samples: Sequence[int]
) -> list[dict[str, Any]]:
    """Read the table of recordings, and complete missing columns.

    splits       split of the rows of each recording
    sample_rate  of the rows, in Hz
    n_samples    minimum length of each recording, at that rate
    """
    rows = _require_columns(read_table("recordings", table), "recordings", "path")
    if rows and not set(RECORDINGS) - set(rows[0]):
        return list(rows)
    complete = []
    for index, (row, split, length) in enumerate(zip(rows, splits, n_samples, strict=True)):
        defaults = {"folder": PurePath(row["path"]).parent.name, "split": split, "n_channels": 1}
        defaults |= {"sample_rate": sample_rate, "n_samples": length, "track": index}
        defaults |= {"channel": "", "digest": "", "sketch": ""} | row
        complete.append({**defaults, "n_samples_native": defaults["n_samples"]} | row)
    return complete
