"""From recordings to a map of effects: render, analyse, train, embed, draw.

python train_and_map.py [FOLDER] [PAIRS_PER_EFFECT] [STEPS]
"""

import sys
from dataclasses import replace
from pathlib import Path

from dafxtool import presets
from dafxtool.audio.example_recordings import write_clips
from dafxtool.dataset.render import render
from dafxtool.effects.builtin import builtin_effects
from dafxtool.latents.embed import embed
from dafxtool.latents.latent_map import draw_latent_map, latent_map
from dafxtool.models.run import load_run
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.training.train import train


def main(folder: str = "recordings", pairs_per_effect: str = "60", steps: str = "60") -> None:
    if not Path(folder).is_dir():
        write_clips(Path(folder))
    preset = presets.PRESETS["small"]
    preset = replace(preset, training=replace(preset.training, max_steps=int(steps)))
    known = builtin_effects()
    effects = [(known[name], {}) for name in ("overdrive", "delay", "low-pass")]
    pairs, spectrograms, run = Path("map-pairs.h5"), Path("map-spectrograms.h5"), Path("runs/map")

    render(
        [Path(folder)],
        pairs,
        effects,
        preset.segments,
        preset.split,
        int(pairs_per_effect),
        overwrite=True,
    )
    compute_spectrograms(pairs, spectrograms, preset.spectrogram, overwrite=True)
    train(spectrograms, run, preset, overwrite=True)
    embedded = embed([pairs], load_run(run), splits=("test",))
    projection = latent_map(embedded, method="pca")
    draw_latent_map(Path("map.png"), embedded, projection, overwrite=True)
    print(f"{len(embedded)} held-out segments -> map.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
