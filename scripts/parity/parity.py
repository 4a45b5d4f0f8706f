"""The Python side of minilm.sh: makes inputs and compares answers. Differences end with status 1."""

import json
import subprocess
import sys
from pathlib import Path


def read_lines(path):
    return Path(path).read_text(encoding="utf-8").split("\n")[:-1]


def lines(data, count):
    """The texts of the first rows, one per line; pairs give their first texts, then their second."""
    if data.endswith(".zst"):
        raw = subprocess.run(["zstd", "-dc", data], check=True, stdout=subprocess.PIPE).stdout
    else:
        raw = Path(data).read_bytes()
    rows = [json.loads(row) for row in raw.decode("utf-8").split("\n")[: int(count)] if row]
    for key in [key for key in ("text", "text_a", "text_b") if key in rows[0]]:
        for row in rows:
            print(row[key].replace("\n", " ").replace("\r", " "))


def vocabulary(case, texts, folder):
    """A BERT vocabulary learned from texts, and nothing but vocab.txt beside the options."""
    from tokenizers import BertWordPieceTokenizer

    lower = case == "uncased"
    learned = BertWordPieceTokenizer(lowercase=lower)
    # Only the first half: the second then has unknown tokens too.
    half = read_lines(texts)
    learned.train_from_iterator(half[: len(half) // 2], vocab_size=6000, min_frequency=2, show_progress=False)
    Path(folder).mkdir()
    learned.save_model(folder)
    config = {"do_lower_case": lower, "tokenizer_class": "BertTokenizer"}
    Path(folder, "tokenizer_config.json").write_text(json.dumps(config))


def ids(folder, texts, ours):
    from transformers import AutoTokenizer

    texts, ours = read_lines(texts), [json.loads(row) for row in read_lines(ours)]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    theirs = tokenizer(texts)["input_ids"]
    unknown = sum(row.count(tokenizer.unk_token_id) for row in theirs)
    different = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    print(
        f"token ids: {len(texts)} texts, {sum(map(len, theirs))} tokens, {unknown} unknown, "
        f"{len(different)} texts differ"
    )
    for i in different[:5]:
        print(f"  {texts[i]!r}\n  ours   {ours[i]}\n  theirs {theirs[i]}")
    sys.exit(bool(different))


def vectors(folder, texts, ours):
    import numpy as np
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(folder, device="cpu").encode(read_lines(texts)).astype(np.float64)
    ours = np.array([json.loads(row) for row in read_lines(ours)])
    if ours.shape != theirs.shape:
        sys.exit(f"vectors: ours {ours.shape}, theirs {theirs.shape}")
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = (ours * theirs).sum(1) / lengths
    print(
        f"vectors: {ours.shape}, 1 - smallest cosine {1 - cosines.min():.2e}, "
        f"largest difference {np.abs(ours - theirs).max():.2e}"
    )
    sys.exit(bool(cosines.min() < 0.99999))


def hidden(theirs, ours):
    """Do two folders give transformers the same hidden states, up to the bits of a copy?"""
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["今天天气非常好", "Hello WORLD! A café in Paris", ""]
    states, tokens = [], []
    for folder in (theirs, ours):
        model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        print(f"{Path(folder).name}: {type(model).__name__}, {type(tokenizer).__name__}")
        for what, names in info.items():
            if names:
                print(f"  {what}: {', '.join(sorted(map(str, names)))}")
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        tokens.append(batch["input_ids"].tolist())
        with torch.no_grad():
            states.append(model.eval()(**batch).last_hidden_state * batch["attention_mask"][..., None])
    if tokens[0] != tokens[1]:
        sys.exit(f"token ids differ: {tokens}")
    difference = (states[0] - states[1]).abs().max().item()
    print(f"hidden states: {tuple(states[0].shape)}, largest difference {difference:.2e}")
    sys.exit(difference > 1e-6)


if __name__ == "__main__":
    commands = {f.__name__: f for f in (lines, vocabulary, ids, vectors, hidden)}
    commands[sys.argv[1]](*sys.argv[2:])
