"""Sound from a magnitude: three methods, and what the known dry phase is worth.

python invert_magnitude.py
"""

from pathlib import Path

from dafxtool.audio.example_recordings import BARITONE
from dafxtool.audio.writer import save_audio
from dafxtool.config import SpectrogramConfig
from dafxtool.effects.apply import apply
from dafxtool.effects.builtin import builtin_effects
from dafxtool.spectrogram.phase_retrieval import METHODS, invert
from dafxtool.spectrogram.stft import magnitude


def main() -> None:
    config = SpectrogramConfig(n_samples=65_536)
    dry = BARITONE.read()[: config.n_samples]
    reverb = builtin_effects()["reverb"]
    wet, _ = apply(reverb, dry, config.sample_rate, reverb.default_setting())
    target = magnitude(wet, config)
    for name in METHODS:
        found = invert(target, config, config.n_samples, name)
        save_audio(Path(f"inverted-{name}.wav"), found.audio, config.sample_rate, overwrite=True)
        print(f"{name:12} {found.convergence_db:6.1f} dB")
    found = invert(target, config, config.n_samples, phase_from=dry)
    save_audio(Path("inverted-known.wav"), found.audio, config.sample_rate, overwrite=True)
    print(f"{'known phase':12} {found.convergence_db:6.1f} dB")


if __name__ == "__main__":
    main()
