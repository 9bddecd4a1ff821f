"""Make `checkpoint.safetensors`, as a run wrote it when the format was new: python -m tests.golden.make_checkpoint.

Made once, with jax 0.10.2, flax 0.12.8 and optax 0.2.8, and not to be made again: it stands for the files users have.
"""

import shutil
import tempfile
from pathlib import Path

from ae_jax.runs.checkpoint_files import list_checkpoints
from ae_jax.runs.checkpoints import save_progress
from tests.support.tiny_run import METADATA, begin, train

if __name__ == "__main__":
    program, progress = train(*begin(), num_steps=8)
    with tempfile.TemporaryDirectory() as folder:
        save_progress(Path(folder), program, progress, {"record": METADATA})
        (path,) = list_checkpoints(folder)
        shutil.copy(path, Path(__file__).with_name("checkpoint.safetensors"))
