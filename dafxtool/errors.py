"""Define exceptions for errors that the user can fix.

The message of a DafxError names the file or option, the problem, the values found and expected, and
what to do. The command line prints it and exits with status 1. Any other exception is a bug and is
shown with its traceback.
"""


class DafxError(Exception):
    """An error that the user can fix; its message explains how."""


class InputError(DafxError):
    """An input is missing, empty or of the wrong shape."""


class ArgumentError(InputError):
    """Arguments cannot be combined; on the command line a usage error."""


class RecordingError(InputError):
    """A recording cannot be read or contains no usable audio."""


class EffectError(DafxError):
    """An effect or a parameter is unknown, or a value is out of range."""


class PluginError(EffectError):
    """A plugin cannot be loaded, or fails to process audio."""


class FormatError(DafxError):
    """A file has another format or version than expected."""


class ConfigError(DafxError):
    """A configuration has contradictory or impossible values, or an unknown key."""


class OutputExistsError(DafxError):
    """The output exists and would be overwritten, or another process is writing it."""


class DiskError(DafxError):
    """The output cannot be written: disk full, read-only, no permission."""


class TrainingError(DafxError):
    """Training cannot continue, or a run cannot be used."""


class ElsewhereError(TrainingError):
    """Another process of the same training failed and reports the error; this one does not."""


class ClusterError(DafxError):
    """A cluster does not respond, or its workers cannot run the tasks."""


class MissingDependencyError(DafxError):
    """A package that one step needs is not installed.

    purpose  the step, as the subject of a sentence
    """

    def __init__(self, package: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Run 'pip install {package}', or use a machine that has it."
        )
