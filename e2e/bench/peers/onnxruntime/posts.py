"""The onnxruntime peer: the same model folder, run as the documentation of onnxruntime and
tokenizers shows.

Prints posts per second.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--graph", default="encoder.onnx")
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()

    texts = [json.loads(line)["text"] for line in options.texts.read_text().splitlines()]
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    tokenizer.enable_truncation(160)
    tokenizer.enable_padding()
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(
        str(options.model / options.graph), session_options, providers=["CPUExecutionProvider"]
    )
    heads = json.loads((options.model / "heads.json").read_text())
    heads = [
        (np.array(heads[name]["weights"], np.float32).T, np.array(heads[name]["bias"], np.float32))
        for name in ("sentiment", "topics")
    ]

    def classify(batch: list[str]) -> None:
        encoded = tokenizer.encode_batch([f"query: {text}" for text in batch])
        ids = np.array([one.ids for one in encoded], np.int64)
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        (vectors,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        for weights, bias in heads:
            (vectors @ weights + bias).argmax(1)

    def run(seconds: float) -> float:
        began, at, posts = time.monotonic(), 0, 0
        while (passed := time.monotonic() - began) < seconds:
            # In file order.
            batch = [texts[(at + i) % len(texts)] for i in range(options.batch)]
            at += options.batch
            classify(batch)
            posts += options.batch
        return posts / passed

    run(1)
    print(run(options.seconds))


if __name__ == "__main__":
    main()
