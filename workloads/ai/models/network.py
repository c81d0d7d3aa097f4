"""The encoder in JAX, for tuning. It computes the same as the float32 graph of graph.py."""

import jax
import jax.numpy as jnp
import numpy as np
from adapters import MATRICES
from q4 import Shape, Weights

NORMS = ("aln", "oln")
# Dropout (Srivastava et al. 2014) of the residual branches in training.
DROPOUT = 0.2


def inputs_of(shape: Shape, part: str) -> int:
    return shape.feed_forward if part == "fo" else shape.hidden


def frozen(weights: Weights) -> dict:
    """The base's layers, stacked for a scan."""
    stack = lambda read: np.stack([read(i) for i in range(weights.shape.layers)])
    layers = {
        f"{part}.w": stack(
            lambda i, part=part: weights.matrix(f"l{i}.{part}.w", inputs_of(weights.shape, part))
        )
        for part in MATRICES
    }
    layers |= {
        f"{part}.b": stack(lambda i, part=part: weights.vector(f"l{i}.{part}.b"))
        for part in (*MATRICES, *NORMS)
    }
    return layers | {
        f"{norm}.w": stack(lambda i, norm=norm: weights.vector(f"l{i}.{norm}.w")) for norm in NORMS
    }


def normalised(x, scale, shift, epsilon):
    mean = x.mean(-1, keepdims=True)
    spread = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(spread + epsilon) * scale + shift


def words(weights: Weights):
    """A function from token ids (posts, tokens) to the input of the first layer (posts, tokens,
    hidden)."""
    shape = weights.shape
    table = weights.blocks("emb.word", shape.hidden)
    places = (
        weights.vector("emb.pos").reshape(-1, shape.hidden)
        + weights.vector("emb.type")[: shape.hidden]
    )
    scale, shift = weights.vector("emb.ln.w"), weights.vector("emb.ln.b")

    def enter(ids: np.ndarray) -> np.ndarray:
        picked = (table.nibbles[ids].astype(np.float32) - 8) * table.scales[ids].astype(np.float32)[
            ..., None
        ]
        x = picked.reshape(*ids.shape, shape.hidden) + places[: ids.shape[1]]
        return np.asarray(normalised(jnp.asarray(x), scale, shift, shape.epsilon))

    return enter


def run(shape: Shape, layers: dict, tuned: dict, x, mask, key=None):
    """Runs stacked layers over (posts, tokens, hidden). `tuned` has `<part>.down`, `<part>.up` and
    the differences of vectors. With a `key`, dropout is applied."""
    posts, tokens, hidden = x.shape
    size = hidden // shape.heads
    hide = ((1 - mask) * -10_000)[:, None, None, :]

    def one(x, layer):
        w, t, seed = layer
        vector = lambda name: w[name] + t[name]

        def linear(part, x):
            return (
                x @ w[f"{part}.w"] + vector(f"{part}.b") + (x @ t[f"{part}.down"]) @ t[f"{part}.up"]
            )

        def dropped(y, number):
            if seed is None:
                return y
            keep = jax.random.bernoulli(jax.random.fold_in(seed, number), 1 - DROPOUT, y.shape)
            return jnp.where(keep, y / (1 - DROPOUT), 0)

        split = lambda y: y.reshape(posts, tokens, shape.heads, size).transpose(0, 2, 1, 3)
        q, k, v = (split(linear(part, x)) for part in "qkv")
        attention = jax.nn.softmax(q @ k.swapaxes(2, 3) * size**-0.5 + hide, axis=-1)
        context = (attention @ v).transpose(0, 2, 1, 3).reshape(posts, tokens, hidden)
        x = normalised(
            x + dropped(linear("ao", context), 0), vector("aln.w"), vector("aln.b"), shape.epsilon
        )
        wide = jax.nn.gelu(linear("fi", x), approximate=False)
        return normalised(
            x + dropped(linear("fo", wide), 1), vector("oln.w"), vector("oln.b"), shape.epsilon
        ), None

    depth = len(layers["q.b"])
    seeds = None if key is None else jax.random.split(key, depth)
    return jax.lax.scan(one, x, (layers, tuned, seeds))[0]


def pooled(x, mask):
    """The mean over the unmasked tokens, scaled to length 1."""
    total = (x * mask[..., None]).sum(1)
    return total / jnp.maximum(jnp.linalg.norm(total, axis=1, keepdims=True), 1e-12)
