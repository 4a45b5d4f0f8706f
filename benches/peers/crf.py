"""The linear-chain CRF of the package `pytorch-crf`: the peer of `crf_rate`.

    python -P benches/peers/crf.py [--tags 20] [--threads 2] [--rounds 30]

Loss with the gradients of emissions and transitions, and Viterbi decoding, of 32 padded sequences with
the lengths of crf_rate and the same numbers.
"""

import argparse
import statistics
import time

import torch
from torchcrf import CRF

# Lengths of 32 texts of CLUENER's training part, drawn at random.
LENGTHS = [
    49, 40, 49, 47, 22, 36, 27, 41, 22, 40, 29, 41, 19, 34, 37, 20,
    50, 11, 43, 34, 44, 34, 24, 49, 47, 39, 17, 39, 33, 49, 47, 50,
]


def grid(factor, modulus, deviation, shape):
    """The numbers of crf_rate, so that both losses can be compared."""
    size = torch.Size(shape).numel()
    place = (torch.arange(size) * factor % modulus).double() / modulus - 0.5
    return (deviation * 12**0.5 * place).float().view(shape)


def times_ms(work, rounds):
    """Median of the wall clock and mean of the processor time."""
    work()
    seconds, cpu = [], time.process_time()
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds), 1000 * (time.process_time() - cpu) / rounds


def main():
    parser = argparse.ArgumentParser()
    for name, value in {"tags": 20, "threads": 2, "rounds": 30}.items():
        parser.add_argument("--" + name, type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tags, longest = args.tags, max(LENGTHS)
    lengths = torch.tensor(LENGTHS)
    mask = torch.arange(longest) < lengths[:, None]
    emissions = torch.zeros(len(LENGTHS), longest, tags)
    emissions[mask] = grid(7919, 10_007, 2.0, (sum(LENGTHS), tags))
    labels = torch.zeros(len(LENGTHS), longest, dtype=torch.long)
    labels[mask] = torch.arange(sum(LENGTHS)) * 7 % tags
    emissions.requires_grad_()
    crf = CRF(tags, batch_first=True)
    crf.transitions.data = grid(104_729, 10_009, 1.0, (tags, tags))
    crf.start_transitions.data.zero_()
    crf.end_transitions.data.zero_()

    def step():
        emissions.grad = None
        crf.zero_grad(set_to_none=True)
        loss = -crf(emissions, labels, mask=mask, reduction="mean")
        loss.backward()
        return loss.item()

    def decode():
        with torch.no_grad():
            return crf.decode(emissions, mask=mask)

    loss, norm = step(), emissions.grad.double().norm().item()
    path = sum(sum(tags) for tags in decode())
    train, path_ms = times_ms(step, args.rounds), times_ms(decode, args.rounds)
    print(
        f"crf pytorch ms={train[0]:.3f} cpu_ms={train[1]:.3f} decode_ms={path_ms[0]:.3f} "
        f"decode_cpu_ms={path_ms[1]:.3f} loss={loss:.4f} gradient={norm:.5e} path={path}"
    )


main()
