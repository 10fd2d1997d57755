"""One writer for one folder: a lock file that the system releases when its process ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from emo.errors import ResourceError

LOCK = ".lock"


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder`, which must exist.

    The lock belongs to the open file, so a killed process leaves no lock behind, only an empty
    file that the next holder takes over and removes at its end.

    Raises
    ------
    ResourceError
        When another process holds the lock, or the folder cannot be written.
    """
    path = folder / LOCK
    handle = _acquire(path)
    try:
        yield
    finally:
        _release(handle, path)


def _acquire(path: Path) -> int:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ResourceError.of("write in", path.parent, error) from None
        try:
            _lock(handle)
        except OSError:
            os.close(handle)
            raise ResourceError(
                f"another process is writing to {path.parent}",
                hint="wait for it, or choose another folder",
            ) from None
        if _still_there(handle, path):
            return handle
        os.close(handle)


def _still_there(handle: int, path: Path) -> bool:
    """Whether the locked file is the one at `path` (its last holder may have removed it)."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(handle)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _release(handle: int, path: Path) -> None:
        # An open file cannot be removed here; whoever opened it meanwhile keeps it.
        os.close(handle)
        with contextlib.suppress(FileNotFoundError, PermissionError):
            os.unlink(path)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(handle: int, path: Path) -> None:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        finally:
            os.close(handle)
