"""Build the section of a report on matches of held-out pairs, with sheets and audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dafxtool import storage
from dafxtool.audio.writer import encode
from dafxtool.effects.effect import Effect
from dafxtool.latents.table import held_out
from dafxtool.matching.chain import render_chain
from dafxtool.matching.held_out import MatchedPair, match_rows
from dafxtool.matching.match import draw_match
from dafxtool.matching.objective import Array
from dafxtool.matching.paired import Options
from dafxtool.models.run import Run
from dafxtool.utils.progress import Progress
from dafxtool.web.blocks import Block, Clip, ClipRow, Figure, Table, Text, draw_image
from dafxtool.web.page import data_uri

MOST_ROWS = 12  # pairs that are matched
MOST_FIGURES = 2


def match_blocks(pairs: Path, run: Run, progress: Progress) -> list[Block]:
    """Match one held-out pair of each effect; show a table and the first sheets."""
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        labels = reader.labels
        effects = [Effect.from_dict(each) for each in labels.effects]
        rows = labels.rows_of(held_out(labels))
        firsts = [
            rows[labels.effect[rows] == index][:1]
            for index, effect in enumerate(effects)
            if effect.parameters
        ]
        chosen = np.sort(np.concatenate([rows[:0], *firsts])[:MOST_ROWS])
        if not len(chosen):
            return [Text("No held-out pair has an effect with parameters.")]
        audio = reader.rows(chosen)
    progress.start("matching", len(chosen), "pair")
    matches = []
    for match in match_rows(
        chosen, audio, effects, labels.effect[chosen], labels.setting[chosen], run, Options()
    ):
        matches.append(match)
        progress.advance()
    progress.finish()
    table = Table(
        ["true effect and setting", "match", "distance left"],
        [
            [
                match.effect.setting_text(match.setting),
                match.answer.effect,
                f"{100 * match.relative_distance:.1f} %",
            ]
            for match in matches
        ],
        note="Effect and settings are searched from the dry and the wet audio alone. The distance "
        "is the multi-resolution STFT distance of the matched recording to the wet one, over that "
        "of the dry recording.",
    )
    return [table, *(_figure(match, run) for match in matches[:MOST_FIGURES])]


def _figure(match: MatchedPair, run: Run) -> Figure:
    rate = run.configuration.segments.sample_rate
    dry, wet = match.prepared.dry, match.prepared.wet
    matched = render_chain(match.answer.best.stages, dry, rate)
    image = draw_image(
        lambda path: draw_match(
            path, match.prepared, match.answer, ("dry", match.effect.name), overwrite=True
        )
    )
    clips = {"dry": dry, "reference": wet, "matched": matched}
    row = ClipRow("audio", [Clip(name, _uri(samples, rate)) for name, samples in clips.items()])
    caption = (
        f"True: {match.effect.setting_text(match.setting)}. Found: {match.answer.effect}. "
        f"{match.answer.verdict}"
    )
    return Figure(f"Match of {match.effect.name}", image, caption, [row])


def _uri(samples: Array, sample_rate: int) -> str:
    """Encode audio as FLAC, which has no headroom above full scale."""
    peak = max(1.0, float(np.abs(samples).max()))
    return data_uri(encode(samples / peak, sample_rate, "flac"), "flac")
