"""Look up chains by the names that a run or a pairs file knows them by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafxtool import storage
from dafxtool.api.arguments import EffectLike, is_hdf5
from dafxtool.effects.apply import parse_effect
from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.chain import split_text
from dafxtool.effects.effect import Effect, series_name
from dafxtool.errors import EffectError, FormatError, InputError
from dafxtool.models.checkpoint import find_checkpoint, is_pretrained, mentions, read_checkpoint

if TYPE_CHECKING:
    from dafxtool.models.run import Run


def resolve_chains(
    effects: Sequence[EffectLike], run: Run | Path | None, inputs: Iterable[Path] = ()
) -> list[EffectLike]:
    """Replace the names of chains that a run or an HDF5 file describes by these chains.

    run     None stands for the newest run here
    inputs  those that are HDF5 files are searched, too

    Other effects are returned as they are. A chain may have values: "lead:delay.time=300".
    EffectError for values that the chain does not accept.
    """
    builtin = builtin_effects()
    texts = [each for each in effects if isinstance(each, str)]
    unknown = {name for text in texts for name in _stage_names(text)} - set(builtin)
    if not unknown:
        return list(effects)
    described = [*_described_by_files(inputs), *_described_by_run(run, unknown)]  # the run wins
    chains = {each["name"]: Effect.from_dict(each) for each in described if each.get("stages")}

    def resolve(text: str) -> EffectLike:
        others = set(_stage_names(text)) - set(builtin)
        is_chain = others and others <= set(chains)
        return parse_effect(text, {**builtin, **chains}) if is_chain else text

    return [resolve(each) if isinstance(each, str) else each for each in effects]


def write_out_chain(text: str, run: Run | Path | None) -> str:
    """Return an effect as text, with the stages in place of the name of a run's chain."""
    (choice,) = resolve_chains([text], run)
    if isinstance(choice, str):
        return choice
    chain, fixed = choice
    return replace(chain, name=series_name(chain.stages)).setting_text(fixed)


def _stage_names(text: str) -> list[str]:
    """Return the names of the effects in a text, as parse_effect reads them."""
    with suppress(EffectError):  # which parse_effect reports
        return [
            stage.partition(":")[0].strip().lower().replace("_", "-")
            for stage in split_text(text)[1]
        ]
    return []


def _described_by_run(run: Run | Path | None, names: Iterable[str]) -> list[dict[str, Any]]:
    if run is not None and not isinstance(run, Path):
        return run.effects
    with suppress(InputError, FormatError):  # reported where the run is needed
        path, file = find_checkpoint(run)
        if not is_pretrained(path) and mentions(file, names):
            return list(read_checkpoint(file)["effects"])
    return []


def _described_by_files(inputs: Iterable[Path]) -> list[dict[str, Any]]:
    described = []
    for path in filter(is_hdf5, inputs):
        kind = storage.kind_of(path) if path.is_file() else None
        if kind in (storage.PAIRS, storage.SPECTROGRAMS):
            with suppress(FormatError), storage.Hdf5Reader(path, kind) as reader:
                described += reader.labels.effects
    return described
