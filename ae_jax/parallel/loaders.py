"""A dataset's way to the devices: all of it once, or chunk by chunk while they work."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh

from ae_jax.data.batching import Chunk, Resident, batch_sizes, chunk_rows
from ae_jax.data.stored_images import AnyImages
from ae_jax.parallel.mesh import local_shards, over_shards, replicate, split
from ae_jax.types import HeldOrder

CHUNK_BYTES = 24 * 2**20  # of which there are two at a time: one that is trained on, and one that is read


class ResidentImages:
    """All images on each device."""

    streamed = False

    def __init__(self, mesh: Mesh, images: AnyImages) -> None:
        """Put `u8[n, …]` on the devices of `mesh`."""
        self._mesh, self._images = mesh, replicate(mesh, np.asarray(images))

    def __len__(self) -> int:
        return len(self._images)

    def hold(self, order: HeldOrder) -> HeldOrder:
        """An order in which `feeds` can visit the images."""
        return replicate(self._mesh, order)

    def example(self) -> Resident:
        """Something of the shapes that `feeds` gives, for compiling."""
        return Resident(self._images, jnp.asarray(self.hold(np.arange(len(self), dtype=np.int32))))

    def feeds(self, order: HeldOrder, first: int, last: int) -> Iterator[tuple[Resident, int, int]]:
        """What feeds the batches `first <= i < last`, part by part, and which batches each part has."""
        yield Resident(self._images, jnp.asarray(order)), first, last


class StreamedImages:
    """The images in host memory or in a file, and on each device its shard of a few batches.

    While the device works on a chunk, a thread fetches the next.
    """

    streamed = True

    def __init__(self, mesh: Mesh, images: AnyImages, batch_size: int, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Feed `u8[n, …]` to the devices of `mesh`."""
        self._mesh, self._images = mesh, images
        self._batch_size = min(batch_size, len(images))
        self._num_steps = len(batch_sizes(len(images), batch_size))
        of_a_batch = self._batch_size * int(np.prod(images.shape[1:]))
        self._chunk_steps = max(1, min(self._num_steps, chunk_bytes // of_a_batch))
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._order: HeldOrder | None = None  # of the chunks below
        self._held: tuple[int, Chunk] | None = None
        self._ahead: tuple[int, Future[Chunk]] | None = None

    def __len__(self) -> int:
        return len(self._images)

    def hold(self, order: HeldOrder) -> HeldOrder:
        """As `ResidentImages.hold`."""
        return np.asarray(order)

    def example(self) -> Chunk:
        """As `ResidentImages.example`, of shapes alone: nothing is read."""
        size = -(-self._batch_size // self._mesh.size)
        shape = (self._mesh.size, self._chunk_steps, size, *self._images.shape[1:])
        images = jax.ShapeDtypeStruct(shape, np.uint8, sharding=over_shards(self._mesh))
        return Chunk._make((images, np.int32(0), np.int32(len(self))))

    def feeds(self, order: HeldOrder, first: int, last: int) -> Iterator[tuple[Chunk, int, int]]:
        """As `ResidentImages.feeds`; work on a part has to be done before the next part is asked for."""
        while first < last:
            number = first // self._chunk_steps
            stop = min(last, (number + 1) * self._chunk_steps)
            yield self._chunk(order, number), first, stop
            first = stop
        if last == self._num_steps > self._chunk_steps:
            self._held = None  # it will not be the next

    def _chunk(self, order: HeldOrder, number: int) -> Chunk:
        if order is not self._order:
            self._order, self._held, self._ahead = order, None, None
        if self._held is None or self._held[0] != number:
            self._held = None  # its memory is what the chunk after this one gets
            ahead = self._ahead[1] if self._ahead and self._ahead[0] == number else self._fetch(order, number)
            self._held, self._ahead = (number, ahead.result()), None
            if (number + 1) * self._chunk_steps < self._num_steps:
                self._ahead = number + 1, self._fetch(order, number + 1)
        return self._held[1]

    def _fetch(self, order: HeldOrder, number: int) -> Future[Chunk]:
        return self._thread.submit(self._read, np.asarray(order), number * self._chunk_steps)

    def _read(self, order: np.ndarray, first: int) -> Chunk:
        shards, num_shards = local_shards(self._mesh), self._mesh.size
        rows = chunk_rows(order, first, self._chunk_steps, self._batch_size, shards=shards, num_shards=num_shards)
        images = self._images[rows.ravel()].reshape(*rows.shape, *self._images.shape[1:])
        return Chunk(split(self._mesh, images), np.int32(first), np.int32(len(order)))


Feeding: TypeAlias = ResidentImages | StreamedImages


def make_feeding(mesh: Mesh, images: AnyImages, batch_size: int, *, stream: bool) -> Feeding:
    """`images` for the devices of `mesh`, streamed or resident."""
    return StreamedImages(mesh, images, batch_size) if stream else ResidentImages(mesh, images)
