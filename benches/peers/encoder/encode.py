"""One peer on the workloads: encode.py FOLDER ENGINE MODEL THREADS

Prints `R workload texts/s` (median run), and on standard error the distance from PyTorch f32."""

import json
import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")
FOLDER, ENGINE, MODEL, THREADS = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402 (reads the number of threads)

BATCH = 32


def padded(texts):
    ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return ids, mask


def mean(hidden, mask):
    weights = mask[:, :, None].astype(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def torch_engine():
    import torch
    from transformers import BertModel

    torch.set_num_threads(THREADS)
    model = BertModel.from_pretrained(f"{FOLDER}/{MODEL}_hf", attn_implementation="sdpa", add_pooling_layer=False)
    model = model.eval().to(torch.bfloat16 if ENGINE.endswith("bf16") else torch.float32)

    def run(batch):
        ids, mask = batch
        full = bool(mask.all())  # no mask where nothing is padded: its fast path
        with torch.inference_mode():
            mask = torch.from_numpy(mask)
            hidden = model(torch.from_numpy(ids), attention_mask=None if full else mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            return ((hidden * weights).sum(1) / weights.sum(1)).float().numpy()

    return padded, run


def onnx_engine():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    path = f"{FOLDER}/{MODEL}_{ENGINE.split('_')[1]}.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(batch):
        ids, mask = batch
        given = dict(input_ids=ids, attention_mask=mask, token_type_ids=np.zeros_like(ids))
        return mean(session.run(None, {name: given[name] for name in names})[0], mask)

    return padded, run


def ctranslate2_engine():
    import ctranslate2

    kind = {"f32": "float32", "int8": "int8"}[ENGINE.split("_")[1]]
    encoder = ctranslate2.Encoder(
        f"{FOLDER}/{MODEL}_ct2", device="cpu", compute_type=kind, inter_threads=1, intra_threads=THREADS
    )

    def run(texts):
        hidden = np.array(encoder.forward_batch(texts).last_hidden_state).astype(np.float32)
        return mean(hidden, padded(texts)[1])

    return list, run


def main():
    prepare, run = {"torch": torch_engine, "onnx": onnx_engine, "ct2": ctranslate2_engine}[ENGINE.split("_")[0]]()
    references = np.load(f"{FOLDER}/{MODEL}_reference.npz")
    for name, texts in json.load(open(f"{FOLDER}/workloads.json")).items():
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        groups = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        batches = [prepare([texts[i] for i in group]) for group in groups]
        found = np.zeros_like(references[name])
        for group, batch in zip(groups, batches):
            found[group] = run(batch)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        cosine = (found * references[name]).sum(1).min()
        print(f"{ENGINE} {name}: smallest cosine {cosine:.6f}", file=sys.stderr)
        rates, start = [], time.perf_counter()
        while len(rates) < 5 or time.perf_counter() - start < 0.7:
            begin = time.perf_counter()
            for batch in batches:
                run(batch)
            rates.append(len(texts) / (time.perf_counter() - begin))
        print(f"R {name} {np.median(rates):.2f}", flush=True)


if __name__ == "__main__":
    main()
