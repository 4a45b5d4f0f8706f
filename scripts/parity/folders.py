"""Opens folders that bert4rs wrote in transformers: nothing missing or unexpected, the same hidden states.
    python scripts/parity/folders.py THEIRS OURS      called by folders.sh
"""
import json
import sys
from pathlib import Path

import torch
import transformers as t

theirs, ours = Path(sys.argv[1]), Path(sys.argv[2])
# What transformers makes itself: sines, and the tied decoder.
MADE = ("embed_positions.weight", "decoder.weight", "decoder.bias", "position_ids")
failed = False
for folder in sorted(ours.iterdir()):
    kind = folder.name.removesuffix("-torch").removesuffix("-tensorflow")
    config = json.loads((folder / "config.json").read_text())
    model, report = getattr(t, config["architectures"][0]).from_pretrained(folder, output_loading_info=True)
    model.eval()
    wrong = [n for key in ("missing_keys", "unexpected_keys") for n in report[key] if not n.endswith(MADE)]
    expected = json.loads((theirs / kind / "expected.json").read_text())
    with torch.no_grad():
        base = getattr(model, model.base_model_prefix)
        ids, segments = torch.tensor([expected["ids"]]), torch.tensor([expected["segments"]])
        states = base(ids, token_type_ids=segments, output_hidden_states=True).hidden_states
    apart = max((a[0] - torch.tensor(b)).abs().max().item() for a, b in zip(states, expected["hidden_states"], strict=True))
    bad = bool(wrong) or apart > 1e-5
    failed |= bad
    print(f"{folder.name:<24} {config['architectures'][0]:<24} {apart:.1e} {'WRONG ' + str(wrong) if bad else 'same'}")
sys.exit(failed)
