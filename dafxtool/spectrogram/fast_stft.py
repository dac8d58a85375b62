"""Compute STFT and inverse STFT for iterative methods, in reused arrays with time first."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dafxtool.config import SpectrogramConfig
from dafxtool.spectrogram.stft import SMALLEST_ENVELOPE, pad_mode, window_of


class FastStft:
    """STFT and inverse STFT of audio of one length.

    The window envelope and the padding are computed once. The phase of a frame refers to the first
    sample of its window; in `stft` it refers to the first of the zeros around the window.
    """

    def __init__(self, config: SpectrogramConfig, n_samples: int, device: Any = "cpu") -> None:
        self.config = config
        self.n_samples = n_samples
        self.n_frames = n_samples // config.hop_length + 1
        self._pad_mode = pad_mode(n_samples, config.n_fft)
        self._zeros_before = (config.n_fft - config.window_length) // 2
        self._before = config.n_fft // 2 - self._zeros_before  # samples of padding at the start
        length = (self.n_frames - 1) * config.hop_length + config.window_length
        self._after = length - self._before - n_samples
        self._window = window_of(config, torch.device(device))
        self._n_blocks = -(-config.window_length // config.hop_length)
        self._workspaces: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        envelope = self._overlap_add(self._window.expand(1, self.n_frames, -1))[0]
        self._inverse_envelope = 1 / envelope.clamp_min(SMALLEST_ENVELOPE * float(envelope.max()))

    def analyse(self, audio: Tensor) -> Tensor:
        """Compute spectra (..., n_frames, n_bins) of audio (..., n_samples)."""
        flat = audio.reshape(-1, self.n_samples)
        padded, frames, _ = self._workspace(len(flat))
        before, after, n = self._before, self._after, self.n_samples
        padded[:, before : before + n] = flat
        if self._pad_mode == "reflect":
            padded[:, :before] = flat[:, 1 : before + 1].flip(-1)
            padded[:, before + n :] = flat[:, n - 1 - after : n - 1].flip(-1)
        views = padded.unfold(-1, self.config.window_length, self.config.hop_length)
        spectrum = torch.fft.rfft(torch.mul(views, self._window, out=frames), self.config.n_fft)
        return spectrum.reshape(*audio.shape[:-1], *spectrum.shape[-2:])

    def synthesise(self, spectrum: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the least-squares audio (..., n_samples) of spectra (..., n_frames, n_bins).

        Unlike `istft` it also uses the reflected ends, which contain the same samples again.

        out  holds the result
        """
        frames = torch.fft.irfft(spectrum, self.config.n_fft)
        audio = self._overlap_add(frames.reshape(-1, *frames.shape[-2:]))
        shape = (*spectrum.shape[:-2], self.n_samples)
        return torch.mul(audio.view(shape), self._inverse_envelope, out=out)

    def project(self, spectrum: Tensor) -> Tensor:
        """Return the nearest spectrum that is the STFT of some audio."""
        return self.analyse(self.synthesise(spectrum))

    def shift_phase(self, angle: Tensor) -> Tensor:
        """Convert phases (..., n_frames, n_bins) of `stft` to the convention of this class."""
        if not self._zeros_before:
            return angle
        bins = torch.arange(self.config.n_bins, device=angle.device, dtype=torch.float64)
        shift = 2 * math.pi * torch.remainder(bins * self._zeros_before / self.config.n_fft, 1.0)
        return (angle + shift).to(angle.dtype)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Window and add frames (batch, n_frames, window_length or more): (batch, n_samples).

        Works in blocks of a hop. The reflected ends are added to the samples that they repeat. The
        next call overwrites the result.
        """
        hop, before, after, n = self.config.hop_length, self._before, self._after, self.n_samples
        total = self._workspace(len(frames))[2].zero_()
        for block in range(self._n_blocks):
            window = self._window[block * hop : (block + 1) * hop]
            part = frames[..., block * hop : block * hop + len(window)]
            total[:, block : block + self.n_frames, : len(window)].addcmul_(part, window)
        padded = total.flatten(1)
        audio = padded[:, before : before + n]
        if self._pad_mode == "reflect":
            audio[:, 1 : before + 1] += padded[:, :before].flip(-1)
            audio[:, n - 1 - after : n - 1] += padded[:, before + n :][:, :after].flip(-1)
        return audio

    def _workspace(self, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return arrays for padded audio, windowed frames and blocks of a hop.

        They are allocated once for each batch size.
        """
        if batch_size not in self._workspaces:
            config, new = self.config, self._window.new_zeros
            n_blocks = self.n_frames + self._n_blocks - 1
            self._workspaces[batch_size] = (
                new(batch_size, self._before + self.n_samples + self._after),
                new(batch_size, self.n_frames, config.window_length),
                new(batch_size, n_blocks, config.hop_length),
            )
        return self._workspaces[batch_size]
