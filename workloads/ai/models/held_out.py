"""Writes the held-out posts as files for `switchyard-ai eval`: clear-tweets.jsonl, and those of the
labelled data."""

import argparse
import json
from pathlib import Path

from posts import Post, clear_tweets, held_clear, held_topics, read


def line(post: Post) -> str:
    labels = {"lang": post.lang, "label": post.label, "topics": post.topics and list(post.topics)}
    return json.dumps(
        {name: value for name, value in labels.items() if value is not None} | {"text": post.text}
    )


def write(path: Path, posts: list[Post]) -> None:
    path.write_text("".join(f"{line(post)}\n" for post in posts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tweets", type=Path, required=True, help="source distribution of vaderSentiment"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with xlm-t/validation.jsonl and tweet-topic-xl/train.jsonl; optional",
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    write(options.out / "clear-tweets.jsonl", held_clear(clear_tweets(options.tweets)))
    if options.data:
        write(options.out / "xlm-t-validation.jsonl", read(options.data / "xlm-t/validation.jsonl"))
        write(
            options.out / "tweet-topic-xl.jsonl",
            held_topics(read(options.data / "tweet-topic-xl/train.jsonl")),
        )


if __name__ == "__main__":
    main()
