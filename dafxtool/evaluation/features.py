"""Read the rows of an evaluation, their features, and the errors of their reconstructions."""

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
from dafxtool.dataset.pair import effect_level_db
from dafxtool.errors import InputError
from dafxtool.evaluation.probes import EQUAL, ProbeSplits, principal_features
from dafxtool.latents.table import Latents, latent_parts, seen_in_training
from dafxtool.models.descriptors import Descriptors
from dafxtool.models.residual import ResidualVAE
from dafxtool.models.run import Run
from dafxtool.spectrogram.metrics import channel_mse, log_spectral_distance_db
from dafxtool.spectrogram.stft import mel_filterbank, pad_mode
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.progress import Progress

ROWS_PER_BATCH = 16
CLOSED_FORM = "closed form"
CLOSED_FORM_ROWS = 600  # training rows that the closed-form model is fitted to
MAX_PCA_BYTES = 1.5e9  # training spectrograms to which principal components are fitted


class EvaluationData:
    """Rows of a pairs file, their features, and the errors of the model on the test rows.

    rows               training, validation and test rows
    track              (n,) recording of each row; parts of one recording count as one
    latent             (n, n_latent); effect_part and content_part are columns of it, and
                       content_part is None for a model without content latents
    mel, descriptors   (n, size) features of the baselines
    level              (n, 2) in dB
    own_level          (n,) RMS of wet over dry before levelling in dB; NaN where it is unknown
    decoded_level      (n_test,) level of the decoded wet spectrogram over the true one in dB
    errors             (n_test, 2) squared errors of the decoded channels
    closed_form        the model without its predictor, fitted to the training split; None for a
                       model without a predictor
    variants           (n_test, 2) squared errors of simpler decoders, by name
    spectral           (n_test, 2, 2) log-spectral distances in dB of each channel: of the decoded
                       magnitudes, and of the dry ones
    trivial            (n_test, 3) squared errors of baselines: mean spectrogram for the dry and for
                       the wet channel, dry channel for the wet one
    remarks            notes on scores that were left out
    """

    def __init__(self, reader: storage.Hdf5Reader, run: Run, progress: Progress) -> None:
        self.reader, self.run, self.labels = reader, run, reader.labels
        self.remarks: list[str] = []
        labels = reader.labels
        tracks = np.array([r.get("track", i) for i, r in enumerate(labels.recordings)])
        self.track: NDArray[np.int64] = tracks[labels.recording].astype(np.int64)
        self.rows = ProbeSplits(
            labels.rows_of(["train"]), labels.rows_of(["validation"]), self._unseen(), self.track
        )
        if not len(self.rows.train):
            raise InputError(
                f"{reader.path}: no training rows (expected some to fit probes to). Render pairs "
                "with a training split."
            )
        if len(np.unique(labels.effect[self.rows.train])) < 2:
            self.remarks.append("only one effect: its recognition is not evaluated")
        self._read(progress)

    def _unseen(self) -> NDArray[np.int64]:
        """Return the test rows of recordings that the run was not trained on."""
        labels = self.labels
        rows = labels.rows_of(["test"])
        unseen = rows[~seen_in_training(labels, rows, self.run)]
        if not len(unseen):
            raise InputError(
                f"{self.reader.path}: no test rows of recordings that {self.run.path} was not "
                "trained on. Render with --test above 0, or choose other pairs."
            )
        if len(unseen) < len(rows):
            self.remarks.append(
                f"{len(rows) - len(unseen)} test rows left out: the run was trained on their "
                "recordings or on copies of them, or its checkpoint was selected by them"
            )
        return unseen

    def _read(self, progress: Progress) -> None:
        """Read the file once: latents, features of baselines, and errors on the test rows."""
        rate = self.run.configuration.segments.sample_rate
        latent: list[Any] = []
        mel: list[Any] = []
        level: list[Any] = []
        own_level: list[Any] = []
        decoded_level: list[Any] = []
        errors: list[Any] = []
        spectral: list[Any] = []
        trivial: list[Any] = []
        variants: dict[str, list[NDArray[np.float64]]] = {}
        self.closed_form = self._closed_form()
        _, n_bins, n_frames = self.run.model.shape
        exponent = self.run.spectrogram_config.exponent
        config = self.run.configuration.model
        compute_descriptors = Descriptors(
            *(n_bins, n_frames, exponent), config.descriptor_floor_db, config.setting_descriptors
        )
        descriptors = []
        self.mean_spectrogram = self._mean_spectrogram()
        test = set(self.rows.test.tolist())
        progress.start("reading and embedding", len(self.labels), "segment")
        for rows, audio, spectrogram, constants in self._batches():
            embedded = self.run.embed(spectrogram)
            latent.append(embedded)
            mel.append(mel_features(audio, rate))
            level.append(level_db(audio))
            own_level.append(effect_level_db(audio, self.labels.gains_db[rows]))
            descriptors.append(compute_descriptors(torch.from_numpy(spectrogram)).numpy())
            is_test = np.array([row in test for row in rows.tolist()])
            if is_test.any():
                parts = self._errors(spectrogram[is_test], constants[is_test], embedded[is_test])
                collections = (errors, spectral, trivial, decoded_level)
                for collected, part in zip(collections, parts, strict=True):
                    collected.append(part)
                for name, values in self._variants(spectrogram[is_test], embedded[is_test]).items():
                    variants.setdefault(name, []).append(values)
            progress.advance(len(rows))
        progress.finish()
        latents = Latents(np.concatenate(latent), self.labels, *latent_parts(self.run))
        self.latent = latents.latent
        self.effect_part, n_content = latents.effect_part, latents.n_content
        if (
            np.ptp(self.effect_part, axis=0).max(initial=0.0)
            <= EQUAL * np.abs(self.effect_part).max()
        ):
            self.remarks.append(
                "the effect part of the latent is the same for every segment: low leakage and "
                "drift mean nothing"
            )
        self.content_part = latents.latent[:, :n_content] if n_content else None
        self.mel = np.concatenate(mel)
        self.descriptors = np.concatenate(descriptors)
        self.level = np.concatenate(level)
        self.own_level = np.concatenate(own_level)
        self.decoded_level = np.concatenate(decoded_level)
        self.errors = np.concatenate(errors)
        self.variants = {name: np.concatenate(parts) for name, parts in variants.items()}
        self.spectral = np.concatenate(spectral)
        self.trivial = np.concatenate(trivial)

    def _batches(
        self,
    ) -> Iterator[tuple[NDArray[np.int64], Any, NDArray[np.float32], NDArray[np.float32]]]:
        """Yield rows, audio, standardised spectrograms and their constants."""
        for start in range(0, len(self.labels), ROWS_PER_BATCH):
            rows = np.arange(start, min(start + ROWS_PER_BATCH, len(self.labels)))
            audio = self.reader.rows(rows)
            yield rows, audio, *self.run.analyse(audio)

    def _mean_spectrogram(self) -> NDArray[np.float32]:
        """Return the mean of up to 64 training spectrograms: (2, n_bins, n_frames)."""
        rows = self.rows.train[storage.some_positions(len(self.rows.train), 64)]
        spectrograms, _ = self.run.analyse(self.reader.rows(np.unique(rows)))
        mean: NDArray[np.float32] = spectrograms.mean(axis=0)
        return mean

    def _errors(
        self,
        spectrogram: NDArray[np.float32],
        constants: NDArray[np.float32],
        latent: NDArray[np.float32],
    ) -> tuple[NDArray[np.float64], ...]:
        """Compute `errors`, `spectral`, `trivial` and `decoded_level` of these rows."""
        config = self.run.spectrogram_config
        decoded = self.run.decode(latent, spectrogram[:, 0])
        true = linear_magnitude(spectrogram, constants, config)
        estimate = linear_magnitude(decoded, constants, config)
        dry = np.repeat(true[:, :1], 2, axis=1)
        spectral = np.stack(
            [log_spectral_distance_db(each, true) for each in (estimate, dry)], axis=2
        )
        trivial = np.stack(
            [
                *channel_mse(self.mean_spectrogram[None], spectrogram).T,
                channel_mse(spectrogram[:, :1], spectrogram)[:, 1],
            ],
            axis=1,
        )
        powers = [np.square(x[:, 1], dtype=np.float64).sum(axis=(1, 2)) for x in (estimate, true)]
        with np.errstate(divide="ignore", invalid="ignore"):
            decoded_level = 10 * np.log10(powers[0] / powers[1])
        return channel_mse(decoded, spectrogram), spectral, trivial, decoded_level

    def _closed_form(self) -> Run | None:
        """Fit the same model without its predictor to the training split of these pairs."""
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
        rows = self.rows.train[storage.some_positions(len(self.rows.train), CLOSED_FORM_ROWS)]

        def batches() -> Iterator[torch.Tensor]:
            for start in range(0, len(rows), ROWS_PER_BATCH):
                audio = self.reader.rows(rows[start : start + ROWS_PER_BATCH])
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
        """Compute the errors (n, 2) of simpler decoders; none for a model without a predictor."""
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
        """Principal components of the spectrograms, as many as the effect part has latents."""
        size = int(np.prod(self.run.model.shape))
        max_rows = max(2, int(MAX_PCA_BYTES // (4 * size)))
        train = self.rows.train
        rows = train[storage.some_positions(len(train), max_rows)]
        spectrograms = np.empty((len(rows), size), np.float32)
        for i in range(0, len(rows), ROWS_PER_BATCH):
            part = rows[i : i + ROWS_PER_BATCH]
            batch, _ = self.run.analyse(self.reader.rows(part))
            spectrograms[i : i + len(part)] = batch.reshape(-1, size)
        return principal_features(
            spectrograms,
            lambda: (batch[2].reshape(-1, size) for batch in self._batches()),
            self.effect_part.shape[1],
        )

    def features(self) -> dict[str, NDArray[np.float32]]:
        """Return the features of each method, from which effects and settings are predicted."""
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
    """Compute mean and standard deviation over time of 64 log mel bands, a common baseline.

    audio  (n, n_channels, n_samples); returns (n, n_channels * 128)
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
