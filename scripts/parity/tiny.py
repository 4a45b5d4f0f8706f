"""Tiny random models in the formats of their first publishers; tests/data/published is made by it.
    python scripts/parity/tiny.py torch FOLDER        needs torch, transformers: safetensors and zip files
    python scripts/parity/tiny.py tensorflow FOLDER   needs tensorflow: checkpoints of version 2, from the first
    python scripts/parity/tiny.py sentences FOLDER    needs torch, transformers: FOLDER/sentences.json of a folder
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
TARGET = [0, 12, 5, 28, 1]


def untied(model):
    """With scores of its own, as T5 1.1."""
    import torch

    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    return model


def models():
    import transformers as t

    common = dict(vocab_size=30, hidden_size=16, num_attention_heads=2)
    t5 = dict(
        vocab_size=30, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_heads=2, relative_attention_num_buckets=8,
        relative_attention_max_distance=7)
    return {
        "bert": t.BertForPreTraining(t.BertConfig(**SIZES)),
        "albert": t.AlbertForPreTraining(t.AlbertConfig(**SIZES, embedding_size=8, hidden_act="gelu_new")),
        "roformer": t.RoFormerForMaskedLM(t.RoFormerConfig(**SIZES)),
        "electra": t.ElectraForPreTraining(t.ElectraConfig(**SIZES, embedding_size=8)),
        "roberta": t.RobertaForMaskedLM(t.RobertaConfig(**{**SIZES, "type_vocab_size": 1}, pad_token_id=1)),
        "deberta": t.DebertaV2ForMaskedLM(t.DebertaV2Config(
            **{**SIZES, "type_vocab_size": 0}, relative_attention=True, share_att_key=True, position_buckets=4,
            norm_rel_ebd="layer_norm", pos_att_type=["p2c", "c2p"], position_biased_input=False)),
        "modernbert": t.ModernBertForMaskedLM(t.ModernBertConfig(
            **common, num_hidden_layers=5, intermediate_size=24, local_attention=4, layer_types=[
                "full_attention" if i % 2 == 0 else "sliding_attention" for i in range(5)],
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": 500.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 70.0}},
            pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3)),
        "gpt2": t.GPT2LMHeadModel(t.GPT2Config(
            vocab_size=30, n_embd=16, n_layer=2, n_head=2, n_positions=20, bos_token_id=2, eos_token_id=3)),
        "t5-encoder": t.T5EncoderModel(t.T5Config(**t5)),
        "t5": t.T5ForConditionalGeneration(t.T5Config(**t5, num_decoder_layers=3)),
        "t5-gated": untied(t.T5ForConditionalGeneration(t.T5Config(
            **t5, feed_forward_proj="gated-gelu", tie_word_embeddings=False))),
        "mt5": t.MT5ForConditionalGeneration(t.MT5Config(**t5)),
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
        (folder / name / "expected.json").write_text(json.dumps(computed(model)) + "\n")


def computed(model):
    """Hidden states of every layer, the last as the model gives it; of models that write too, their scores."""
    import torch

    ids, rounded = torch.tensor([IDS]), lambda x: [[round(v, 6) for v in row] for row in x[0].tolist()]
    base = getattr(model, model.base_model_prefix, model)
    segments = SEGMENTS if getattr(model.config, "type_vocab_size", 0) > 1 else [0] * len(IDS)
    also = {"token_type_ids": torch.tensor([segments])} if any(segments) else {}
    expected = {"ids": IDS, "segments": segments}
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            base = model.get_encoder()
            out = model(input_ids=ids, decoder_input_ids=torch.tensor([TARGET]))
            expected.update(target=TARGET, scores=rounded(out.logits))
        out = base(ids, **also, output_hidden_states=True)
    states = [*out.hidden_states[:-1], out.last_hidden_state]
    return {**expected, "hidden_states": [rounded(h) for h in states]}


def sentences(folder):
    """The means of the last hidden states of texts, one by one."""
    import torch
    from transformers import AutoModel, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    model = AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    texts = ["The fox plays.", "今天天气好", "the model reads text"]
    with torch.no_grad():
        ids = [tokenizer(text)["input_ids"] for text in texts]
        means = [model(torch.tensor([one])).last_hidden_state[0].mean(0).tolist() for one in ids]
    file = {"texts": texts, "ids": ids, "means": means}
    (folder / "sentences.json").write_text(json.dumps(file, ensure_ascii=False) + "\n")


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
    {"torch": torch_files, "tensorflow": tensorflow_files, "sentences": sentences}[sys.argv[1]](Path(sys.argv[2]))
