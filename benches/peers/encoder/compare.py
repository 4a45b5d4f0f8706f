"""Engines by turns on the same weights and ids; see ../README.md."""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PEERS = ["torch_f32", "torch_bf16", "onnx_f32", "onnx_int8", "ct2_f32", "ct2_int8"]
OURS = ["ours_f32", "ours_bf16", "ours_int8"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", choices=["mini", "base"])
    parser.add_argument("--engine", action="append", choices=PEERS + OURS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "target" / "peers")
    parser.add_argument("--ours", type=Path, help="the example encode_ids, where it is built already")
    parser.add_argument("--prefix", default="", help="put before every command, such as 'chrt -f 20'")
    return parser.parse_args()


def build():
    command = ["cargo", "build", "--release", "-p", "bert4rs-tasks", "--example", "encode_ids"]
    out = subprocess.run([*command, "--message-format=json"], cwd=ROOT, check=True, capture_output=True, text=True)
    made = [json.loads(line).get("executable") for line in out.stdout.splitlines()]
    return Path(next(path for path in made if path))


def check(folder, model, engine, vectors):
    references = np.load(folder / f"{model}_reference.npz")
    for name, values in json.loads(vectors.read_text()).items():
        want = references[name]
        got = np.array(values, np.float32).reshape(want.shape)
        print(f"  {engine} {name}: smallest cosine {(got * want).sum(1).min():.6f}", file=sys.stderr)


def main():
    args = arguments()
    models, engines = args.model or ["mini", "base"], args.engine or PEERS + OURS
    subprocess.run([sys.executable, HERE / "models.py", args.folder, *models], check=True)
    ours = args.ours or build()
    rates = {}
    for turn in range(args.rounds):
        for model in models:
            for engine in engines:
                vectors = args.folder / f"{model}_{engine}.json"
                if engine in OURS:
                    command = [ours, args.folder / f"{model}_hf", engine.split("_")[1], args.threads]
                    command += [args.folder / "workloads.json", vectors]
                else:
                    command = [sys.executable, HERE / "encode.py", args.folder, engine, model, args.threads]
                command = shlex.split(args.prefix) + [str(word) for word in command]
                out = subprocess.run(command, capture_output=True, text=True)
                if out.returncode != 0:
                    print(f"{engine} {model}: failed\n{out.stderr[-500:]}", file=sys.stderr)
                    continue
                for line in out.stdout.splitlines():
                    if line.startswith("R "):
                        _, name, rate = line.split()
                        rates.setdefault((model, engine), {}).setdefault(name, []).append(float(rate))
                if turn == 0 and engine in OURS:
                    check(args.folder, model, engine, vectors)
                elif turn == 0:
                    print("  " + out.stderr.strip().replace("\n", "\n  "), file=sys.stderr)
        print(f"round {turn + 1} of {args.rounds}", file=sys.stderr)
    report(models, engines, rates, args.threads)


def report(models, engines, rates, threads):
    for model in models:
        present = [engine for engine in engines if (model, engine) in rates]
        names = list(next((rates[model, engine] for engine in present), {}))
        print(f"\n{model}, {threads} threads, texts/s, medians\n\n| engine | " + " | ".join(names) + " |")
        print("| --- |" + " --- |" * len(names))
        medians = {e: {n: statistics.median(rates[model, e][n]) for n in names} for e in present}
        for engine in present:
            print(f"| {engine} | " + " | ".join(f"{medians[engine][name]:.1f}" for name in names) + " |")
        for kind in ["f32", "bf16", "int8"]:
            rivals = [e for e in present if e in PEERS and e.endswith(kind)]
            if rivals and f"ours_{kind}" in present:
                best = {name: max(medians[e][name] for e in rivals) for name in names}
                ratios = " | ".join(f"{medians[f'ours_{kind}'][name] / best[name]:.2f}" for name in names)
                print(f"| ours / best peer, {kind} | {ratios} |")


if __name__ == "__main__":
    main()
