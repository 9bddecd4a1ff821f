"""Corrupt copies of a file: flipped bits, overwritten bytes and truncations, half of them in its structure."""

import io
import random
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_ZIP_HEADER = 30  # bytes of a member's header before its name
_START_OF_SCAN = 0xDA  # the marker of the last segment before the compressed pixels of a JPEG
_START = 512  # first bytes of a member, which may have a header of its own


class Mutation(NamedTuple):
    """A corrupt copy of a content."""

    description: str
    content: bytes


def mutations(content: bytes, structure: Sequence[range], n: int, seed: int) -> Iterator[Mutation]:
    """Yield `n` corrupt copies: of four, one is truncated, one has overwritten bytes and two have flipped bits.

    One to three bytes are changed; half of them are in the ranges of `structure`, the others anywhere.
    """
    rng = random.Random(seed)
    for i in range(n):
        if i % 4 == 0:
            length = _place(rng, len(content), structure)
            yield Mutation(f"truncated to {length} bytes", content[:length])
            continue
        corrupt, changes = bytearray(content), []
        for _ in range(rng.randrange(1, 4)):
            place = _place(rng, len(content), structure)
            corrupt[place] = rng.randrange(256) if i % 4 == 1 else corrupt[place] ^ 1 << rng.randrange(8)
            changes.append(f"{corrupt[place]:#04x} at {place}")
        yield Mutation(", ".join(changes), bytes(corrupt))


def zip_structure(content: bytes) -> list[range]:
    """The headers of an archive's members, its directory, and the first bytes of each member."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        starts = [member.header_offset for member in archive.infolist()]
        names = [len(member.filename.encode()) for member in archive.infolist()]
        directory = range(archive.start_dir, len(content))
    headers = [range(start, start + _ZIP_HEADER + length) for start, length in zip(starts, names, strict=True)]
    return [*headers, *(range(each.stop, min(each.stop + _START, directory.start)) for each in headers), directory]


def png_structure(content: bytes) -> list[range]:
    """The signature, and of each chunk its length, type, first bytes and checksum."""
    ranges, start = [range(8)], 8
    while start < len(content):
        stop = start + 12 + int.from_bytes(content[start : start + 4])
        ranges += [range(start, min(start + 24, stop)), range(stop - 4, stop)]
        start = stop
    return ranges


def jpeg_structure(content: bytes) -> list[range]:
    """The marker, the length and the first bytes of each segment before the compressed pixels."""
    ranges, start = [range(2)], 2
    while content[ranges[-1].start + 1] != _START_OF_SCAN:
        stop = start + 2 + int.from_bytes(content[start + 2 : start + 4])
        ranges.append(range(start, min(start + 24, stop)))
        start = stop
    return ranges


def with_png_checksums(content: bytes) -> bytes:
    """The content with the checksum that each chunk should have, as far as its chunks are whole."""
    sealed, start = bytearray(content), 8
    while (stop := start + 8 + int.from_bytes(sealed[start : start + 4])) + 4 <= len(sealed):
        sealed[stop : stop + 4] = zlib.crc32(sealed[start + 4 : stop]).to_bytes(4)
        start = stop + 4
    return bytes(sealed)


def read_member(content: bytes, name: str) -> bytes:
    """The content of a member of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(name)


def with_member(content: bytes, name: str, member: bytes) -> bytes:
    """The archive with another content of one member, and its checksum."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(changed, "w") as target:
        for each in archive.namelist():
            target.writestr(each, member if each == name else archive.read(each))
    return changed.getvalue()


def _place(rng: random.Random, length: int, structure: Sequence[range]) -> int:
    return rng.choice(rng.choice(structure)) if structure and rng.random() < 0.5 else rng.randrange(length)
