"""How time and memory of `bert4rs predict` or `eval` grow with the number of texts.

    python -P benches/growth.py BINARY VERB MODEL LINES [--count 1000 --count 10000 ..] [--precision f32]

LINES are the texts of a round file (what VERB reads); they are repeated up to each count. A line a count: seconds,
microseconds a text without the start (the time of no more than one text), and the most memory the process has held.
"""

import argparse
import itertools
import os
import subprocess
import tempfile
import time


def run(command, path):
    """Seconds, processor seconds and peak memory in MB of one command."""
    start = time.perf_counter()
    with open(path + ".out", "w") as out:
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    os.remove(path + ".out")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["binary", "verb", "model", "lines"]:
        parser.add_argument(name)
    parser.add_argument("--count", type=int, action="append")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--threads", default="2")
    args = parser.parse_args()
    lines = open(args.lines).read().splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as folder:
        first = 0.0
        for count in [1, *(args.count or [1000, 10_000, 100_000])]:
            path = f"{folder}/{count}.jsonl"
            with open(path, "w") as out:
                out.writelines(itertools.islice(itertools.cycle(lines), count))
            command = [args.binary, args.verb, args.model, path, "--precision", args.precision]
            seconds, cpu, memory = run([*command, "--threads", args.threads], path)
            os.remove(path)
            each = "" if count == 1 else f"{1e6 * (cpu - first) / count:10.1f} us of processors a text"
            first = first or cpu
            print(f"{count:>8} texts {seconds:8.2f} s {cpu:8.2f} s of processors {each} {memory:7.0f} MB", flush=True)


main()
