"""What fewer bits cost: precision.py FOLDER PAIRS.jsonl BINARY

Spearman x 100 of cosines against labels, for sentence-transformers and for `bert4rs predict` in every precision.
PAIRS has lines {"text_a": .., "text_b": .., "label": ..}; BINARY is a built bert4rs."""

import json
import subprocess
import sys

import numpy as np


def ranks(values):
    """Ranks from 1, ties at their mean."""
    values = np.asarray(values)
    order = values.argsort(kind="stable")
    found = np.empty(len(values))
    found[order] = np.arange(1, len(values) + 1)
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.bincount(group, found) / count)[group]


def spearman(a, b, labels):
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return 100 * np.corrcoef(ranks(cosines), ranks(labels))[0, 1]


def main():
    folder, pairs, binary = sys.argv[1:]
    lines = [json.loads(line) for line in open(pairs)]
    texts = [line[key] for key in ("text_a", "text_b") for line in lines]
    labels = [line["label"] for line in lines]
    text = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    found = {}
    for precision in ["f32", "bf16", "int8"]:
        command = [binary, "predict", folder, "-", "--precision", precision]
        out = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
        found[precision] = np.array([json.loads(line)["vector"] for line in out.splitlines()])

    from sentence_transformers import SentenceTransformer

    found["sentence-transformers"] = SentenceTransformer(folder, device="cpu").encode(texts)
    for name, vectors in found.items():
        print(f"{name:<24} {spearman(vectors[: len(lines)], vectors[len(lines) :], labels):.4f}")


if __name__ == "__main__":
    main()
