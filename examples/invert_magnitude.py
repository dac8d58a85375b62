"""Invert magnitudes that another program computed: three methods, and the phase of the dry audio.

    python invert_magnitude.py [RECORDING]

Prints the spectral convergence of each in dB; lower is better. Without RECORDING it takes a.wav.
"""

import sys

import numpy as np
import torch

import dafxtool

N_FFT, HOP, N_SAMPLES = 2048, 512, 65_536


def main(path: str = "a.wav") -> None:
    dry, rate = dafxtool.load_audio(path, sample_rate=24_000)
    dry = 0.25 * dry[:N_SAMPLES]
    wet = dafxtool.apply_effect(dry, rate, "reverb")
    dafxtool.save_audio("dry.wav", dry, rate, overwrite=True)
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(torch.from_numpy(wet), N_FFT, HOP, window=window, return_complex=True)
    np.savez(
        "wet.npz",
        magnitude=spectrum.abs().numpy(),
        sample_rate=rate,
        n_fft=N_FFT,
        hop_length=HOP,
        window_length=N_FFT,
        n_samples=len(wet),
    )
    runs = {name: {"method": name} for name in ("griffin-lim", "fast", "best")}
    runs["known phase"] = {"phase_from": "dry.wav"}
    for name, options in runs.items():
        output = f"inverted-{name.replace(' ', '-')}.wav"
        (result,) = dafxtool.invert("wet.npz", output=output, overwrite=True, **options)
        print(f"{name:12} {result.convergence_db:6.1f} dB -> {result.path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
