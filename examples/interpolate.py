"""Interpolate between two effects on one recording with the newest run, and write the audio.

    python interpolate.py [RECORDING]

Needs a run in runs/, such as that of train_and_map.py. Without RECORDING it takes a.wav.
"""

import sys

import dafxtool


def main(path: str = "a.wav") -> None:
    result = dafxtool.interpolate(
        path,
        effects=["delay:time=300,mix=50", "overdrive:drive=30"],
        steps=5,
        output="steps.png",
        audio="steps",
        overwrite=True,
    )
    for file, convergence_db in result.audio_files:
        print(file, "" if convergence_db is None else f"{convergence_db:.1f} dB")


if __name__ == "__main__":
    main(*sys.argv[1:])
