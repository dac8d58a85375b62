"""An interpolation between two effects on one recording, with sound: the newest run here.

python interpolate.py [RECORDING]
"""

import sys
from pathlib import Path

from dafxtool.audio.example_recordings import LUTE
from dafxtool.effects.apply import parse_effect
from dafxtool.latents.examples import load_example
from dafxtool.latents.interpolate import draw_interpolation, interpolate, sound_interpolation
from dafxtool.models.run import load_run


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("lute.wav")
    if not path.exists():
        LUTE.write_wav(path)
    run = load_run()
    a = load_example(path, run, parse_effect("delay:time=300,mix=50"))
    b = load_example(path, run, parse_effect("overdrive:drive=30"))
    made = interpolate(a, b, run, n_steps=5)
    draw_interpolation(Path("steps.png"), made, run, overwrite=True)
    for sound, decibels in sound_interpolation(Path("steps"), made, run, overwrite=True):
        print(sound, "" if decibels is None else f"{decibels:.1f} dB")


if __name__ == "__main__":
    main()
