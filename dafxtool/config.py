"""Define the configuration of all stages; the defaults are the preset `default`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.channels import check_channel
from dafxtool.errors import ConfigError

SPLITS = ("train", "validation", "test")
HIGHEST_RATE_HZ = 1_000_000
LOWEST_LEVEL_DBFS = -120.0
LEVELS = ("match", "keep")


@dataclass(frozen=True)
class SegmentConfig:
    """Length, sample rate, level and selection of segments."""

    sample_rate: int = 24_000  # Hz
    n_samples: int = 131_072
    level_dbfs: float = -12.0  # peak of the dry segment
    level: str = "match"  # peak of the wet segment: the same; keep: the dry segment's factor
    min_mean_square: float = 1e-5  # below it a segment counts as silent and is drawn again
    max_redraws: int = 20
    short: str = "join"  # what becomes of recordings shorter than a segment: join, pad or skip
    channel: str = "first"  # first, mean, loudest, or a channel's number

    def __post_init__(self) -> None:
        if self.short not in ("join", "pad", "skip"):
            raise ConfigError(f"short: unknown value {self.short!r}. Use join, pad or skip.")
        check_channel(self.channel)
        if self.level not in LEVELS:
            raise ConfigError(f"level: unknown value {self.level!r}. Use {' or '.join(LEVELS)}.")
        if not self.min_mean_square >= 0:
            raise _out_of_range("min_mean_square", self.min_mean_square, "0 or more")
        if self.n_samples < 1 or not 1 <= self.sample_rate <= HIGHEST_RATE_HZ:
            raise ConfigError(
                f"segments: impossible size (found {self.n_samples} samples at {self.sample_rate} "
                f"Hz, expected at least 1 sample and a rate from 1 to {HIGHEST_RATE_HZ:,} Hz). "
                "Choose another length or sample rate."
            )
        if not LOWEST_LEVEL_DBFS <= self.level_dbfs <= 0:
            raise _out_of_range(
                "level_dbfs", self.level_dbfs, f"a number from {LOWEST_LEVEL_DBFS} to 0"
            )


@dataclass(frozen=True)
class SplitConfig:
    """Division of recordings into train, validation and test."""

    by: str = "recording"  # or folder: for folders that are speakers
    validation: float = 0.1  # share of the recordings or folders, and of the pairs
    test: float = 0.1
    validation_match: tuple[str, ...] = ()  # patterns of paths; they come before the shares
    test_match: tuple[str, ...] = ()
    copies: str = "together"  # in one split; ignore: recordings are not compared

    def __post_init__(self) -> None:
        if self.copies not in ("together", "ignore"):
            raise ConfigError(f"copies: unknown value {self.copies!r}. Use together or ignore.")
        if self.by not in ("recording", "folder"):
            raise ConfigError(f"split: unknown unit {self.by!r}. Use recording or folder.")
        if not (min(self.validation, self.test) >= 0 and self.validation + self.test < 1):
            raise ConfigError(
                f"split: no recordings left for training (found validation {self.validation} and "
                f"test {self.test}, expected fractions of 0 or more with a sum below 1). Use "
                "smaller fractions."
            )


STANDARDISATIONS = ("dataset", "segment")


@dataclass(frozen=True)
class SpectrogramConfig:
    """STFT, power law and standardisation that convert a segment to a spectrogram.

    The defaults can be inverted to good audio.
    """

    sample_rate: int = 24_000  # Hz
    n_samples: int = 131_072  # length of a segment
    n_fft: int = 2048  # samples; the window is zero-padded to it on both sides
    hop_length: int = 512  # samples
    window_length: int = 2048  # samples
    exponent: float = 0.3  # of the power law
    standardisation: str = "dataset"  # or segment: whose mean and standard deviation

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_samples", "n_fft", "hop_length", "window_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise _out_of_range(name, value, "a whole number above 0")
        if self.n_fft % 2:
            raise _out_of_range("n_fft", self.n_fft, "an even number, best a power of two")
        if self.window_length > self.n_fft:
            raise ConfigError(
                f"window_length: longer than n_fft (found {self.window_length}, expected at most "
                f"{self.n_fft}). Use a shorter window or a larger n_fft."
            )
        if 2 * self.hop_length > self.window_length:
            raise ConfigError(
                f"hop_length: more than half the window_length, which loses audio (found "
                f"{self.hop_length}, expected at most {self.window_length // 2}). Use "
                f"{max(1, self.window_length // 4)}."
            )
        if not (isinstance(self.exponent, int | float) and 0 < self.exponent <= 1):
            raise _out_of_range(
                "exponent", self.exponent, "above 0 and at most 1; 1 keeps magnitudes as they are"
            )
        if self.standardisation not in STANDARDISATIONS:
            raise ConfigError(
                f"standardisation: unknown value {self.standardisation!r}. Use "
                f"{' or '.join(STANDARDISATIONS)}."
            )

    @property
    def n_bins(self) -> int:
        """Number of frequency bins."""
        return self.n_fft // 2 + 1

    @property
    def n_frames(self) -> int:
        """Number of frames of a segment."""
        return self.n_samples // self.hop_length + 1

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n_bins, n_frames) of one segment's spectrogram."""
        return self.n_bins, self.n_frames

    def frequencies_hz(self) -> NDArray[np.float64]:
        """Return the centre frequency of each bin: (n_bins,)."""
        return np.arange(self.n_bins, dtype=np.float64) * self.sample_rate / self.n_fft

    def frame_times_s(self) -> NDArray[np.float64]:
        """Return the centre time of each frame: (n_frames,)."""
        return np.arange(self.n_frames, dtype=np.float64) * self.hop_length / self.sample_rate

    def invertible_hint(self) -> str | None:
        """Return a warning if no method can invert the magnitudes to good audio, else None.

        With fewer than four frames per window, very different signals have the same magnitudes;
        benchmarks/bench_inversion.py shows the resulting errors.
        """
        if 4 * self.hop_length <= self.window_length:
            return None
        return (
            f"hop_length: windows overlap too little to reconstruct good audio (found "
            f"{self.hop_length}, expected at most {self.window_length // 4}). Use a smaller "
            "hop_length if you want to listen to results."
        )


LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the joint-spectrogram VAE; docs/model.md describes it."""

    architecture: str = "residual"  # or convolutional: the report's
    channels: tuple[int, ...] = (384,)  # of the convolutions; of convolutional, one each halving
    n_latent: int = 16_448
    n_effect: int = 4160  # latents of the effect, change and style; convolutional has none
    n_style: int = 64  # of the effect's, at most: those that hold for the whole segment
    n_blocks: int = 6  # residual blocks over time; convolutional has none
    n_components: int = 384  # principal components of a frame; convolutional has none
    ear_weighting: float = 0.5  # of bins in the linear part: 0 none, 1 the density of ERB bands
    descriptor_floor_db: float = -90.0  # relative to the loudest dry bin; 0 for no floor
    setting_descriptors: bool = True  # decay to repeats (docs/model.md), for the style

    def __post_init__(self) -> None:
        if self.architecture not in ("residual", "convolutional"):
            raise ConfigError(
                f"architecture: unknown name {self.architecture!r}. Use residual or convolutional."
            )
        sizes = (*self.channels, self.n_latent, self.n_components)
        if not self.channels or min(sizes) < 1 or self.n_blocks < 0:
            raise ConfigError(
                f"model: impossible sizes (found channels {self.channels}, n_latent "
                f"{self.n_latent}, n_components {self.n_components} and n_blocks {self.n_blocks}, "
                "expected positive numbers). Choose other sizes."
            )
        if self.architecture == "residual" and not 1 <= self.n_effect < self.n_latent:
            raise _out_of_range(
                "n_effect",
                self.n_effect,
                f"a number from 1 to n_latent - 1 = {self.n_latent - 1}, because both the effect "
                "and the recording need a latent dimension",
            )
        if self.n_style < 0:
            raise _out_of_range("n_style", self.n_style, "0 or more")
        if self.descriptor_floor_db > 0:
            raise _out_of_range("descriptor_floor_db", self.descriptor_floor_db, "0 or less")


@dataclass(frozen=True)
class TrainingConfig:
    """Optimisation, loss and logging of training; a step is one update of the weights."""

    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: str = "cosine"  # or constant; after a linear warm-up
    warmup_steps: int = 100
    max_steps: int = 20_000
    max_minutes: float = 0.0  # wall time after which training ends; 0 for no limit
    beta: float = 0.1  # weight of the KL divergence against the summed squared error
    annealing: str = "linear"  # of beta: constant, linear (from 0, once), or cyclical
    annealing_steps: int = 2000  # length of the rise, or of a cycle
    label_weight: float = 0.1  # of effect and setting in the loss; 0: labels are not used
    label_steps: int = 1500  # at most, that fit the style to them before training instead
    setting_weight: float = 1.0  # of the error of settings, relative to that of effects
    style_learns: bool = False  # after that fit, with the rest and with labels in the loss
    gradient_clip: float = 1.0  # largest norm of the gradient; 0 for none
    log_every: int = 50  # steps
    validate_every: int = 500  # steps
    checkpoint_every: int = 500  # steps
    checkpoint_seconds: float = 60.0
    patience: int = 0  # validations without improvement until training stops; 0 for never
    precision: str = "auto"  # bfloat16 where CUDA has it, else float32
    compile: str = "auto"  # the convolutions, with torch.compile: always, never, or where CUDA is
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("schedule", ("cosine", "constant")),
            ("annealing", ("constant", "linear", "cyclical")),
            ("precision", ("auto", "float32", "bfloat16")),
            ("compile", ("auto", "always", "never")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name}: unknown value {getattr(self, name)!r}. Use {', '.join(known)}."
                )
        for name in ("batch_size", "max_steps", "log_every", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise _out_of_range(name, getattr(self, name), "1 or more")
        for name in ("warmup_steps", "max_minutes", "annealing_steps", "gradient_clip", "patience"):
            if getattr(self, name) < 0:
                raise _out_of_range(name, getattr(self, name), "0 or more")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise _out_of_range("seed", self.seed, f"a whole number from 0 to {LARGEST_SEED}")
        if self.label_steps < 0:
            raise _out_of_range("label_steps", self.label_steps, "0 or more")
        if self.learning_rate <= 0 or min(self.beta, self.label_weight, self.setting_weight) < 0:
            raise ConfigError(
                f"training: out of range (found learning_rate {self.learning_rate}, beta "
                f"{self.beta}, label_weight {self.label_weight} and setting_weight "
                f"{self.setting_weight}, expected learning_rate above 0 and the others 0 or more). "
                "Choose other values."
            )


@dataclass(frozen=True)
class Configuration:
    """All settings of a preset."""

    preset: str = "default"
    pairs_per_effect: int = 2000
    segments: SegmentConfig = field(default_factory=SegmentConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    spectrogram: SpectrogramConfig = field(default_factory=SpectrogramConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if self.pairs_per_effect < 1:
            raise _out_of_range("pairs_per_effect", self.pairs_per_effect, "1 or more")

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON, TOML and checkpoints; tuples become lists."""
        return _plain(asdict(self))


def _out_of_range(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f"{name}: out of range (found {value!r}, expected {expected}).")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
