"""Errors of the disk in words: full, a limit, no rights, wherever their number stands."""

import errno
import re

from quantlab.errors import ModelError, OutOfMemory, QuantlabError, Unavailable

#: No room: on the disk, in a quota, or by the system's limit on one file.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: A file that is mapped into memory finds none there by an error of the same kind.
_OF_DISK = (*NO_ROOM, errno.EROFS, errno.ENOMEM)
_ERRNO = re.compile(r"\[Errno (\d+)\]|\(os error (\d+)\)")


def disk_errno(error: BaseException) -> int | None:
    """The system's number of an error of the disk; None for errors of other kinds.

    What copies a whole folder, and libraries in Rust (tokenizers, safetensors), have it in their text alone.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _ERRNO.search(str(error))
    number = int(found[1] or found[2]) if found else None
    return number if isinstance(error, OSError) or number in _OF_DISK else None


def is_disk_error(error: BaseException) -> bool:
    """Whether it is an error of the disk, which a user can mend; any other of these libraries' is a defect."""
    return isinstance(error, OSError) or disk_errno(error) is not None


def disk_error(error: BaseException) -> QuantlabError:
    """What a failed write or read means for a user."""
    number, filename = disk_errno(error), getattr(error, "filename", None)
    where = f" ({filename})" if filename else ""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"The disk is full{where}.", "Free some space, or see quantlab cache list.")
    if number == errno.EFBIG:
        return Unavailable(f"A file would be larger than the system allows{where}.", "Raise the limit (ulimit -f).")
    if number == errno.ENOMEM:
        return no_memory()
    why = getattr(error, "strerror", None) or error
    return ModelError(f"A file cannot be read or written{where}: {why}.", "Check it and try again.")


def no_memory() -> OutOfMemory:
    """What is said of a process that was refused memory, where nobody knows what it was for."""
    return OutOfMemory("The memory ran out.", "Choose a smaller model, or free some memory.")
