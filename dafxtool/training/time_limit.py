"""Limit the wall time of a training."""

from __future__ import annotations

import time


class TimeLimit:
    """Wall time of a training, from the start of the command.

    minutes         limit; 0 for none
    started         time.monotonic() at the start of the command; None takes now
    seconds_before  that the run took before it was resumed
    """

    def __init__(
        self, minutes: float, started: float | None = None, seconds_before: float = 0.0
    ) -> None:
        self.minutes = minutes
        self.seconds_before = seconds_before
        self._started = time.monotonic() if started is None else started
        self._step_began: float | None = None
        self._step_seconds = 0.0  # of the last step
        self._closing_seconds = 0.0  # of the longest validation, with all that follows one

    @property
    def seconds(self) -> float:
        """Wall time of the run until now, in s."""
        return self.seconds_before + time.monotonic() - self._started

    def is_over(self) -> bool:
        """Return whether the limit is reached."""
        return bool(self.minutes) and self.seconds >= 60 * self.minutes

    def has_time_for_step(self) -> bool:
        """Return whether another step and the last validation end before the limit.

        The times of earlier steps and validations are the estimates.
        """
        needed = self._step_seconds + self._closing_seconds
        return not self.minutes or self.seconds + needed < 60 * self.minutes

    def begin_step(self) -> None:
        """Record that a step begins."""
        self._step_began = time.monotonic()

    def end_step(self) -> None:
        """Record that a step ended, without what follows it."""
        if self._step_began is not None:
            self._step_seconds = time.monotonic() - self._step_began

    def count_closing(self, seconds: float) -> None:
        """Record how long a validation took, with its images and checkpoints."""
        self._closing_seconds = max(self._closing_seconds, seconds)
