"""Builds the encoder's ONNX graph from its weights: (input_ids, attention_mask), int64 (batch,
sequence), to `embedding`, float32 (batch, hidden).

The graph is BERT with post-norm layers and erf GELU, then the mean over the unmasked tokens, scaled
to length 1. The token embeddings stay in their 4-bit blocks. Matrix products have int8 weights with
a scale per column, and activations that are quantized dynamically to uint8.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model
from q4 import BLOCK, Blocks, Weights

MICROSOFT = "com.microsoft"

# Weights are rounded to -64..64, not -127..127. CPUs without VNNI add two products of 8-bit numbers
# in 16 bits and would clip larger ones, so answers would depend on the machine. The weights come
# from 4 bits, so this loses no precision.
LARGEST = np.float32(64)


class Graph:
    def __init__(self):
        self.nodes = []
        self.constants = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def ints(self, *values: int) -> str:
        return self.constant(
            "shape_" + "_".join(map(str, values)).replace("-", "n"), np.array(values, np.int64)
        )

    def node(self, kind: str, *inputs: str, out: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out


def embedding_rows(g: Graph, table: Blocks, ids: str) -> str:
    """Rows of a table in 4-bit blocks. The low nibbles of a block are its first half."""
    rows, blocks, _ = table.nibbles.shape
    half = BLOCK // 2
    packed = table.nibbles[:, :, :half] | (table.nibbles[:, :, half:] << 4)
    g.constant("word_nibbles", packed.reshape(rows, blocks * half))
    g.constant("word_scales", table.scales)
    picked = g.node("Gather", "word_nibbles", ids, out="word_packed")
    low = g.node(
        "BitwiseAnd", picked, g.constant("low_nibble", np.array(15, np.uint8)), out="word_low"
    )
    high = g.node(
        "BitShift",
        picked,
        g.constant("high_nibble", np.array(4, np.uint8)),
        out="word_high",
        direction="RIGHT",
    )
    split = [
        g.node("Reshape", part, g.ints(0, 0, blocks, half), out=part + "_blocks")
        for part in (low, high)
    ]
    whole = g.node("Concat", *split, out="word_whole", axis=3)
    centred = g.node(
        "Sub",
        g.node("Cast", whole, out="word_float", to=TensorProto.FLOAT),
        g.constant("eight", np.float32(8)),
        out="word_centred",
    )
    scales = g.node(
        "Cast",
        g.node("Gather", "word_scales", ids, out="word_scale16"),
        out="word_scale32",
        to=TensorProto.FLOAT,
    )
    scaled = g.node(
        "Mul", centred, g.node("Unsqueeze", scales, g.ints(3), out="word_scale"), out="word_scaled"
    )
    return g.node("Reshape", scaled, g.ints(0, 0, blocks * BLOCK), out="word")


def linear(g: Graph, weights: Weights, parts: list[str], x: str, inputs: int, exact: bool) -> str:
    """One product for all `parts` side by side, so that their common input is quantized once."""
    name = "_".join(parts)
    matrix = np.concatenate([weights.matrix(f"{part}.w", inputs) for part in parts], axis=1)
    bias = g.constant(f"{name}.b", np.concatenate([weights.vector(f"{part}.b") for part in parts]))
    if exact:
        return g.node(
            "Add",
            g.node("MatMul", x, g.constant(f"{name}.w", matrix), out=f"{name}.product"),
            bias,
            out=name,
        )
    smoothing = weights.smoothing(name)
    if smoothing is not None:
        x = g.node("Mul", x, g.constant(f"{name}.smooth", 1 / smoothing), out=f"{name}.smoothed")
        matrix *= smoothing[:, None]
    scale = np.abs(matrix).max(axis=0) / LARGEST
    rounded = g.constant(f"{name}.w", np.rint(matrix / scale).astype(np.int8))
    inputs = [x, rounded, g.constant(f"{name}.scale", scale), "", bias]
    return g.node("DynamicQuantizeMatMul", *inputs, out=name, domain=MICROSOFT)


def norm(g: Graph, weights: Weights, name: str, x: str) -> str:
    scale, shift = (g.constant(f"{name}.{part}", weights.vector(f"{name}.{part}")) for part in "wb")
    return g.node(
        "LayerNormalization", x, scale, shift, out=name, axis=-1, epsilon=weights.shape.epsilon
    )


def layer(g: Graph, weights: Weights, i: int, x: str, mask: str, exact: bool) -> str:
    shape = weights.shape
    size = shape.hidden // shape.heads

    def heads(part: str, order: list[int]) -> str:
        split = g.node(
            "Reshape",
            f"l{i}.{part}.flat",
            g.ints(0, 0, shape.heads, size),
            out=f"l{i}.{part}.split",
        )
        return g.node("Transpose", split, out=f"l{i}.{part}.heads", perm=order)

    projected = linear(g, weights, [f"l{i}.{part}" for part in "qkv"], x, shape.hidden, exact)
    g.nodes.append(
        helper.make_node(
            "Split", [projected], [f"l{i}.{part}.flat" for part in "qkv"], axis=2, num_outputs=3
        )
    )
    scores = g.node("MatMul", heads("q", [0, 2, 1, 3]), heads("k", [0, 2, 3, 1]), out=f"l{i}.dots")
    scores = g.node(
        "Mul", scores, g.constant("head_scale", np.float32(size**-0.5)), out=f"l{i}.scaled"
    )
    scores = g.node(
        "Softmax", g.node("Add", scores, mask, out=f"l{i}.masked"), out=f"l{i}.attention", axis=-1
    )
    mixed = g.node("MatMul", scores, heads("v", [0, 2, 1, 3]), out=f"l{i}.mixed")
    mixed = g.node("Transpose", mixed, out=f"l{i}.mixed_rows", perm=[0, 2, 1, 3])
    mixed = g.node("Reshape", mixed, g.ints(0, 0, shape.hidden), out=f"l{i}.context")
    attended = linear(g, weights, [f"l{i}.ao"], mixed, shape.hidden, exact)
    x = norm(g, weights, f"l{i}.aln", g.node("Add", attended, x, out=f"l{i}.attended"))
    wide = linear(g, weights, [f"l{i}.fi"], x, shape.hidden, exact)
    wide = g.node("Gelu", wide, out=f"l{i}.gelu")
    narrow = linear(g, weights, [f"l{i}.fo"], wide, shape.feed_forward, exact)
    return norm(g, weights, f"l{i}.oln", g.node("Add", narrow, x, out=f"l{i}.fed"))


def build(weights: Weights, path: str, exact: bool = False) -> None:
    """Writes the encoder to `path`. With `exact` it multiplies in float32, as the reference for the
    int8 graph."""
    g, shape = Graph(), weights.shape
    words = embedding_rows(g, weights.blocks("emb.word", shape.hidden), "input_ids")
    # Every token is of type 0, so the type embedding is added to the positions.
    g.constant(
        "positions",
        weights.vector("emb.pos").reshape(-1, shape.hidden)
        + weights.vector("emb.type")[: shape.hidden],
    )
    length = g.node("Shape", "input_ids", out="length", start=1, end=2)
    places = g.node("Slice", "positions", g.ints(0), length, g.ints(0), out="places")
    x = norm(g, weights, "emb.ln", g.node("Add", words, places, out="tokens"))

    kept = g.node("Cast", "attention_mask", out="kept", to=TensorProto.FLOAT)
    dropped = g.node("Sub", g.constant("one", np.float32(1)), kept, out="dropped")
    mask = g.node("Mul", dropped, g.constant("minus_much", np.float32(-10_000)), out="mask_flat")
    mask = g.node("Unsqueeze", mask, g.ints(1, 2), out="mask")
    for i in range(shape.layers):
        x = layer(g, weights, i, x, mask, exact)

    weight = g.node("Unsqueeze", kept, g.ints(2), out="weight")
    total = g.node(
        "ReduceSum", g.node("Mul", x, weight, out="counted"), g.ints(1), out="total", keepdims=0
    )
    # The mean differs from the sum only by a factor, which scaling to length 1 removes.
    width = g.node("ReduceL2", total, g.ints(1), out="width", keepdims=1)
    g.node(
        "Div",
        total,
        g.node("Max", width, g.constant("tiny", np.float32(1e-12)), out="safe_width"),
        out="embedding",
    )

    token_matrix = lambda name: helper.make_tensor_value_info(
        name, TensorProto.INT64, ["batch", "sequence"]
    )
    graph = helper.make_graph(
        g.nodes,
        "encoder",
        [token_matrix("input_ids"), token_matrix("attention_mask")],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", shape.hidden])],
        list(g.constants.values()),
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
    save_model(
        helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="switchyard"),
        path,
    )
