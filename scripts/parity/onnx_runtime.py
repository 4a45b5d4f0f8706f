"""Hidden states of an exported encoder in ONNX Runtime, and of transformers; called by onnx.sh.
    python scripts/parity/onnx_runtime.py FOLDER FILE.onnx
"""
import sys

import numpy
import onnxruntime
import torch
import transformers

folder, file = sys.argv[1:]
model = transformers.AutoModel.from_pretrained(folder).eval()
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
torch.manual_seed(0)
worst = 0.0
for lengths in [[1], [5, 9, 2], [20, 20]]:
    longest = min(max(lengths), model.config.max_position_embeddings)
    ids = torch.randint(0, model.config.vocab_size, (len(lengths), longest))
    mask = (torch.arange(longest)[None] < torch.tensor(lengths)[:, None]).long()
    segments = torch.randint(0, model.config.type_vocab_size, ids.shape)
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}
    with torch.no_grad():
        expected = model(**feeds).last_hidden_state
    got = torch.from_numpy(session.run(None, {name: x.numpy().astype(numpy.int64) for name, x in feeds.items()})[0])
    apart = ((got - expected).abs() * mask[..., None]).max().item()
    print(f"texts of {lengths} tokens: largest difference {apart:.1e}")
    worst = max(worst, apart)
sys.exit(worst > 1e-4)
