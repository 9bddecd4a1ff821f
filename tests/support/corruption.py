"""Generated corruptions of a file's content."""

import random
from collections.abc import Iterator


def corruptions(content: bytes, n: int, seed: int) -> Iterator[bytes]:
    """Yield `n` corrupt copies: of four, one is truncated, one overwritten and two have a few flipped bits.

    Half of the flips are in the first 300 bytes or the last 300, where formats have their headers.
    """
    rng = random.Random(seed)
    for i in range(n):
        corrupt = bytearray(content)
        if i % 4 == 0:
            yield content[: rng.randrange(len(content))]
            continue
        for _ in range(rng.randrange(1, 4)):
            edge = min(300, len(content))
            place = rng.choice(
                [rng.randrange(len(content)), rng.randrange(edge), len(content) - 1 - rng.randrange(edge)]
            )
            corrupt[place] = rng.randrange(256) if i % 4 == 1 else corrupt[place] ^ 1 << rng.randrange(8)
        yield bytes(corrupt)
