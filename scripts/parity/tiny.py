"""Tiny random models in the formats of their first publishers; tests/data/published is made by it.
    python scripts/parity/tiny.py torch FOLDER        needs torch, transformers: safetensors and zip files
    python scripts/parity/tiny.py tensorflow FOLDER   needs tensorflow: checkpoints of version 2, from the first
Each model is a folder NAME (safetensors), NAME-torch and NAME-tensorflow; NAME/expected.json has what
transformers computes from it.
"""
import json
import sys
from pathlib import Path

SIZES = dict(
    vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=20, type_vocab_size=2, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
)
IDS, SEGMENTS = [2, 7, 19, 4, 29, 3, 11, 3], [0, 0, 0, 0, 0, 0, 1, 1]


def models():
    import transformers as t

    return {
        "bert": t.BertForPreTraining(t.BertConfig(**SIZES)),
        "albert": t.AlbertForPreTraining(t.AlbertConfig(**SIZES, embedding_size=8, hidden_act="gelu_new")),
        "roformer": t.RoFormerForMaskedLM(t.RoFormerConfig(**SIZES)),
        "electra": t.ElectraForPreTraining(t.ElectraConfig(**SIZES, embedding_size=8)),
    }


def torch_files(folder):
    import torch

    torch.manual_seed(0)
    for name, model in models().items():
        model.eval()
        for p in model.parameters():  # far from their first values, so that an exchange is seen
            if p.requires_grad:  # RoFormer's table of sines stays
                torch.nn.init.normal_(p, std=0.3)
        model.save_pretrained(folder / name)
        beside = folder / f"{name}-torch"
        beside.mkdir(parents=True, exist_ok=True)
        (beside / "config.json").write_bytes((folder / name / "config.json").read_bytes())
        torch.save(model.state_dict(), beside / "pytorch_model.bin")
        base = getattr(model, model.base_model_prefix)
        with torch.no_grad():
            out = base(torch.tensor([IDS]), token_type_ids=torch.tensor([SEGMENTS]), output_hidden_states=True)
        states = [[[round(x, 6) for x in row] for row in h[0].tolist()] for h in out.hidden_states]
        expected = {"ids": IDS, "segments": SEGMENTS, "hidden_states": states}
        (folder / name / "expected.json").write_text(json.dumps(expected) + "\n")


def google(name, kind):
    """The name of a parameter in the checkpoints of Google's programs, and whether it is transposed."""
    if name.startswith("bert.encoder") or name.startswith("electra.encoder") or name.startswith("roformer.encoder"):
        name = name.replace(".layer.", ".layer_")
    name = name.replace("roformer.embeddings_project", "bert.encoder.embedding_hidden_mapping_in")
    name = name.replace("roformer.", "bert.").replace("cls.seq_relationship.weight", "cls.seq_relationship.output_weights")
    name = name.replace("cls.seq_relationship.bias", "cls.seq_relationship.output_bias")
    name = name.replace("cls.predictions.bias", "cls.predictions.output_bias").replace("dense_prediction", "dense_1")
    if kind == "albert":
        group = "albert.encoder.albert_layer_groups.0.albert_layers.0."
        inner = "bert.encoder.transformer.group_0.inner_group_0."
        if name.startswith(group):
            rest = name[len(group):]
            for here, there in [
                ("full_layer_layer_norm", "LayerNorm_1"), ("attention.LayerNorm", "LayerNorm"),
                ("attention.dense", "attention_1.output.dense"), ("attention.", "attention_1.self."),
                ("ffn_output", "ffn_1.intermediate.output.dense"), ("ffn.", "ffn_1.intermediate.dense."),
            ]:
                if rest.startswith(here):
                    rest = there + rest[len(here):]
                    break
            name = inner + rest
        name = name.replace("albert.pooler.", "bert.pooler.dense.").replace("albert.", "bert.")
        name = name.replace("sop_classifier.classifier.weight", "cls.seq_relationship.output_weights")
        name = name.replace("sop_classifier.classifier.bias", "cls.seq_relationship.output_bias")
        if name == "predictions.bias":
            name = "cls.predictions.output_bias"
        elif name.startswith("predictions."):
            name = "cls.predictions.transform." + name[len("predictions."):]
    name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    name = name.replace("LayerNorm_1.weight", "LayerNorm_1.gamma").replace("LayerNorm_1.bias", "LayerNorm_1.beta")
    if name.endswith("_embeddings.weight"):
        name = name[: -len(".weight")]
    turned = name.endswith(".weight")
    if turned:
        name = name[: -len("weight")] + "kernel"
    return name.replace(".", "/"), turned


def tensorflow_files(folder):
    import tensorflow.compat.v1 as tf
    from safetensors.numpy import load_file

    for config_path in sorted(folder.glob("*/config.json")):
        kind = config_path.parent.name
        if kind not in ("bert", "albert", "roformer", "electra"):
            continue
        beside = folder / f"{kind}-tensorflow"
        beside.mkdir(parents=True, exist_ok=True)
        config = json.loads(config_path.read_text())
        kept = [*SIZES, "hidden_act", "initializer_range", "embedding_size"]
        config = {key: config[key] for key in kept if key in config}
        if kind == "albert":
            config.update(hidden_act="gelu", num_hidden_groups=1, inner_group_num=1)
        if kind == "roformer":
            config["model_type"] = "roformer"
        (beside / f"{'albert' if kind == 'albert' else 'bert'}_config.json").write_text(json.dumps(config) + "\n")
        with tf.Graph().as_default(), tf.Session() as session:
            for name, value in load_file(config_path.parent / "model.safetensors").items():
                if "position_ids" in name or "embed_positions" in name:
                    continue
                there, turned = google(name, kind)
                variable = tf.Variable(value.T if turned else value, name=there)
                if there.endswith("query/kernel"):
                    tf.Variable(tf.zeros_like(variable), name=f"{there}/adam_m")
            tf.Variable(7, name="global_step")
            session.run(tf.global_variables_initializer())
            path = str(beside / ("model.ckpt-best" if kind == "albert" else "bert_model.ckpt"))
            tf.train.Saver().save(session, path, write_meta_graph=False, write_state=False)


if __name__ == "__main__":
    {"torch": torch_files, "tensorflow": tensorflow_files}[sys.argv[1]](Path(sys.argv[2]))
