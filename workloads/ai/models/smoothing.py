"""Computes the smoothing factors of each product's inputs and adds them to adapters.npz.

A few activations of every token are much larger than the others, and all share one scale. Smoothing
divides the inputs by the factors and multiplies the rows of the matrix with them (SmoothQuant, Xiao
et al. 2022, arXiv:2211.10438).
"""

import tempfile
from pathlib import Path

import adapters
import graph
import numpy as np
import onnx
import onnxruntime

# Number of posts, approximately, whose activations are measured.
POSTS = 128
# The migration strength, alpha of the paper: how much of the inputs' range moves into the matrix.
SHARE = 0.75


def largest(
    weights: adapters.Tuned, posts: list[np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By the name of a matrix: the largest absolute input of each row, and the row's largest
    absolute weight."""
    with tempfile.TemporaryDirectory() as work:
        path = str(Path(work) / "exact.onnx")
        graph.build(weights, path, exact=True)
        model = onnx.load(path)
    matrices = {
        value.name: onnx.numpy_helper.to_array(value)
        for value in model.graph.initializer
        if value.name.endswith(".w")
    }
    products = {
        node.input[1].removesuffix(".w"): node.input[0]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in matrices
    }
    for name in set(products.values()):
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    sizes = dict.fromkeys(products.values(), 0)
    for ids in posts:
        found = session.run(
            list(sizes),
            {"input_ids": ids[None], "attention_mask": np.ones((1, len(ids)), np.int64)},
        )
        sizes = {
            name: np.maximum(sizes[name], np.abs(values).max(axis=(0, 1)))
            for name, values in zip(sizes, found, strict=True)
        }
    return {
        name: (sizes[x], np.abs(matrices[f"{name}.w"]).max(axis=1)) for name, x in products.items()
    }


def factors(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The smoothing factors, with a geometric mean of 1."""
    tiny = 1e-6
    logs = SHARE * np.log(np.maximum(inputs, tiny)) - (1 - SHARE) * np.log(
        np.maximum(weights, tiny)
    )
    return np.exp(logs - logs.mean())


def smooth(base: bytes, path: Path, posts: list[np.ndarray]) -> None:
    """Adds the smoothing factors to the adapters at `path`. `posts` are the token ids of training
    posts, of which a sample is read."""
    sizes = largest(adapters.Tuned(base, path), posts[:: max(1, len(posts) // POSTS)])
    adapters.smooth(path, {name: factors(*size) for name, size in sizes.items()})
