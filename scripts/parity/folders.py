"""Opens folders that bert4rs wrote in transformers: nothing missing or unexpected, the same hidden states.
    python scripts/parity/folders.py THEIRS OURS      called by folders.sh
"""
import json
import sys
from pathlib import Path

import torch
import transformers as t

from tiny import computed

t.logging.set_verbosity_error()

theirs, ours = Path(sys.argv[1]), Path(sys.argv[2])
# What transformers makes itself: sines, tied decoders, and poolers where only an encoder was written.
MADE = ("embed_positions.weight", "decoder.weight", "decoder.bias", "position_ids", "lm_head.weight")
BASE = ("pooler.dense.weight", "pooler.dense.bias", "pooler.weight", "pooler.bias")
failed = False
for folder in sorted(ours.iterdir()):
    kind = folder.name.removesuffix("-rewritten").removesuffix("-torch").removesuffix("-tensorflow")
    config = json.loads((folder / "config.json").read_text())
    name = config["architectures"][0]
    model, report = getattr(t, name).from_pretrained(folder, output_loading_info=True)
    model.eval()
    made = MADE + (BASE if name.endswith("Model") else ())
    wrong = [n for key in ("missing_keys", "unexpected_keys") for n in report[key] if not n.endswith(made)]
    got, expected = computed(model), json.loads((theirs / kind / "expected.json").read_text())
    apart = 0.0
    for key in ("hidden_states", "scores"):
        for a, b in zip(got.get(key, []), expected.get(key, []), strict=True):
            apart = max(apart, (torch.tensor(a) - torch.tensor(b)).abs().max().item())
    bad = bool(wrong) or not apart < 1e-5
    failed |= bad
    print(f"{folder.name:<24} {name:<28} {apart:.1e} {'WRONG ' + str(wrong) if bad else 'same'}")
sys.exit(failed)
