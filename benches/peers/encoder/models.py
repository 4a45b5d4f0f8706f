"""Writes what is compared: models.py FOLDER (nothing is written twice)."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

SHAPES = {
    "mini": dict(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
    "base": dict(),
}


def workloads():
    """Lists of ids by name; ids 101 and 102 at the ends, as in BERT."""
    random = np.random.default_rng(0)
    deviation, mean = 0.6, 22
    lengths = np.exp(random.normal(math.log(mean) - deviation**2 / 2, deviation, 256)).round()
    named = {"b1s16": [16], "b1s128": [128], "b32s128": [128] * 32}
    named["mix256"] = np.clip(lengths, 4, 128).astype(int).tolist()
    text = lambda n: [101, *random.integers(1000, 30000, n - 2).tolist(), 102]
    return {name: [text(n) for n in lengths] for name, lengths in named.items()}


def pooled(model, texts):
    """The mean of the last layer, scaled to length 1; text by text, so that nothing is padded."""
    rows = []
    with torch.inference_mode():
        for text in texts:
            mean = model(torch.tensor([text])).last_hidden_state[0].mean(0)
            rows.append((mean / mean.norm()).numpy())
    return np.stack(rows).astype(np.float32)


def write_model(folder, name, texts):
    torch.manual_seed(0)
    shape = BertConfig(**SHAPES[name])
    model = BertModel(shape, add_pooling_layer=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases and norms are constants at the start
                parameter += 0.02 * torch.randn_like(parameter)
    hf = folder / f"{name}_hf"
    model.save_pretrained(hf)
    words = [f"[unused{i}]" for i in range(shape.vocab_size)]
    for place, word in {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}.items():
        words[place] = word
    (hf / "vocab.txt").write_text("\n".join(words) + "\n")
    np.savez(folder / f"{name}_reference.npz", **{key: pooled(model, t) for key, t in texts.items()})
    write_onnx(folder, name, hf, shape)
    write_ctranslate2(folder, name, hf)


def write_onnx(folder, name, hf, shape):
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    model = BertModel.from_pretrained(hf, attn_implementation="eager", add_pooling_layer=False).eval()

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            given = dict(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            return self.model(**given).last_hidden_state

    ids = torch.randint(1000, 3000, (2, 16))
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {key: {0: "batch", 1: "length"} for key in [*names, "hidden"]}
    plain, fused = folder / f"{name}_plain.onnx", folder / f"{name}_f32.onnx"
    torch.onnx.export(
        Hidden(), (ids, mask, torch.zeros_like(ids)), str(plain), input_names=names, output_names=["hidden"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )
    heads, width = shape.num_attention_heads, shape.hidden_size
    graph = optimizer.optimize_model(
        str(plain), model_type="bert", num_heads=heads, hidden_size=width, optimization_options=FusionOptions("bert")
    )
    graph.save_model_to_file(str(fused))
    plain.unlink()
    quantize_dynamic(
        str(fused), str(folder / f"{name}_int8.onnx"), weight_type=QuantType.QInt8, per_channel=True,
        extra_options={"DefaultTensorType": 1, "MatMulConstBOnly": True},
    )


def write_ctranslate2(folder, name, hf):
    from ctranslate2.converters import TransformersConverter
    from transformers import BertTokenizer

    BertTokenizer(str(hf / "vocab.txt")).save_pretrained(hf)
    BertConfig.position_embedding_type = "absolute"  # the converter asks for it, transformers 5 has none
    TransformersConverter(str(hf)).convert(str(folder / f"{name}_ct2"), force=True)


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    texts = workloads()
    (folder / "workloads.json").write_text(json.dumps(texts))
    for name in sys.argv[2:] or SHAPES:
        if not (folder / f"{name}_ct2").exists():
            write_model(folder, name, texts)


if __name__ == "__main__":
    main()
