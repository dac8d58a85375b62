"""What an evaluation looks at: the rows, their features, and the errors of what a model makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.audio.level import level_db
from dafxtool.errors import InputError
from dafxtool.evaluation.probes import Rows, principal_features
from dafxtool.latents.table import Latents, about, seen_in_training
from dafxtool.models.descriptors import Descriptors
from dafxtool.models.residual import ResidualVAE
from dafxtool.models.run import Run
from dafxtool.spectrogram.metrics import channel_mse, log_spectral_distance_db
from dafxtool.spectrogram.stft import mel_filterbank, pad_mode
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.progress import Progress

ROWS_A_BATCH = 16
CLOSED_FORM = "closed form"
CLOSED_FORM_ROWS = 600  # of the training split, which it is fitted on
MOST_PICTURE_BYTES = 1.5e9  # of training spectrograms that principal components are measured on


class EvaluationData:
    """The rows, their features, and the errors of what the model makes of the test rows."""

    def __init__(self, reader: storage.Reader, run: Run, progress: Progress) -> None:
        self.reader, self.run, self.labels = reader, run, reader.labels
        self.remarks: list[str] = []
        labels = reader.labels
        tracks = np.array([r.get("track", i) for i, r in enumerate(labels.recordings)])
        self.track: NDArray[np.int64] = tracks[labels.recording].astype(np.int64)
        self.rows = Rows(
            labels.rows_of(["train"]), labels.rows_of(["validation"]), self._unseen(), self.track
        )
        if not len(self.rows.train):
            raise InputError(f"{reader.path} has no rows of the split train to fit probes on.")
        if len(np.unique(labels.effect[self.rows.train])) < 2:
            self.remarks.append("one effect alone: nothing to recognise")
        self._read(progress)

    def _unseen(self) -> NDArray[np.int64]:
        """Test rows of recordings that the run was not trained on."""
        labels = self.labels
        rows = labels.rows_of(["test"])
        kept = rows[~seen_in_training(labels, rows, self.run)]
        if not len(kept):
            raise InputError(
                f"{self.reader.path} has no test rows of recordings that {self.run.path} was not "
                "trained on: render with a share for --test, or name other pairs."
            )
        if len(kept) < len(rows):
            self.remarks.append(
                f"{len(rows) - len(kept)} test rows left out: trained on, or validated on"
            )
        return kept

    def _read(self, progress: Progress) -> None:
        """Go through the file once: latents, baselines, and the test rows' errors."""
        rate = self.run.configuration.segments.sample_rate
        latent, mel, level, errors, spectral, trivial = [], [], [], [], [], []
        variants: dict[str, list[NDArray[np.float64]]] = {}
        self.closed_form = self._closed_form()
        describe, described = Descriptors(*self.run.model.shape[1:]), []
        self.mean_picture = self._mean_picture()
        test = set(self.rows.test.tolist())
        progress.start("reading and embedding", len(self.labels), "segment")
        for rows, audio, spectrogram, constants in self._batches():
            embedded = self.run.embed(spectrogram)
            latent.append(embedded)
            mel.append(mel_features(audio, rate))
            level.append(level_db(audio))
            described.append(describe(torch.from_numpy(spectrogram)).numpy())
            of_test = np.array([row in test for row in rows.tolist()])
            if of_test.any():
                found = self._errors(spectrogram[of_test], constants[of_test], embedded[of_test])
                errors.append(found[0])
                spectral.append(found[1])
                trivial.append(found[2])
                for name, values in self._variants(spectrogram[of_test], embedded[of_test]).items():
                    variants.setdefault(name, []).append(values)
            progress.advance(len(rows))
        progress.finish()
        made = Latents(np.concatenate(latent), self.labels, *about(self.run))
        self.latent = made.latent
        self.effect_part, n_content = made.effect_part, made.n_content
        self.content_part = made.latent[:, :n_content] if n_content else None
        self.mel = np.concatenate(mel)
        self.descriptors = np.concatenate(described)
        self.level = np.concatenate(level)
        self.errors = np.concatenate(errors)  # (n_test, 2)
        self.variants = {name: np.concatenate(parts) for name, parts in variants.items()}
        self.spectral = np.concatenate(spectral)  # (n_test, 2, 2): model, dry as both
        self.trivial = np.concatenate(trivial)  # (n_test, 3): mean dry, mean wet, dry as wet

    def _batches(
        self,
    ) -> Iterator[tuple[NDArray[np.int64], Any, NDArray[np.float32], NDArray[np.float32]]]:
        for start in range(0, len(self.labels), ROWS_A_BATCH):
            rows = np.arange(start, min(start + ROWS_A_BATCH, len(self.labels)))
            audio = self.reader.rows(rows)
            yield rows, audio, *self.run.analyse(audio)

    def _mean_picture(self) -> NDArray[np.float32]:
        """(2, n_bins, n_frames): the mean of some training spectrograms."""
        some = self.rows.train[storage.some_positions(len(self.rows.train), 64)]
        total: NDArray[np.float32] = self.run.analyse(self.reader.rows(np.unique(some)))[0].mean(
            axis=0
        )
        return total

    def _errors(
        self,
        spectrogram: NDArray[np.float32],
        constants: NDArray[np.float32],
        latent: NDArray[np.float32],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        config = self.run.spectrogram_config
        decoded = self.run.decode(latent, spectrogram[:, 0])
        true = linear_magnitude(spectrogram, constants, config)
        ours = linear_magnitude(decoded, constants, config)
        dry = np.repeat(true[:, :1], 2, axis=1)
        spectral = np.stack([log_spectral_distance_db(each, true) for each in (ours, dry)], axis=2)
        trivial = np.stack(
            [
                *channel_mse(self.mean_picture[None], spectrogram).T,
                channel_mse(spectrogram[:, :1], spectrogram)[:, 1],
            ],
            axis=1,
        )
        return channel_mse(decoded, spectrogram), spectral, trivial

    def _closed_form(self) -> Run | None:
        """The same model without its predictor, fitted on the training split of these pairs."""
        model = self.run.model
        if not isinstance(model, ResidualVAE) or model.predictor is None:
            return None
        config = replace(
            model.config,
            n_latent=model.n_content + model.n_change,
            n_effect=model.n_change,
            n_style=0,
            n_blocks=0,
        )
        if not model.n_change:
            return None
        some = self.rows.train[storage.some_positions(len(self.rows.train), CLOSED_FORM_ROWS)]

        def batches() -> Iterator[torch.Tensor]:
            for start in range(0, len(some), ROWS_A_BATCH):
                audio = self.reader.rows(some[start : start + ROWS_A_BATCH])
                yield torch.from_numpy(self.run.analyse(audio)[0])

        beta = self.run.configuration.training.beta
        closed = ResidualVAE(config, model.shape, self.run.spectrogram_config.exponent).eval()
        closed.fit_linear(batches, beta)
        closed.fit_change(batches(), beta)
        configuration = replace(self.run.configuration, model=config)
        replaced = {"model": closed.to(self.run.device), "configuration": configuration}
        return Run(**{**vars(self.run), **replaced})

    def _variants(
        self, spectrogram: NDArray[np.float32], latent: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float64]]:
        """Errors (n, 2) of other ways to decode, where the model has them."""
        run, closed = self.run, self.closed_form
        if closed is None:
            return {}
        dry = spectrogram[:, 0]
        style = run.model.without_change(torch.from_numpy(latent)).numpy()
        decoded = {
            "style alone": run.decode(style, dry),
            "decoded dry": run.decode(latent),
            CLOSED_FORM: closed.decode(closed.embed(spectrogram), dry),
        }
        return {name: channel_mse(each, spectrogram) for name, each in decoded.items()}

    @cached_property
    def principal(self) -> NDArray[np.float32]:
        """Principal components of the spectrograms, as many as the effect part has numbers."""
        size = int(np.prod(self.run.model.shape))
        most = max(2, int(MOST_PICTURE_BYTES // (4 * size)))
        train = self.rows.train
        some = train[storage.some_positions(len(train), most)]
        pictures = np.empty((len(some), size), np.float32)
        for i in range(0, len(some), ROWS_A_BATCH):
            part = some[i : i + ROWS_A_BATCH]
            pictures[i : i + len(part)] = self.run.analyse(self.reader.rows(part))[0].reshape(
                -1, size
            )
        return principal_features(
            pictures,
            lambda: (batch[2].reshape(-1, size) for batch in self._batches()),
            self.effect_part.shape[1],
        )

    def features(self) -> dict[str, NDArray[np.float32]]:
        return {
            "latent": self.effect_part,
            "descriptors": self.descriptors,
            "PCA": self.principal,
            "mel": self.mel,
        }

    @property
    def test_effect(self) -> NDArray[np.int64]:
        return self.labels.effect[self.rows.test]

    @property
    def test_track(self) -> NDArray[np.int64]:
        return self.track[self.rows.test]


def mel_features(audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Mean and deviation over time of 64 log mel bands: (n, n_channels, n_samples) -> (n, size).

    The features that one would try first; a baseline.
    """
    n_segments, n_channels, n_samples = audio.shape
    flat = torch.from_numpy(np.asarray(audio, dtype=np.float32)).reshape(-1, n_samples)
    spectrum = torch.stft(
        flat,
        1024,
        256,
        window=torch.hann_window(1024),
        pad_mode=pad_mode(n_samples, 1024),
        return_complex=True,
    )
    power = spectrum.abs().square().unflatten(0, (n_segments, n_channels))
    bands = (mel_filterbank(513, 64, sample_rate).T @ power + 1e-6).log()
    both = torch.cat([bands.mean(dim=-1), bands.std(dim=-1, correction=0)], dim=-1)
    return both.flatten(1).numpy()
