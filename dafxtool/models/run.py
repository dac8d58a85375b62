"""Load trained models. A checkpoint is enough to rebuild the model and its analysis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dafxtool import presets
from dafxtool.config import Configuration, ModelConfig, SpectrogramConfig
from dafxtool.errors import (
    ConfigError,
    FormatError,
    InputError,
)
from dafxtool.models.base import JointVAE
from dafxtool.models.checkpoint import find_checkpoint, read_checkpoint
from dafxtool.models.factory import build_model
from dafxtool.spectrogram.transform import analyse, analyse_to_tensor
from dafxtool.utils import notebook
from dafxtool.utils.device import pick_device

BATCH_BYTES = 64e6


@dataclass(frozen=True, repr=False)
class Run(notebook.Displayed):
    """A trained model with the analysis that it was trained on.

    mean, std        of the spectrograms of its dataset; unused if each segment has its own
    effects          descriptions of the effects that it was trained on, in the order of their index
    """

    path: Path
    configuration: Configuration
    model: JointVAE
    mean: float
    std: float
    effects: list[dict[str, Any]]
    step: int
    device: str
    data: dict[str, Any]

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, step {self.step}, {self.device})"

    def _parts(self) -> Iterator[str]:
        segments = self.configuration.segments
        seconds = segments.n_samples / segments.sample_rate
        rows = [
            ("preset", self.configuration.preset),
            ("step", self.step),
            ("latents", self.configuration.model.n_latent),
            ("effects", ", ".join(effect["name"] for effect in self.effects)),
            ("segments", f"{seconds:.2f} s at {segments.sample_rate} Hz"),
            ("device", self.device),
        ]
        yield notebook.table(("run", str(self.path)), rows)

    @property
    def spectrogram_config(self) -> SpectrogramConfig:
        return self.configuration.spectrogram

    def analyse(
        self, audio: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute standardised spectrograms of audio (n, 2, n_samples).

        returns  spectrograms (n, 2, n_bins, n_frames), and mean and std of each (n, 2)
        """
        parts = [
            analyse(audio[i : i + 16], self.spectrogram_config, self.mean, self.std)
            for i in range(0, len(audio), 16)
        ]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def embed_audio(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode audio (n, 2, n_samples) to posterior means (n, n_latent)."""
        return self.embed(
            analyse_to_tensor(audio, self.spectrogram_config, self.mean, self.std, self.device)[0]
        )

    def embed(self, spectrograms: NDArray[Any] | torch.Tensor) -> NDArray[np.float32]:
        """Encode standardised spectrograms (n, 2, n_bins, n_frames) to means (n, n_latent)."""
        if tuple(spectrograms.shape[1:]) != self.model.shape:
            raise InputError(
                f"{self.path}: wrong shape of spectrograms (found {tuple(spectrograms.shape[1:])}, "
                f"expected {self.model.shape}). Analyse them with the configuration of the run."
            )
        return self._in_batches(lambda x: self.model.encode(x)[0], spectrograms)

    def decode(
        self, latents: NDArray[np.float32], dry: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Decode latents (n, n_latent) to standardised spectrograms (n, 2, n_bins, n_frames).

        dry  the true dry channel (n, n_bins, n_frames), if it is known
        """
        if latents.shape[1:] != (self.configuration.model.n_latent,):
            raise InputError(
                f"{self.path}: wrong size of latents (found {latents.shape[1:]}, expected "
                f"{self.configuration.model.n_latent}). Decode them with the run that encoded them."
            )
        return self._in_batches(self.model.decode, latents, dry)

    @torch.inference_mode()
    def _in_batches(
        self,
        function: Any,
        values: NDArray[Any] | torch.Tensor,
        dry: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Apply a function of the model in batches: in evaluation mode, rows are independent."""
        size = max(1, int(BATCH_BYTES // (4 * np.prod(self.model.shape))))
        outputs = []
        for start in range(0, len(values), size):
            part = slice(start, start + size)
            inputs = [
                torch.as_tensor(each[part]).to(self.device).float()
                for each in (values, dry)
                if each is not None
            ]
            outputs.append(function(*inputs).float().cpu().numpy())
        return np.concatenate(outputs)


def load_run(path: Path | None = None, device: str = "auto", checkpoint: str = "best") -> Run:
    """Load a run folder, a checkpoint file, or "pretrained", the model in the package.

    path  None takes the newest run of ./runs, else the pretrained model
    """
    path, file = find_checkpoint(path, checkpoint)
    return _rebuild(path, file, read_checkpoint(file), pick_device(device))


def _rebuild(path: Path, file: Path, contents: dict[str, Any], device: str) -> Run:
    try:
        configuration = presets.from_dict(contents["configuration"], str(file))
        model = _model(configuration, contents["shape"], file)
        model.load_state_dict(contents["weights"])
        return Run(
            path=path,
            configuration=configuration,
            model=model.to(device).eval(),
            mean=float(contents["mean"]),
            std=float(contents["deviation"]),
            effects=list(contents["effects"]),
            step=int(contents["step"]),
            device=device,
            data=dict(contents["data"]),
        )
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise FormatError(f"{file}: damaged checkpoint ({reason[:120]}). Train again.") from error


def _model(configuration: Configuration, shape: Sequence[int], file: Path) -> JointVAE:
    try:
        return build_model(configuration.model, shape, configuration.spectrogram.exponent)
    except ConfigError as error:
        raise FormatError(
            f"{file}: its configuration has no valid model ({error}). Train again."
        ) from error


def without_training(configuration: Configuration) -> Run:
    """Build a run for spectrograms without standardisation; its model is untrained.

    For functions that need the spectrograms of a configuration, but no latents.
    """
    tiny = ModelConfig(n_latent=2, n_effect=1, n_style=0, n_blocks=0, n_components=1)
    shape = (2, *configuration.spectrogram.shape)
    return Run(
        path=Path("none"),
        configuration=configuration,
        model=build_model(tiny, shape).eval(),
        mean=0.0,
        std=1.0,
        effects=[],
        step=0,
        device="cpu",
        data={},
    )


def names_of(effects: Sequence[dict[str, Any]]) -> list[str]:
    return [str(effect["name"]) for effect in effects]
