"""Whether transformers' own readers of TensorFlow checkpoints find in ours what we find.
    python scripts/parity/tensorflow_reader.py FOLDER
FOLDER is one of scripts/parity/tiny.py. Needs tensorflow, torch and transformers before 5 (which lost them).
"""
import contextlib
import json
import sys
from pathlib import Path

import torch
import transformers as t
from transformers.models.albert.modeling_albert import load_tf_weights_in_albert
from transformers.models.bert.modeling_bert import load_tf_weights_in_bert
from transformers.models.electra.modeling_electra import load_tf_weights_in_electra
from transformers.models.roformer.modeling_roformer import load_tf_weights_in_roformer

READERS = {
    "bert": (t.BertConfig, t.BertForPreTraining, load_tf_weights_in_bert),
    "albert": (t.AlbertConfig, t.AlbertForPreTraining, load_tf_weights_in_albert),
    "roformer": (t.RoFormerConfig, t.RoFormerForMaskedLM, load_tf_weights_in_roformer),
    "electra": (t.ElectraConfig, t.ElectraForPreTraining, load_tf_weights_in_electra),
}
folder = Path(sys.argv[1])
for beside in sorted(folder.glob("*-tensorflow")):
    kind = beside.name.removesuffix("-tensorflow")
    config_class, model_class, read = READERS[kind]
    config = config_class.from_json_file(next(beside.glob("*_config.json")))
    if kind == "albert":
        config.hidden_act = "gelu_new"
    model = model_class(config)
    extra = {"discriminator_or_generator": "discriminator"} if kind == "electra" else {}
    with contextlib.redirect_stdout(None):
        read(model, config, str(next(beside.glob("*.index")).with_suffix("")), **extra)
    model.eval()
    expected = json.loads((folder / kind / "expected.json").read_text())
    base = getattr(model, model.base_model_prefix)
    with torch.no_grad():
        out = base(torch.tensor([expected["ids"]]), token_type_ids=torch.tensor([expected["segments"]]), output_hidden_states=True)
    apart = max(
        (got[0] - torch.tensor(want)).abs().max().item()
        for got, want in zip(out.hidden_states, expected["hidden_states"], strict=True)
    )
    print(f"{kind}: largest difference of hidden states {apart:.1e}")
    if apart > 1e-5:
        sys.exit(f"{kind}: transformers reads something else from {beside}")
