"""Render recordings through three effects, train a model, and map the effects.

    python train_and_map.py [PAIRS_PER_EFFECT] [STEPS] [RECORDINGS]

Without RECORDINGS it takes the built-in ones.
"""

import sys

import dafxtool


def main(pairs_per_effect: str = "60", steps: str = "60", recordings: str | None = None) -> None:
    dafxtool.render(
        recordings,
        output="map-pairs.h5",
        effects=["overdrive", "delay", "low-pass"],
        pairs_per_effect=int(pairs_per_effect),
        preset="small",
        overwrite=True,
    )
    training = dafxtool.train(
        "map-pairs.h5", output="runs/map", preset="small", steps=int(steps), overwrite=True
    )
    result = dafxtool.latent_map(
        "map-pairs.h5",
        run=training.run,
        split="test",
        method="pca",
        output="map.png",
        overwrite=True,
    )
    print(f"{len(result.latents)} held-out segments -> {result.output}")


if __name__ == "__main__":
    main(*sys.argv[1:])
