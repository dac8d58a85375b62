"""Apply an effect to a recording with three settings, and write WAV files to listen to.

    python render_and_listen.py [RECORDING]

Without RECORDING it takes a.wav, which `dafxtool render` writes.
"""

import sys
from pathlib import Path

import dafxtool


def main(path: str = "a.wav") -> None:
    dry, sample_rate = dafxtool.load_audio(path)
    for time in (60, 250, 700):
        wet = dafxtool.apply_effect(0.25 * dry, sample_rate, f"delay:time={time},mix=50")
        output = f"{Path(path).stem}-delay-{time}ms.wav"
        dafxtool.save_audio(output, wet, sample_rate, overwrite=True)
        print(f"delay of {time} ms -> {output}")


if __name__ == "__main__":
    main(*sys.argv[1:])
