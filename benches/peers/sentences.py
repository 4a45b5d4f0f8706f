"""From raw text to vectors: `bert4rs predict` beside sentence-transformers and an ONNX pipeline.

    python -P benches/peers/sentences.py MODEL BINARY TEXTS.jsonl [--rounds 3] [--threads 2] [--engine NAME ..]

MODEL is a folder of sentence-transformers (BERT), BINARY a built bert4rs, TEXTS has lines {"text": ..}. Ours is
timed as a command, from its start to the last line of JSON; the peers as a call in a process that has loaded
its model, for which they get no text back. Engines: ours_f32, ours_int8; st_f32_N and st_bf16_N
(sentence-transformers with batches of N, sorted by length, as it does itself); onnx_int8_N and onnx_f32_N (as
fastembed does: the tokenizers crate, batches of N in the order of the texts, padded to their longest, ONNX Runtime,
the mean over tokens). Engines take turns; what counts is the ratio of medians. Every engine's vectors are compared
with sentence-transformers' in f32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ENGINES = ["ours_f32", "ours_int8", "st_f32_16", "st_f32_32", "st_f32_64", "st_f32_128", "st_bf16_32"]
ENGINES += ["onnx_f32_64", "onnx_int8_64", "onnx_int8_256"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["model", "binary", "texts"]:
        parser.add_argument(name, type=Path)
    parser.add_argument("--engine", action="append", help="all when not given")
    for name, value in {"rounds": 3, "threads": 2, "worker": 0}.items():
        parser.add_argument("--" + name, type=int, default=value, help=argparse.SUPPRESS if name == "worker" else None)
    return parser.parse_args()


def read(path):
    return [json.loads(line)["text"] for line in open(path)]


def cpu_seconds():
    """Of this process and the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def sentence_transformers(args, precision, batch):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(args.threads)
    model = SentenceTransformer(str(args.model), device="cpu")
    if precision == "bf16":
        model = model.bfloat16()
    return lambda texts: model.encode(texts, batch_size=batch, show_progress_bar=False)


def export(args, precision):
    """The model as ONNX, fused, beside the texts; nothing is written twice."""
    sys.path.insert(0, str(Path(__file__).resolve().parent / "encoder"))
    from models import write_onnx
    from transformers import AutoConfig

    folder = Path(tempfile.gettempdir()) / "bert4rs-peers" / args.model.resolve().parent.name
    path = folder / f"sentences_{precision}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_onnx(folder, "sentences", args.model, AutoConfig.from_pretrained(args.model))
    return path


def onnx(args, precision, batch):
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(str(export(args, precision)), options)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    limit = json.load(open(args.model / "sentence_bert_config.json"))["max_seq_length"]
    tokenizer.enable_truncation(limit)
    tokenizer.enable_padding()

    def run(texts):
        found = []
        for start in range(0, len(texts), batch):
            read = tokenizer.encode_batch(texts[start : start + batch])
            take = lambda name: np.array([getattr(one, name) for one in read], np.int64)
            ids, mask = take("ids"), take("attention_mask")
            given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": take("type_ids")}
            hidden = session.run(None, given)[0]
            mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
            found.append(mean / np.linalg.norm(mean, axis=1, keepdims=True))
        return np.concatenate(found)

    return run


def ours(args, precision, keep):
    """Seconds of a whole command and, if they are kept, its vectors."""
    command = [args.binary.resolve(), "predict", args.model, args.texts, "--precision", precision]
    command += ["--threads", str(args.threads)]
    with tempfile.TemporaryFile() as out:
        start, cpu = time.perf_counter(), cpu_seconds()
        subprocess.run(command, stdout=out, check=True)
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
        out.seek(0)
        return seconds, cpu, np.array([json.loads(line)["vector"] for line in out]) if keep else None


def worker(args):
    """One peer, told by lines on standard input when to run: its model is loaded once."""
    kind, precision, batch = args.engine[0].split("_")
    run = {"st": sentence_transformers, "onnx": onnx}[kind](args, precision, int(batch))
    texts = read(args.texts)
    run(texts[:256])
    print("R ready", flush=True)
    for line in sys.stdin:
        start, cpu = time.perf_counter(), cpu_seconds()
        vectors = run(texts)
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
        if line.strip():
            np.save(line.strip(), np.asarray(vectors, np.float32))
        print(f"R {seconds} {cpu}", flush=True)


def start(args, engine):
    command = [sys.executable, "-P", __file__, args.model, args.binary, args.texts, "--engine", engine]
    command += ["--threads", args.threads, "--worker", 1]
    pipe = subprocess.PIPE
    command = [str(word) for word in command]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)


def answer(workers, engine):
    lines = (line for line in workers[engine].stdout if line.startswith("R "))
    line = next(lines, None)
    if line is None:
        sys.exit(f"{engine}: failed; run it alone with --engine {engine} --worker 1 to see why")
    return line.split()[1:]


def main():
    args = arguments()
    if args.worker:
        return worker(args)
    engines = args.engine or ENGINES
    count = len(read(args.texts))
    workers = {engine: start(args, engine) for engine in engines if not engine.startswith("ours")}
    for engine in workers:  # while one loads its model, nobody is timed
        answer(workers, engine)
    seconds, cpu, vectors = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.rounds):
            for engine in engines:
                if engine.startswith("ours"):
                    wall, used, found = ours(args, engine.split("_")[1], turn == 0)
                else:
                    path = f"{folder}/{engine}.npy" if turn == 0 else ""
                    workers[engine].stdin.write(path + "\n")
                    workers[engine].stdin.flush()
                    wall, used = answer(workers, engine)
                    found = np.load(path) if path else None
                seconds.setdefault(engine, []).append(float(wall))
                cpu.setdefault(engine, []).append(float(used))
                if found is not None:
                    vectors[engine] = found
                print(f"{turn + 1} {engine} {float(wall):.2f} s, {float(used):.2f} s of processors", file=sys.stderr)
    for one in workers.values():
        one.stdin.close()
    exact = next((vectors[engine] for engine in engines if engine.startswith("st_f32")), None)
    print(f"{count} texts, {args.threads} threads\nengine         texts/s   cpu s  mean cosine")
    for engine in engines:
        rate, used = count / statistics.median(seconds[engine]), statistics.median(cpu[engine])
        near = "" if exact is None else f"{(exact * vectors[engine]).sum(1).mean():.6f}"
        print(f"{engine:<14} {rate:>7.0f} {used:>7.2f}  {near}")


main()
