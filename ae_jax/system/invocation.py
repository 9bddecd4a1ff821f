"""The names of commands in messages: `ae-jax train` or `python scripts/train.py`."""

import shlex
import sys
from pathlib import Path


def invocation(command: str) -> str:
    """The words that call a command, as this process was called: by a script of a clone, or else by `ae-jax`."""
    program = Path("".join(sys.argv[:1]))
    if program.suffix == ".py" and program.resolve().parent.name == "scripts":
        return f"python {shlex.quote(str(program.with_name(f'{command}.py')))}"
    return f"ae-jax {command}"
