"""A program that is exported to a file."""

from typing import NamedTuple


class Program(NamedTuple):
    """The content of the file, and names, dtypes and shapes of arguments and results."""

    content: bytes
    signature: str
