"""One tree of errors; each message says what, where and how to fix it.

The exit code of a command is the ``exit_code`` of the error that ended it.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import os
from collections.abc import Iterable
from types import ModuleType

AGAIN = "restore it from a copy, or make it again"
_ADVICE = {
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "free some space, or choose another disk",
    errno.EFBIG: "raise the limit of file sizes, or choose another disk",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
    errno.EROFS: "choose a place that is not read-only",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "check the disk",
    errno.ELOOP: "its links lead in a circle",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "check the path",
    errno.ENODEV: "check the path",
}


class EmoError(Exception):
    """Base of every error that a user can cause or mend.

    Parameters
    ----------
    message : str
        What is wrong and where, in one sentence.
    hint : str, optional
        How to mend it, in one sentence.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(EmoError):
    """A flag or argument that cannot be used (exit code 2)."""

    exit_code = 2


class DataError(EmoError):
    """Input data that breaks its schema or encoding (exit code 3)."""

    exit_code = 3


class ModelError(EmoError):
    """A model that cannot be loaded or does not fit its family (exit code 4)."""

    exit_code = 4


class ArtifactError(EmoError):
    """A damaged or foreign store, shard or result file (exit code 5)."""

    exit_code = 5


class SettingsError(EmoError):
    """Refused: the folder was made with other settings (exit code 6)."""

    exit_code = 6


class MissingExtraError(EmoError):
    """An optional part of the package is not installed (exit code 7)."""

    exit_code = 7


class ResourceError(EmoError):
    """Disk, permission or network trouble (exit code 8)."""

    exit_code = 8

    @staticmethod
    def covers(error: OSError) -> bool:
        """Whether an error of the system is the user's to mend rather than a bug."""
        return error.errno in _ADVICE

    @classmethod
    def of(cls, action: str, path: object, error: OSError) -> ResourceError:
        """Word an error of the system: ``cannot write a/b: No space left on device``."""
        number = error.errno or 0
        said = os.strerror(number) if number else str(error)
        hint = _ADVICE.get(number, "check the path, the disk and its permissions")
        return cls(f"cannot {action} {path}: {said}", hint=hint)


class NumericalError(EmoError):
    """The numbers do not allow it: non-finite, singular, too few (exit code 9)."""

    exit_code = 9


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Word a hint for a misspelt name.

    Returns ``"did you mean 'anger'?"`` when one of `known` is close, and
    otherwise the list of what there is.

    >>> did_you_mean("angr", ["anger", "fear"])
    "did you mean 'anger'?"
    """
    names = [str(item) for item in known]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"known: {shown}" if names else "none are known"


def import_extra(module: str, extra: str) -> ModuleType:
    """Import `module`, or name the extra of the distribution that brings it.

    Raises
    ------
    MissingExtraError
        When the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(
            f"this needs the Python package {module.split('.')[0]!r}, which is not installed",
            hint=f"pip install 'emo-circuits[{extra}]'",
        ) from None
