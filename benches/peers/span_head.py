"""A plain GlobalPointer head in PyTorch: the peer of `span_head_rate`.

    python -P benches/peers/span_head.py [--length 256] [--batch 8] [--types 10] [--threads 2] [--rounds 5]
        [--efficient] [--width 0]

Linear, rotary positions, every score of every type at once in [B, S, L, L] with padding and the lower
triangle masked, ZLPR loss, and the gradients of the hidden states and of the weights. It prints one
line: the median over the rounds, processor time, what the process needed at its peak above the start
of the first step, and the loss and the norm of the hidden states' gradient, which span_head_rate
prints, too.
"""

import argparse
import statistics
import time

import torch

HIDDEN, KEY = 768, 64


def memory_mb(name):
    """VmRSS (now) or VmHWM (the peak since the last reset) of this process."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))


def reset_peak():
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")


def grid(factor, modulus, deviation, shape):
    """The numbers of span_head_rate, so that both losses can be compared."""
    size = torch.Size(shape).numel()
    place = (torch.arange(size) * factor % modulus).double() / modulus - 0.5
    return (deviation * 12**0.5 * place).float().view(shape)


def rotary(length):
    frequencies = 10000.0 ** (-torch.arange(0, KEY, 2) / KEY)
    angles = torch.arange(length)[:, None] * frequencies
    return angles.cos().repeat_interleave(2, -1), angles.sin().repeat_interleave(2, -1)


def rotate(x, cos, sin):
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return x * cos + turned * sin


class EfficientHead(torch.nn.Module):
    """Efficient GlobalPointer: one product of queries and keys, two biases per type."""

    def __init__(self, types, length):
        super().__init__()
        self.types = types
        self.cos, self.sin = rotary(length)
        self.dense = torch.nn.Linear(HIDDEN, 2 * KEY)
        self.types_dense = torch.nn.Linear(2 * KEY, 2 * types)

    def forward(self, hidden, mask):
        x = self.dense(hidden)
        bias = self.types_dense(x).transpose(1, 2) / 2  # [B, 2 S, L]
        q, k = (rotate(part, self.cos, self.sin) for part in (x[..., ::2], x[..., 1::2]))
        scores = (q * KEY**-0.5) @ k.transpose(-1, -2)  # [B, L, L]
        scores = scores[:, None] + bias[:, 1::2, :, None] + bias[:, ::2, None, :]  # [B, S, L, L]
        return scores.masked_fill_(~mask, -torch.inf)


class Head(torch.nn.Module):
    def __init__(self, types, length):
        super().__init__()
        self.types = types
        self.cos, self.sin = rotary(length)
        self.dense = torch.nn.Linear(HIDDEN, types * 2 * KEY)

    def forward(self, hidden, mask):
        batch, length, _ = hidden.shape
        x = self.dense(hidden).view(batch, length, self.types, 2, KEY).permute(0, 2, 3, 1, 4)
        q, k = rotate(x, self.cos, self.sin).unbind(2)  # [B, S, L, K] each
        scores = (q * KEY**-0.5) @ k.transpose(-1, -2)  # [B, S, L, L]
        return scores.masked_fill_(~mask, -torch.inf)


def zlpr(scores, gold):
    """Mean over (sequence, type); `gold` is a mask of the positive pairs."""
    scores, gold = scores.flatten(2), gold.flatten(2)
    zero = scores.new_zeros(scores.shape[:2] + (1,))
    others = torch.cat([scores.masked_fill(gold, -torch.inf), zero], -1).logsumexp(-1)
    positives = torch.cat([(-scores).masked_fill(~gold, -torch.inf), zero], -1).logsumexp(-1)
    return (others + positives).mean()


def main():
    parser = argparse.ArgumentParser()
    for name, value in {"length": 256, "batch": 8, "types": 10, "threads": 2, "rounds": 5, "width": 0}.items():
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--efficient", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    batch, length, types = args.batch, args.length, args.types
    head = (EfficientHead if args.efficient else Head)(types, length)
    torch.nn.init.zeros_(head.dense.bias)
    if not args.efficient:  # there the weights of both sides are random, and the losses only near
        head.dense.weight.data = grid(104_729, 10_009, HIDDEN**-0.5, head.dense.weight.shape)
    hidden = grid(7919, 10_007, 1.0, (batch, length, HIDDEN)).requires_grad_()
    mask = torch.ones(length, length, dtype=torch.bool).triu()
    if args.width > 0:
        mask = mask.tril(args.width - 1)
    gold = torch.zeros(batch, types, length, length, dtype=torch.bool)
    for b in range(batch):
        for i in range(5):
            start = (37 * i + 11 * b) % (length - 4)
            gold[b, i % types, start, start + i % 4] = True

    def step():
        hidden.grad = None
        head.zero_grad(set_to_none=True)
        loss = zlpr(head(hidden, mask), gold)
        loss.backward()
        return loss.item()

    reset_peak()
    before = memory_mb("VmRSS")
    loss = step()
    peak, norm = memory_mb("VmHWM") - before, hidden.grad.double().norm().item()
    step()
    seconds, cpu = [], time.process_time()
    for _ in range(args.rounds):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / args.rounds
    print(
        f"span_head pytorch length={length} ms={1000 * statistics.median(seconds):.2f} "
        f"cpu_ms={1000 * cpu:.2f} peak_mb={peak:.1f} loss={loss:.4f} gradient={norm:.5e}"
    )


main()
