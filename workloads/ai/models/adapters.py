"""The changes of the encoder by tuning: adapters.npz.

A tuned matrix is the base's plus `down` times `up`, two low-rank matrices (LoRA, Hu et al. 2021,
arXiv:2106.09685). Each is stored in int8 with a float32 scale for each of its `rank` columns or
rows. Tuned biases and norms are stored as float16 differences, the smoothing factors of
smoothing.py in float16.
"""

from pathlib import Path

import numpy as np
from q4 import Weights

# Matrices of a layer that are tuned.
MATRICES = ("q", "k", "v", "ao", "fi", "fo")


def quantized(matrix: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """`matrix` in int8, and the scale of each slice across `axis`."""
    scale = np.maximum(
        np.abs(matrix).max(axis=axis, keepdims=True), np.float32(1e-12)
    ) / np.float32(127)
    return np.rint(matrix / scale).astype(np.int8), scale.astype(np.float32)


def save(
    path: Path, pairs: dict[str, tuple[np.ndarray, np.ndarray]], differences: dict[str, np.ndarray]
) -> None:
    """`pairs` has (inputs, rank) and (rank, outputs) for each tuned matrix, `differences` what is
    added to a vector."""
    arrays = {f"{name}.add": value.astype(np.float16) for name, value in differences.items()}
    for name, (down, up) in pairs.items():
        arrays[f"{name}.down"], arrays[f"{name}.down_scale"] = quantized(down, 0)
        arrays[f"{name}.up"], arrays[f"{name}.up_scale"] = quantized(up, 1)
    np.savez_compressed(path, **dict(sorted(arrays.items())))


def smooth(path: Path, factors: dict[str, np.ndarray]) -> None:
    """Adds the smoothing factors of each product's inputs to a file."""
    with np.load(path) as stored:
        arrays = dict(stored) | {
            f"{name}.smooth": value.astype(np.float16) for name, value in factors.items()
        }
    np.savez_compressed(path, **dict(sorted(arrays.items())))


class Tuned(Weights):
    """The base's weights with the adapters of a file merged in."""

    def __init__(self, data: bytes, adapters: Path):
        super().__init__(data)
        with np.load(adapters) as arrays:
            self.changes = dict(arrays)

    def matrix(self, name: str, inputs: int) -> np.ndarray:
        base = super().matrix(name, inputs)
        if f"{name}.up" not in self.changes:
            return base
        part = lambda side: (
            self.changes[f"{name}.{side}"].astype(np.float32) * self.changes[f"{name}.{side}_scale"]
        )
        down, up = part("down"), part("up")
        # Term by term: the order of additions in a library's product depends on the machine, and
        # the merged bytes must not.
        for k in range(down.shape[1]):
            base += down[:, k, None] * up[None, k]
        return base

    def vector(self, name: str) -> np.ndarray:
        base = super().vector(name)
        difference = self.changes.get(f"{name}.add")
        return base if difference is None else base + difference.astype(np.float32)

    def smoothing(self, product: str) -> np.ndarray | None:
        factors = self.changes.get(f"{product}.smooth")
        return None if factors is None else factors.astype(np.float32)
