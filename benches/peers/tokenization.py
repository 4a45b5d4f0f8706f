"""Tokenization of a text file, line by line, with offsets: the Python package `tokenizers` beside bert4rs.

    cargo build --release -p bert4rs-text --example tokenize
    python benches/peers/tokenization.py MODEL TEXT [--threads 1] [--rounds 5]

MODEL is a folder with a tokenizer.json, TEXT a text file. Three programs take turns: ours, the
package's encode_batch, and the `tokenizers` crate called from Rust (always one thread). Figures are medians
over the rounds of processor time, which other work on the machine disturbs less than the clock; with more than
one thread, of the clock.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("text", type=pathlib.Path)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--binary", default=os.environ.get("CARGO_TARGET_DIR", "target") + "/release/examples/tokenize")
args = parser.parse_args()

os.environ["RAYON_NUM_THREADS"] = str(args.threads)
os.environ["TOKENIZERS_PARALLELISM"] = "true" if args.threads > 1 else "false"
import tokenizers  # noqa: E402  (reads the environment)

peer = tokenizers.Tokenizer.from_file(str(args.model / "tokenizer.json"))
peer.no_padding()
peer.no_truncation()
text = args.text.read_text(encoding="utf-8")
# The lines that Rust sees: only \n and \r\n end one.
lines = [line.removesuffix("\r") for line in text.split("\n")]
if lines and not lines[-1]:
    lines.pop()
size = len(text.encode("utf-8")) / 1e6

child = subprocess.Popen(
    [args.binary, str(args.model), str(args.text)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
)


def processor_seconds(pid):
    """Of all threads, those that have ended not counted (there are none)."""
    threads = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def ours(command):
    before = processor_seconds(child.pid)
    child.stdin.write(command + "\n")
    child.stdin.flush()
    seconds, tokens = child.stdout.readline().split()
    # Freeing the results is after the answer; waiting for it would not be fair to anybody.
    used = processor_seconds(child.pid) - before
    return (used if args.threads == 1 else float(seconds)), int(tokens)


def package():
    before, clock = time.process_time(), time.perf_counter()
    encodings = peer.encode_batch(lines)
    used, clock = time.process_time() - before, time.perf_counter() - clock
    tokens = sum(len(e) for e in encodings)
    return (used if args.threads == 1 else clock), tokens


programs = {"bert4rs": lambda: ours("ours"), "tokenizers (Python)": package, "tokenizers (crate)": lambda: ours("crate")}
times = {name: [] for name in programs}
tokens = {}
for run in range(args.rounds + 1):
    for name, program in programs.items():
        seconds, tokens[name] = program()
        if run > 0:  # the first round warms up
            times[name].append(seconds)
        time.sleep(0.2)  # the other side frees its results
child.stdin.close()
child.wait()

assert len(set(tokens.values())) == 1, f"they do not agree: {tokens}"
first = statistics.median(times["bert4rs"])
print(f"{args.text.name}: {size:.1f} MB, {len(lines)} lines, {tokens['bert4rs']} tokens, {args.threads} thread(s)")
print(f"tokenizers {tokenizers.__version__}, median of {args.rounds} rounds")
for name, all_times in times.items():
    median = statistics.median(all_times)
    rate = f"{size / median:8.1f} MB/s {tokens[name] / median / 1e6:7.2f} M tokens/s"
    print(f"{name:20} {rate}   bert4rs is {median / first:5.2f} times as fast   ({min(all_times):.3f} to {max(all_times):.3f} s)")
