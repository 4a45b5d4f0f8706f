"""One training step of a BERT encoder in PyTorch, for comparison with the example `step_rate`.

    python -P train_step.py mini|base THREADS STEPS [amp] [lengths=FILE]

32 sequences a step, AdamW (fused), no dropout, cross entropy on the first token; `amp` runs under
bf16 autocast. With a file of lengths (one a line) batches are padded to their longest sequence.
Prints tokens (without padding) per second from the median step after the first, and peak memory.
"""

import resource
import statistics
import sys
import time

import torch
from transformers import BertConfig, BertModel

SEQUENCES = 32


def model(name):
    sizes = {} if name == "base" else dict(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    config = BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes)
    config._attn_implementation = "sdpa"
    return BertModel(config, add_pooling_layer=False)


def main():
    name, threads, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    amp = "amp" in sys.argv
    path = next((a.split("=", 1)[1] for a in sys.argv if a.startswith("lengths=")), None)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    encoder = model(name)
    head = torch.nn.Linear(encoder.config.hidden_size, 2)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-5, fused=True)
    labels = torch.arange(SEQUENCES) % 2
    lengths = [64] * SEQUENCES * steps
    if path:
        lengths = [int(x) for x in open(path).read().split()][: SEQUENCES * steps]
    seconds = []
    for step in range(steps):
        batch = torch.tensor(lengths[step * SEQUENCES:(step + 1) * SEQUENCES])
        ids = torch.randint(1000, 30000, (SEQUENCES, int(batch.max())))
        mask = (torch.arange(ids.shape[1]) < batch[:, None]).long() if path else None
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
            hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            loss = torch.nn.functional.cross_entropy(head(hidden[:, 0]).float(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    print(f"R train_{name} {sum(lengths) / steps / statistics.median(seconds[1:]):.1f}")
    print(f"R rss_{name} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


main()
