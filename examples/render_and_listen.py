"""Hear what an effect does: one recording, one effect, three settings, as WAV files.

python render_and_listen.py [RECORDING]
"""

import sys
from pathlib import Path

from dafxtool.audio.example_recordings import LUTE
from dafxtool.audio.io import load_audio
from dafxtool.audio.level import normalise_peak
from dafxtool.audio.writer import save_audio
from dafxtool.effects.apply import apply, parse_effect


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("lute.wav")
    if not path.exists():
        LUTE.write_wav(path)
    dry, sample_rate = load_audio(path)
    dry = normalise_peak(dry, -12.0)
    for time in (60, 250, 700):
        effect, fixed = parse_effect(f"delay:time={time},mix=50")
        wet, setting = apply(effect, dry, sample_rate, effect.complete(fixed))
        output = Path(f"{path.stem}-delay-{time}ms.wav")
        save_audio(output, wet, sample_rate, overwrite=True)
        print(f"{effect.label(setting)} -> {output}")


if __name__ == "__main__":
    main()
