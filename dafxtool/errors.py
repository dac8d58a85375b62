"""The user's mistakes, as sentences.

Whatever a person can do wrong raises a subclass of DafxError whose message says what was wrong,
what was found, what was wanted and what to do. The command line prints it and exits with 1;
anything else that escapes is a bug of ours and stays a traceback.
"""


class DafxError(Exception):
    """Something that the user can mend; its text is one sentence for them."""


class InputError(DafxError):
    """An input is missing, empty or of the wrong shape."""


class ArgumentError(InputError):
    """Arguments do not fit together; on the command line a usage error."""


class RecordingError(InputError):
    """A recording cannot be read, or holds nothing that can be used."""


class EffectError(DafxError):
    """An effect or a parameter is unknown, or a value is out of range."""


class PluginError(EffectError):
    """A plugin cannot be loaded, or does not do what it was asked."""


class FormatError(DafxError):
    """A file is not of the kind, or not of the version, that was wanted."""


class ConfigError(DafxError):
    """A configuration contradicts itself or holds a key that nobody reads."""


class OutputExistsError(DafxError):
    """The output is there already and would be overwritten."""


class DiskError(DafxError):
    """The output cannot be written: disk full, read-only, no permission."""


class TrainingError(DafxError):
    """Training cannot go on, or a run cannot be used."""


class ElsewhereError(TrainingError):
    """Another process of the same training failed and says why; this one has nothing to add."""


class ClusterError(DafxError):
    """A cluster does not answer, or its workers cannot do the work."""


class MissingDependencyError(DafxError):
    """A package is not installed here that this one step needs."""

    def __init__(self, package: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed here: "
            f"run 'pip install {package}', or do this step on a machine that has it."
        )
