"""Log a run to Weights & Biases, online or offline."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dafxtool.config import Configuration
from dafxtool.errors import MissingDependencyError
from dafxtool.utils.files import atomic_write
from dafxtool.utils.progress import SILENT, Progress

ID_FILE = "wandb.json"  # in a run's folder: which run of Weights & Biases it is
STEP = "training_step"  # W&B's own step cannot go back to the checkpoint of a resumed run
PROJECT = "dafxtool"


class WandbLog:
    """A run of Weights & Biases that gets what TensorBoard gets: scalars, images and audio.

    Without a login or a network connection everything is kept in the run's folder, and a message
    says how to send it. A resumed run continues its run of Weights & Biases.
    """

    def __init__(
        self,
        run: Path,
        configuration: Configuration,
        is_resumed: bool = False,
        progress: Progress = SILENT,
    ) -> None:
        """Start logging. MissingDependencyError without the package wandb."""
        try:
            import wandb
        except ImportError as error:
            raise MissingDependencyError(
                "wandb", "logging to Weights & Biases (--wandb)"
            ) from error
        self._wandb, self._folder, self._progress = wandb, run, progress
        run.mkdir(parents=True, exist_ok=True)
        self.id = (_stored_id(run) if is_resumed else None) or secrets.token_hex(4)
        self._run = self._start(configuration)
        with atomic_write(run / ID_FILE, overwrite=True) as temporary:
            temporary.write_text(json.dumps({"id": self.id, "project": PROJECT}), "utf-8")
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)
        self.is_offline = bool(self._run.offline)
        if not self.is_offline:
            progress.message(f"Weights & Biases: {self._run.url}")

    def _start(self, configuration: Configuration) -> Any:
        """Return a run of W&B: as its settings ask, else offline, with the reason."""
        mode = os.environ.get("WANDB_MODE", "")
        reason = ""
        if not mode and not self._has_login():
            mode, reason = "offline", "no login ('wandb login')"
        try:
            return self._init(configuration, mode)
        except (self._wandb.errors.Error, OSError) as error:
            text = " ".join(str(error).split())[:200].rstrip(".")
            reason = f"no connection: {text}"
            self._wandb.teardown()
            return self._init(configuration, "offline")
        finally:
            if reason:
                self._progress.message(f"Weights & Biases: logging offline, because of {reason}")

    def _has_login(self) -> bool:
        try:
            return bool(self._wandb.login(prompt=False))
        except TypeError:  # older versions
            return bool(self._wandb.api.api_key)
        except Exception:  # whatever wandb raises for an unusable login counts as none
            return False

    def _init(self, configuration: Configuration, mode: Any) -> Any:
        return self._wandb.init(
            project=PROJECT,
            name=self._folder.name,
            id=self.id,
            resume="allow",
            dir=str(self._folder),
            config=configuration.to_dict(),
            mode=mode or None,
            settings=self._wandb.Settings(silent=True, console="off", init_timeout=30),
        )

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Log numbers by name."""
        self._run.log({STEP: step, **values})

    def image(self, name: str, picture: NDArray[Any] | Path, step: int) -> None:
        """Log an image: RGB (height, width, 3), or a file."""
        shown = str(picture) if isinstance(picture, Path) else picture
        self._run.log({STEP: step, name: self._wandb.Image(shown)})

    def audio(self, name: str, samples: NDArray[Any], sample_rate: int, step: int) -> None:
        """Log mono audio (n_samples,)."""
        self._run.log({STEP: step, name: self._wandb.Audio(samples, sample_rate=sample_rate)})

    def close(self, is_complete: bool = True) -> None:
        """Send what is left, and say where the log is."""
        folder = Path(self._run.dir).parent
        self._run.finish(exit_code=0 if is_complete else 1)
        if self.is_offline:
            self._progress.message(f"Weights & Biases: send the log with: wandb sync {folder}")


def _stored_id(run: Path) -> str | None:
    """Return the id of the W&B run that a run's folder names, if any."""
    try:
        stored = json.loads((run / ID_FILE).read_text("utf-8"))["id"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return stored if isinstance(stored, str) and stored.isalnum() else None
