"""A temporary directory that is removed on signals, too."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ae_jax.system.signals import before_exit

_KILL_SECONDS = 0.5  # to wait for killed processes


@contextlib.contextmanager
def temporary_dir() -> Iterator[Path]:
    """Create a temporary directory for the block.

    A signal that ends the process removes it, after killing all child processes, which may be using it.
    """
    folder = Path(tempfile.mkdtemp())
    with before_exit(lambda: _kill_children_and_remove(folder)):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _kill_children_and_remove(folder: Path) -> None:
    """Do it twice: threads may start processes meanwhile, but hardly without the folder."""
    import psutil  # here, because it takes 10 ms

    for _ in range(2):
        children = psutil.Process().children(recursive=True)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=_KILL_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)
