"""Calibrates the tuned heads on posts that they were not trained on, measures them and writes
heads.json.

The same input gives the same bytes.
"""

import argparse
import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import scipy
from posts import SENTIMENTS, Post, Split, answers
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

# The share of the calibration posts, by ascending confidence, that a head marks as unsure.
UNSURE = 0.2


def embed(command: str, posts: list[Post]) -> np.ndarray:
    return np.stack(
        [
            np.frombuffer(base64.b64decode(row["embedding"]), "<f4")
            for row in answers(command, posts)
        ]
    ).astype(np.float64)


class Head:
    """A linear layer whose logits are scaled and shifted to calibrate its confidence (temperature
    scaling, Guo et al. 2017, arXiv:1706.04599)."""

    def __init__(self, labels: list[str], weights: np.ndarray, bias: np.ndarray):
        self.labels, self.weights, self.bias = (
            labels,
            weights.astype(np.float64),
            bias.astype(np.float64),
        )
        self.unsure_below = 0.0

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        return vectors @ self.weights + self.bias

    def calibrate(self, vectors: np.ndarray, loss, chances) -> None:
        raw = self.logits(vectors)
        found = minimize(
            lambda p: loss(raw * np.exp(p[0]) + p[1]),
            np.zeros(2),
            method="Nelder-Mead",
            options={"xatol": 1e-4, "fatol": 1e-6},
        )
        self.weights, self.bias = (
            self.weights * np.exp(found.x[0]),
            self.bias * np.exp(found.x[0]) + found.x[1],
        )
        best = chances(self.logits(vectors)).max(1)
        self.unsure_below = float(np.quantile(best, UNSURE))

    def json(self) -> dict:
        shorten = lambda row: [float(f"{value:.5g}") for value in row]
        rows = [shorten(row) for row in self.weights.T]
        return {
            "labels": self.labels,
            "weights": rows,
            "bias": shorten(self.bias),
            "unsure_below": round(self.unsure_below, 4),
        }


def percent(values) -> float:
    return round(float(np.mean(values)), 4)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The expected calibration error (Naeini et al. 2015) over ten bins of equal width."""
    bins = np.minimum((confidence * 10).astype(int), 9)
    return round(
        float(sum(abs((confidence - right)[bins == b].sum()) for b in range(10)) / len(right)), 4
    )


def covered(confidence: np.ndarray, right: np.ndarray) -> dict:
    """Accuracy of the most confident posts, by percent of the posts."""
    order = np.argsort(-confidence, kind="stable")
    return {
        str(part): percent(right[order[: len(order) * part // 100]])
        for part in (20, 40, 60, 80, 100)
    }


def three_classes(posts: list[Post], chances: np.ndarray, mask: np.ndarray) -> dict:
    right = np.array([SENTIMENTS.index(post.label) for post in posts])[mask]
    chances = chances[mask]
    said, clear = chances.argmax(1), right != 1
    f1 = [
        2 * ((said == c) & (right == c)).sum() / ((said == c).sum() + (right == c).sum())
        for c in range(3)
    ]
    return {
        "posts": len(right),
        "accuracy": percent(said == right),
        "macro_f1": percent(f1),
        "f1": {name: round(float(value), 4) for name, value in zip(SENTIMENTS, f1, strict=True)},
        "polarity_accuracy": percent(((chances[:, 2] > chances[:, 0]) == (right == 2))[clear]),
        "calibration_error": calibration_error(chances.max(1), said == right),
    }


def by_language(posts: list[Post], figures) -> dict:
    languages = np.array([post.lang for post in posts])
    return {lang: figures(languages == lang) for lang in sorted(set(languages))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with xlm-t/{train,validation}.jsonl and tweet-topic-xl/train.jsonl",
    )
    parser.add_argument(
        "--tweets", type=Path, required=True, help="source distribution of vaderSentiment"
    )
    parser.add_argument("--heads", type=Path, required=True, help="the tuned heads")
    parser.add_argument(
        "--embed", required=True, help="command that reads texts and prints embeddings"
    )
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    vectors = lambda posts: embed(options.embed, posts)

    split = Split.of(options.data, options.tweets)
    with np.load(options.heads) as tuned:
        topics = tuned["topic_names"].tolist()
        sentiment = Head(SENTIMENTS, tuned["sentiment.w"], tuned["sentiment.b"])
        topical = Head(topics, tuned["topics.w"], tuned["topics.b"])

    right = np.array([SENTIMENTS.index(post.label) for post in split.calibrate])
    # The softmax ignores a shift of all three classes: only the scale counts.
    sentiment.calibrate(
        vectors(split.calibrate),
        lambda logits: -log_softmax(logits, 1)[np.arange(len(right)), right].mean(),
        lambda logits: softmax(logits, 1),
    )
    marked = lambda posts: np.array([[topic in post.topics for topic in topics] for post in posts])
    of_topics = marked(split.calibrate_topics)
    topical.calibrate(
        vectors(split.calibrate_topics),
        lambda logits: (np.logaddexp(0, logits) - logits * of_topics).sum(1).mean(),
        expit,
    )

    chances = softmax(sentiment.logits(vectors(split.validation)), 1)
    three = lambda mask: three_classes(split.validation, chances, mask)
    clear = sentiment.logits(vectors(split.held_clear))
    positive = np.array([post.label == "positive" for post in split.held_clear])

    sure = expit(topical.logits(vectors(split.held_topics)))
    labels = marked(split.held_topics)
    hits = labels[np.arange(len(sure)), sure.argmax(1)]

    def topic_figures(mask):
        return {
            "posts": int(mask.sum()),
            "top1": percent(hits[mask]),
            "accuracy_of_the_surest": covered(sure.max(1)[mask], hits[mask]),
            "calibration_error": calibration_error(sure.max(1)[mask], hits[mask]),
        }

    files = {
        name: options.data / f"{name}.jsonl"
        for name in ("xlm-t/train", "xlm-t/validation", "tweet-topic-xl/train")
    }
    sha256 = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in (files | {"vaderSentiment": options.tweets}).items()
    }
    everything = np.ones(len(split.validation), bool)
    record = {
        "command": "workloads/ai/models/train DATA",
        "scipy": scipy.__version__,
        "data": {
            "sha256": sha256,
            "posts": {name: len(posts) for name, posts in vars(split).items()},
        },
        "sentiment": three(everything) | {"by_language": by_language(split.validation, three)},
        "clear_tweets": {
            "posts": len(positive),
            "polarity_accuracy": percent((clear[:, 2] > clear[:, 0]) == positive),
        },
        "topics": topic_figures(np.ones(len(hits), bool))
        | {
            "by_language": by_language(split.held_topics, topic_figures),
            "by_topic": {
                topic: {"posts": int(labels[:, i].sum()), "top1": percent(hits[labels[:, i]])}
                for i, topic in enumerate(topics)
            },
        },
    }
    result = {
        "encoder_sha256": json.loads(options.manifest.read_text())["files"]["encoder.onnx"],
        "record": record,
        "sentiment": sentiment.json(),
        "topics": topical.json(),
    }
    options.out.write_text(
        json.dumps(result, ensure_ascii=False, separators=(",", ":")).replace("],", "],\n") + "\n"
    )
    print(json.dumps(record, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
