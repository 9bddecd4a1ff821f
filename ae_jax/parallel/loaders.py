"""Data loaders: place a dataset on the devices once, or stream it in chunks that are prefetched while they compute."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh

from ae_jax.data.batching import ChunkBatches, ResidentBatches, batch_sizes, chunk_rows, pack
from ae_jax.data.stored_images import AnyImages
from ae_jax.parallel.sharding import local_shards, replicate, row_sharding, shard_from_host
from ae_jax.types import PlacedOrder

CHUNK_BYTES = 24 * 2**20  # two chunks exist at a time: one to train on, one being read


class ResidentLoader:
    """A loader whose images all lie on each device."""

    streams = False

    def __init__(self, mesh: Mesh, images: AnyImages) -> None:
        """Place `u8[n, …]` on the devices of `mesh`."""
        self._mesh, self._images = mesh, replicate(mesh, pack(np.asarray(images)))

    def __len__(self) -> int:
        return len(self._images)

    def place_order(self, order: PlacedOrder) -> PlacedOrder:
        """Place an epoch's order `i32[n]` where `chunks` needs it."""
        return replicate(self._mesh, order)

    def example(self) -> ResidentBatches:
        """An example of what `chunks` yields, for compilation."""
        return ResidentBatches(self._images, jnp.asarray(self.place_order(np.arange(len(self), dtype=np.int32))))

    def chunks(self, order: PlacedOrder, first: int, last: int) -> Iterator[tuple[ResidentBatches, int, int]]:
        """Yield the batches `first <= i < last` in chunks: `(batches, first, last)` of each."""
        yield ResidentBatches(self._images, jnp.asarray(order)), first, last


class StreamingLoader:
    """A loader whose images stay in host memory or in a file; each device holds its shard of a few batches.

    A thread prefetches the next chunk while the devices work on the current one.
    """

    streams = True

    def __init__(self, mesh: Mesh, images: AnyImages, batch_size: int, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Stream `u8[n, …]` to the devices of `mesh` in chunks of at most `chunk_bytes`, but at least one batch."""
        self._mesh, self._images = mesh, images
        self._batch_size = min(batch_size, len(images))
        self._num_steps = len(batch_sizes(len(images), batch_size))
        batch_bytes = self._batch_size * int(np.prod(images.shape[1:]))
        self._chunk_steps = max(1, min(self._num_steps, chunk_bytes // batch_bytes))
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._order: PlacedOrder | None = None  # of the chunks below
        self._current: tuple[int, ChunkBatches] | None = None
        self._prefetched: tuple[int, Future[ChunkBatches]] | None = None

    def __len__(self) -> int:
        return len(self._images)

    def place_order(self, order: PlacedOrder) -> PlacedOrder:
        """Keep the order on the host."""
        return np.asarray(order)

    def example(self) -> ChunkBatches:
        """An example of the shapes that `chunks` yields; nothing is read."""
        size = -(-self._batch_size // self._mesh.size)
        shape = (self._mesh.size, self._chunk_steps, size, *self._images.shape[1:])
        images = jax.ShapeDtypeStruct(shape, np.uint8, sharding=row_sharding(self._mesh))
        return ChunkBatches._make((images, np.int32(0), np.int32(len(self))))

    def chunks(self, order: PlacedOrder, first: int, last: int) -> Iterator[tuple[ChunkBatches, int, int]]:
        """Yield as `ResidentLoader.chunks`; finish the work on a chunk before asking for the next one."""
        while first < last:
            number = first // self._chunk_steps
            stop = min(last, (number + 1) * self._chunk_steps)
            yield self._chunk(order, number), first, stop
            first = stop
        if last == self._num_steps > self._chunk_steps:
            self._current = None  # the next epoch starts with another chunk

    def _chunk(self, order: PlacedOrder, number: int) -> ChunkBatches:
        if order is not self._order:
            self._order, self._current, self._prefetched = order, None, None
        if self._current is None or self._current[0] != number:
            self._current = None  # frees its memory for the chunk after this one
            ahead = self._prefetched
            future = ahead[1] if ahead and ahead[0] == number else self._fetch(order, number)
            self._current, self._prefetched = (number, future.result()), None
            if (number + 1) * self._chunk_steps < self._num_steps:
                self._prefetched = number + 1, self._fetch(order, number + 1)
        return self._current[1]

    def _fetch(self, order: PlacedOrder, number: int) -> Future[ChunkBatches]:
        return self._thread.submit(self._read, np.asarray(order), number * self._chunk_steps)

    def _read(self, order: np.ndarray, first: int) -> ChunkBatches:
        shards, num_shards = local_shards(self._mesh), self._mesh.size
        rows = chunk_rows(order, first, self._chunk_steps, self._batch_size, shards=shards, num_shards=num_shards)
        images = self._images[rows.ravel()].reshape(*rows.shape, *self._images.shape[1:])
        return ChunkBatches(shard_from_host(self._mesh, images), np.int32(first), np.int32(len(order)))


Loader: TypeAlias = ResidentLoader | StreamingLoader


def make_loader(mesh: Mesh, images: AnyImages, batch_size: int, *, stream: bool) -> Loader:
    """The loader of `images` for the devices of `mesh`: streaming or resident."""
    return StreamingLoader(mesh, images, batch_size) if stream else ResidentLoader(mesh, images)
