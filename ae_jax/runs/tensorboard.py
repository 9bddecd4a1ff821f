"""TensorBoard events without TensorFlow; import this module only for `--tensorboard`.

Events are written by tensorboardX's `EventsWriter`: the queue of its `SummaryWriter` loses events of a killed process.
"""

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from PIL import Image
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

Write: TypeAlias = Callable[[int, Mapping[str, float], Mapping[str, bytes]], None]


@contextlib.contextmanager
def event_file(folder: Path, step: int) -> Iterator[Write]:
    """Open a new event file in `folder` for a run that resumes after `step`; earlier events of later steps are void.

    Yields:
      `write(step, scalars, figures)`, with figures as PNG; the events are in the file when it returns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = EventsWriter(str(folder / "events"), f".{os.getpid()}.{step}")
    writer.write_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(step: int, scalars: Mapping[str, float], figures: Mapping[str, bytes]) -> None:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        values += [Summary.Value(tag=tag, image=_image(png)) for tag, png in figures.items()]
        writer.write_event(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))
        writer.flush()

    try:
        yield write
    finally:
        writer.close()


def _image(png: bytes) -> Summary.Image:
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        width, height = image.size
    return Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
