"""Cross entropy over a large vocabulary in PyTorch: the peer of `vocabulary_rate`.

    python -P benches/peers/vocabulary.py [--width 384] [--tokens 1024] [--vocabulary 30522] [--threads 2] [--rounds 3]

`cross_entropy(linear(x, weight, bias), targets)` and the gradients of x, weight and bias. Prints the
median over the rounds, what the process needed at its peak above the start of the first step, and the
loss and the norm of the gradient of x, which vocabulary_rate prints, too.
"""

import argparse
import statistics
import time

import torch
from torch.nn.functional import cross_entropy, linear


def memory_mb(name):
    """VmRSS (now) or VmHWM (the peak since the last reset) of this process."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))


def reset_peak():
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")


def grid(factor, modulus, deviation, shape):
    """The numbers of vocabulary_rate, so that both losses can be compared."""
    place = (torch.arange(torch.Size(shape).numel()) * factor % modulus).double() / modulus - 0.5
    return (deviation * 12**0.5 * place).float().view(shape).requires_grad_()


def main():
    parser = argparse.ArgumentParser()
    for name, value in {"width": 384, "tokens": 1024, "vocabulary": 30522, "threads": 2, "rounds": 3}.items():
        parser.add_argument("--" + name, type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x = grid(7919, 10_007, 1.0, (args.tokens, args.width))
    weight = grid(104_729, 10_009, args.width**-0.5, (args.vocabulary, args.width))
    bias = torch.zeros(args.vocabulary, requires_grad=True)
    targets = torch.arange(args.tokens) * 7919 % args.vocabulary

    def step():
        x.grad = weight.grad = bias.grad = None
        loss = cross_entropy(linear(x, weight, bias), targets)
        loss.backward()
        return loss.item()

    reset_peak()
    before = memory_mb("VmRSS")
    loss = step()
    peak, norm = memory_mb("VmHWM") - before, x.grad.double().norm().item()
    seconds = []
    for _ in range(args.rounds):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    print(
        f"vocabulary pytorch width={args.width} ms={1000 * statistics.median(seconds):.1f} "
        f"peak_mb={peak:.1f} loss={loss:.4f} gradient={norm:.5e}"
    )


main()
