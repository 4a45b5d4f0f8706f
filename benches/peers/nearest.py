"""Nearest neighbours beside faiss, in one run, engines by turns.

    pip install faiss-cpu numpy
    cargo build --release -p bert4rs-search --example nearest
    python benches/peers/nearest.py target/release/examples/nearest REAL.npy --count 200000 --queries 1000

REAL.npy holds real sentence vectors (`bert4rs embed MODEL TEXTS -o REAL.npy`, or JSON Lines of `predict`). More
of them are made by adding noise to real ones: to numbers that are rounded to 8 bits, half a neighbour's distance.
Queries are real vectors with as much noise, none of them among the vectors.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("binary")
parser.add_argument("real")
parser.add_argument("--count", type=int, default=200_000)
parser.add_argument("--queries", type=int, default=1000)
parser.add_argument("--k", type=int, default=10)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--noise", type=float, default=0.5)
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(args.threads)
import faiss  # noqa: E402  (reads the environment)

faiss.omp_set_num_threads(args.threads)
rng = np.random.default_rng(0)
if args.real.endswith(".npy"):
    real = np.load(args.real).astype(np.float32)
else:
    real = np.array([json.loads(line)["vector"] for line in open(args.real)], dtype=np.float32)
real /= np.linalg.norm(real, axis=1, keepdims=True)
width = real.shape[1]


def made(count):
    x = np.round(real[rng.integers(len(real), size=count)] * 127 * 4) / (127 * 4)
    x = x + args.noise / np.sqrt(width) * rng.standard_normal((count, width), dtype=np.float32)
    x = x.astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


x, q = made(args.count), made(args.queries)
print(f"{args.count} vectors of {width}, {args.queries} queries, k {args.k}, {args.threads} threads, faiss {faiss.__version__}")


def show(line):
    qps, one = line["queries"] / line["seconds"], 1e3 * line["one"]
    print(f"{line['engine']:<24} {qps:10.1f} queries/s  one {one:8.2f} ms  recall {line['recall']:.4f}", flush=True)


def timed(index, exact):
    index.search(q[:1], args.k)
    start = time.perf_counter()
    ids = index.search(q, args.k)[1]
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    index.search(q[:1], args.k)
    one = time.perf_counter() - start
    recall = 1.0 if exact is None else np.mean([len(set(a) & set(b)) for a, b in zip(ids, exact)]) / args.k
    return ids, {"queries": len(q), "seconds": seconds, "one": one, "recall": recall}


flat = faiss.IndexFlatIP(width)
flat.add(x)
with tempfile.TemporaryDirectory() as folder:
    x.tofile(f"{folder}/x")
    q.tofile(f"{folder}/q")
    for _ in range(args.rounds):
        exact, line = timed(flat, None)
        show({"engine": "faiss flat", **line})
        command = [args.binary, f"{folder}/x", f"{folder}/q", str(width), str(args.k), "1"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for line in out.splitlines():
            show(json.loads(line))
