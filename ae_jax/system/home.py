"""Commands without a home directory."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ae_jax.system.temporary import temporary_dir


@contextlib.contextmanager
def matplotlib_dir() -> Iterator[None]:
    """Without a home directory, give matplotlib a temporary one for the block: some versions do not start without."""
    if "MPLCONFIGDIR" in os.environ or _has_home():
        yield
        return
    with temporary_dir() as folder:
        os.environ["MPLCONFIGDIR"] = str(folder)
        yield


def _has_home() -> bool:
    try:
        Path.home()
    except RuntimeError:
        return False
    return True
