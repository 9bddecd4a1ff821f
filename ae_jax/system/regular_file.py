"""Regular files: reading a FIFO or a device may never end."""

import errno
import stat
from pathlib import Path


def check_regular_file(path: Path) -> None:
    """Raise `OSError` unless `path` is a regular file, or a link to one, that can be opened for reading."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    path.open("rb").close()
