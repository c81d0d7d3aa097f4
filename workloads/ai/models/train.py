"""Learns the heads from labelled posts and the encoder's vectors, and writes heads.json: the same bytes for the same input.

Sentiment is a logistic regression over three classes, topics one for each topic, so that several may be right. Strength of the regularisation is chosen
by cross-validation inside the training part; the validation part is only measured, once, at the end.
"""

import argparse
import base64
import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

SENTIMENTS = ["negative", "neutral", "positive"]
STRENGTHS = {"sentiment": [1.0, 3.0, 10.0], "topics": [10.0, 20.0, 30.0, 50.0]}
FOLDS = 4


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def embed(command: list[str], posts: list[dict]) -> np.ndarray:
    """Through the program that serves, so that training sees exactly what serving will."""
    lines = "".join(json.dumps({"text": post["text"]}) + "\n" for post in posts)
    output = subprocess.run(command, input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout
    rows = [np.frombuffer(base64.b64decode(json.loads(line)["embedding"]), "<f4") for line in output.splitlines()]
    if len(rows) != len(posts):
        raise SystemExit(f"{len(posts)} posts gave {len(rows)} vectors")
    return np.stack(rows).astype(np.float64)


def fit(vectors, targets, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=2000).fit(vectors, targets)


def independent(train, targets, test, strength: float) -> np.ndarray:
    return np.stack([fit(train, column, strength).predict_proba(test)[:, 1] for column in targets.T], axis=1)


def choose(name: str, folds, score) -> tuple[float, dict]:
    """The strength of the best mean score over the folds; the first of equal ones."""
    means = {}
    for strength in STRENGTHS[name]:
        means[strength] = float(np.mean([score(folds != fold, folds == fold, strength) for fold in range(FOLDS)]))
        print(f"{name}: strength {strength}: {means[strength]:.4f} in {FOLDS}-fold cross-validation", file=sys.stderr)
    return max(means, key=means.get), {str(strength): round(mean, 4) for strength, mean in means.items()}


def head(labels, models) -> dict:
    shorten = lambda row: [float(f"{value:.5g}") for value in row]  # noqa: E731
    rows = np.concatenate([model.coef_ for model in models])
    bias = np.concatenate([model.intercept_ for model in models])
    return {"labels": labels, "weights": [shorten(row) for row in rows], "bias": shorten(bias)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with xlm-t/{train,validation}.jsonl and tweet-topic-xl/train.jsonl")
    parser.add_argument("--embed", required=True, help="command that reads texts and prints vectors")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    embedder = shlex.split(options.embed)
    random = np.random.RandomState(options.seed)

    paths = {name: options.data / f"{name}.jsonl" for name in ("xlm-t/train", "xlm-t/validation", "tweet-topic-xl/train")}
    posts = {name: read(path) for name, path in paths.items()}
    # A post that is also in the validation part would make its figures look better than they are.
    held_out = {" ".join(post["text"].split()).casefold() for post in posts["xlm-t/validation"]}
    train = [post for post in posts["xlm-t/train"] if " ".join(post["text"].split()).casefold() not in held_out]
    vectors, labels = embed(embedder, train), np.array([SENTIMENTS.index(post["label"]) for post in train])

    def accuracy(train, test, strength):
        return fit(vectors[train], labels[train], strength).score(vectors[test], labels[test])

    sentiment_strength, sentiment_folds = choose("sentiment", random.permutation(len(train)) % FOLDS, accuracy)
    sentiment = fit(vectors, labels, sentiment_strength)

    validation = posts["xlm-t/validation"]
    right = np.array([SENTIMENTS.index(post["label"]) for post in validation])
    chances = sentiment.predict_proba(embed(embedder, validation))
    said, clear = chances.argmax(axis=1), right != 1

    def figures(mask):
        polar = mask & clear
        return {
            "posts": int(mask.sum()),
            "accuracy": round(float((said == right)[mask].mean()), 4),
            "macro_f1": round(float(f1_score(right[mask], said[mask], average="macro")), 4),
            "polarity_accuracy": round(float(((chances[:, 2] > chances[:, 0]) == (right == 2))[polar].mean()), 4),
        }

    languages = np.array([post["lang"] for post in validation])

    topical = posts["tweet-topic-xl/train"]
    topics = sorted({topic for post in topical for topic in post["topics"]})
    topic_vectors = embed(embedder, topical)
    targets = np.array([[topic in post["topics"] for topic in topics] for post in topical])
    folds = random.permutation(len(topical)) % FOLDS

    def top1(train, test, strength):
        best = independent(topic_vectors[train], targets[train], topic_vectors[test], strength).argmax(axis=1)
        return targets[test][np.arange(test.sum()), best].mean()

    topic_strength, topic_folds = choose("topics", folds, top1)
    crossed = np.zeros(targets.shape)
    for fold in range(FOLDS):
        crossed[folds == fold] = independent(topic_vectors[folds != fold], targets[folds != fold], topic_vectors[folds == fold], topic_strength)
    hits = targets[np.arange(len(topical)), crossed.argmax(axis=1)]
    topic_languages = np.array([post["lang"] for post in topical])

    record = {
        "command": "workloads/ai/models/train DATA",
        "seed": options.seed,
        "scikit_learn": sklearn.__version__,
        "data": {name: {"posts": len(posts[name]), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for name, path in paths.items()},
        "left_out_as_in_validation": len(posts["xlm-t/train"]) - len(train),
        "sentiment": {
            "strength": sentiment_strength,
            "cross_validation_accuracy": sentiment_folds,
            "validation": figures(np.ones(len(right), bool)) | {"by_language": {lang: figures(languages == lang) for lang in sorted(set(languages))}},
        },
        "topics": {
            "strength": topic_strength,
            "cross_validation_top1": topic_folds,
            "cross_validation": {
                "posts": len(topical),
                "top1": round(float(hits.mean()), 4),
                "by_language": {lang: round(float(hits[topic_languages == lang].mean()), 4) for lang in sorted(set(topic_languages))},
                "by_topic": {topic: round(float(hits[targets[:, i]].mean()), 4) for i, topic in enumerate(topics)},
            },
        },
    }
    result = {
        "encoder_sha256": json.loads(options.manifest.read_text())["files"]["encoder.onnx"],
        "record": record,
        "sentiment": head(SENTIMENTS, [sentiment]),
        "topics": head(topics, [fit(topic_vectors, column, topic_strength) for column in targets.T]),
    }
    options.out.write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")).replace("],", "],\n") + "\n")
    print(json.dumps(record, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
