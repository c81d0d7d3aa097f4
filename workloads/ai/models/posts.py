"""The labelled posts, their split into training and held-out sets, and the program's outputs for
them."""

import csv
import hashlib
import io
import json
import re
import shlex
import subprocess
import tarfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

SENTIMENTS = ["negative", "neutral", "positive"]
# Letters of a shingle, and the Jaccard similarity of two posts' shingles from which they are
# near-duplicates.
SHINGLE = 6
NEAR = 0.4
# Least absolute mean rating of a clearly positive or negative tweet of the vaderSentiment corpus
# (Hutto and Gilbert 2014). Twenty people rated each tweet from -4 to 4.
CLEAR = 1.0


@dataclass(frozen=True)
class Post:
    text: str
    lang: str
    label: str | None = None
    topics: tuple[str, ...] | None = None


def read(path: Path) -> list[Post]:
    rows = (json.loads(line) for line in path.read_text().splitlines() if line.strip())
    return [
        Post(
            row["text"],
            row["lang"],
            row.get("label"),
            tuple(row["topics"]) if "topics" in row else None,
        )
        for row in rows
    ]


def clear_tweets(sdist: Path) -> list[Post]:
    """The English tweets of vaderSentiment's corpus that are clearly positive or negative."""
    with tarfile.open(sdist) as outer:
        (name,) = [name for name in outer.getnames() if name.endswith("/hutto_ICWSM_2014.tar.gz")]
        with tarfile.open(fileobj=io.BytesIO(outer.extractfile(name).read())) as inner:
            (name,) = [
                name for name in inner.getnames() if name.endswith("/tweets_GroundTruth.txt")
            ]
            table = inner.extractfile(name).read().decode()
    rows = csv.reader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE)
    rated = ((float(mean), text) for _, mean, text in rows)
    return [
        Post(text, "en", "positive" if mean > 0 else "negative")
        for mean, text in rated
        if abs(mean) >= CLEAR
    ]


def answers(command: str, posts: list[Post]) -> list[dict]:
    """The output of a command of the serving program for each post: training and serving share the
    preprocessing."""
    lines = "".join(json.dumps({"text": post.text}) + "\n" for post in posts)
    output = subprocess.run(
        shlex.split(command), input=lines.encode(), stdout=subprocess.PIPE, check=True
    ).stdout
    rows = [json.loads(line) for line in output.splitlines()]
    if len(rows) != len(posts):
        raise SystemExit(f"{command} printed {len(rows)} lines for {len(posts)} posts")
    return rows


def plain(text: str) -> str:
    """Letters and digits without URLs and mentions, for the comparison of posts."""
    return "".join(re.findall(r"\w+", re.sub(r"https?\S*|@\w+|^RT ", " ", text).casefold()))


def share(post: Post, parts: int) -> int:
    """The share of a post, 0 to `parts` - 1. It depends only on the text, not on the position in a
    file."""
    return int.from_bytes(hashlib.sha256(plain(post.text).encode()).digest()[:4]) % parts


def shingles(text: str) -> set[str]:
    letters = plain(text)
    return {letters[i : i + SHINGLE] for i in range(max(1, len(letters) - SHINGLE + 1))}


def unlike(posts: list[Post], held_out: list[Post]) -> list[Post]:
    """The `posts` that are not near-duplicates of a post in `held_out`."""
    sizes, where = [], defaultdict(list)
    for number, post in enumerate(held_out):
        kinds = shingles(post.text)
        sizes.append(len(kinds))
        for kind in kinds:
            where[kind].append(number)

    def near(post):
        kinds = shingles(post.text)
        common = Counter(number for kind in kinds for number in where.get(kind, ()))
        return any(
            count >= NEAR * (len(kinds) + sizes[number] - count) for number, count in common.items()
        )

    return [post for post in posts if not near(post)]


def held_clear(tweets: list[Post]) -> list[Post]:
    """The held-out clear tweets."""
    return [post for post in tweets if share(post, 4) == 0]


def held_topics(topical: list[Post]) -> list[Post]:
    """The held-out posts with topics."""
    return [post for post in topical if share(post, 6) == 0]


@dataclass(frozen=True)
class Split:
    """The split of the posts: `train*` for training, `calibrate*` for calibration. The rest is held
    out and measured once."""

    train: list[Post]
    train_clear: list[Post]
    train_topics: list[Post]
    calibrate: list[Post]
    calibrate_topics: list[Post]
    validation: list[Post]
    held_clear: list[Post]
    held_topics: list[Post]

    @classmethod
    def of(cls, data: Path, sdist: Path) -> "Split":
        validation = read(data / "xlm-t/validation.jsonl")
        tweets, topical = clear_tweets(sdist), read(data / "tweet-topic-xl/train.jsonl")
        clear, of_topics = held_clear(tweets), held_topics(topical)
        held_out = validation + clear + of_topics
        calibrate = lambda posts, want: [
            post for post in posts if (share(post, 96) % 16 == 5) == want
        ]
        posts, topics = (
            unlike(read(data / "xlm-t/train.jsonl"), held_out),
            unlike(topical, held_out),
        )
        return cls(
            train=calibrate(posts, False),
            train_clear=unlike(tweets, held_out),
            train_topics=calibrate(topics, False),
            calibrate=calibrate(posts, True),
            calibrate_topics=calibrate(topics, True),
            validation=validation,
            held_clear=clear,
            held_topics=of_topics,
        )
