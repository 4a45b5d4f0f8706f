"""Small SentencePiece models with what SentencePiece itself makes of some texts.

Writes tests/data/sentence_piece/<family>/{*.model, *.json, expected.json}, which text/tests/sentence_piece.rs
reads. Needs: pip install sentencepiece protobuf. Run from the root of the project.
"""

import io
import json
import pathlib
import unicodedata

import sentencepiece

ROOT = pathlib.Path("tests/data/sentence_piece")

WORDS = "the a fox dog play plays playing played quick brown lazy over jump jumps language model text token 1,000 2021 3.14 café naïve"
CHINESE = "今天天气非常好 我们喜欢语言模型 北京大学的学生学习数学 中文和英文的文本 上海广州"
SENTENCES = [f"{a} {b} {c} {d}." for a in WORDS.split() for b in WORDS.split()[::3] for c, d in
             zip(WORDS.split()[::5], CHINESE.split())]
SENTENCES *= 2
SENTENCES += [f"{a}{b}，{c}。" for a in CHINESE.split() for b in CHINESE.split() for c in CHINESE]

TEXTS = [
    "The fox plays.", "今天天气非常好。", "  two  spaces ", "hello\tworld", "", " ", "Zebra 中文 mix",
    "ＡＢＣ１２３", "ﬁne 1,000", "Café naïve cafe\u0301", "play\u3000playing", "👍🏽 ok", "quotes ``like'' these",
    "北京大学的学生学习数学", "the\u00a0dog", "a\nb",
]

# A few rules instead of all of NFKC, which would make every model 250 kB larger.
RULES = {"\t": " ", "\n": " ", "\u3000": " ", "\u00a0": " ", "ﬁ": "fi", "e\u0301": "é"}
RULES |= {chr(0xFF21 + i): chr(0x41 + i) for i in range(26)} | {chr(0xFF10 + i): chr(0x30 + i) for i in range(10)}


def rules_file():
    path = pathlib.Path("/tmp/rules.tsv")
    hexadecimal = lambda text: " ".join(f"{ord(c):X}" for c in text)
    path.write_text("".join(f"{hexadecimal(a)}\t{hexadecimal(b)}\n" for a, b in sorted(RULES.items())))
    return str(path)


def train(**options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=model, minloglevel=2, character_coverage=1.0,
        hard_vocab_limit=False, num_threads=1, **options)
    return model.getvalue()


def albert_text(text):
    """transformers' AlbertTokenizer.preprocess_text, which keeps white space as SentencePiece does."""
    text = text.replace("``", '"').replace("''", '"')
    text = unicodedata.normalize("NFKD", text)
    return "".join(c for c in text if not unicodedata.combining(c)).lower()


def pieces(model, text):
    character = lambda byte: len(text.encode()[:byte].decode())
    found = model.encode(text, return_type="proto").pieces
    return [(piece.id, character(piece.begin), character(piece.end)) for piece in found]


def write(family, file, model, before, after, ids=lambda i: i, prepare=lambda text: text, **files):
    folder = ROOT / family
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(model)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content) + "\n")
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    cases = []
    for text in TEXTS:
        found = pieces(processor, prepare(text))
        # Characters that the preparation inserts or drops move the places; then only ids are compared.
        spans = [[begin, end] for _, begin, end in found] if prepare(text) == text else None
        cases.append({"text": text, "ids": before + [ids(i) for i, _, _ in found] + after, "spans": spans})
    (folder / "expected.json").write_text(json.dumps({"cases": cases}, ensure_ascii=False) + "\n")


def main():
    rules = {"normalization_rule_tsv": rules_file()}
    t5 = train(vocab_size=220, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, **rules)
    write("t5", "spiece.model", t5, [], [1], tokenizer_config={"tokenizer_class": "T5Tokenizer", "extra_ids": 3})
    albert = train(vocab_size=220, pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols="[CLS],[SEP],[MASK]", **rules)
    write("albert", "spiece.model", albert, [2], [3], prepare=albert_text)
    deberta = train(
        vocab_size=200, pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]",
        unk_piece="[UNK]", normalization_rule_name="identity")
    size = sentencepiece.SentencePieceProcessor(model_proto=deberta).get_piece_size()
    write("deberta-v2", "spm.model", deberta, [1], [2], added_tokens={"[MASK]": size})
    xlm = train(vocab_size=200, **rules)
    write("xlm-roberta", "sentencepiece.bpe.model", xlm, [0], [2], ids=lambda i: 3 if i == 0 else i + 1)
    bpe = train(vocab_size=300, model_type="bpe", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, **rules)
    write("bpe", "spiece.model", bpe, [], [1], config={"model_type": "mt5"})


main()
