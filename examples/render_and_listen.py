"""Hear what an effect does: one recording, one effect, three settings, as WAV files.

python render_and_listen.py [RECORDING]
"""

import sys
from pathlib import Path

from dafxtool import audio
from dafxtool.effects import parse_effect
from dafxtool.example_recordings import LUTE
from dafxtool.plugins import apply
from dafxtool.segments import normalise_peak


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("lute.wav")
    if not path.exists():
        LUTE.write_wav(path)
    dry, sample_rate = audio.read(path)
    dry = normalise_peak(dry, -12.0)
    for time in (60, 250, 700):
        effect, fixed = parse_effect(f"delay:time={time},mix=50")
        wet, setting = apply(effect, dry, sample_rate, effect.complete(fixed))
        output = Path(f"{path.stem}-delay-{time}ms.wav")
        audio.write(output, wet, sample_rate, overwrite=True)
        print(f"{effect.label(setting)} -> {output}")


if __name__ == "__main__":
    main()
