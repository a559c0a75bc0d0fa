"""Every network's classification head, against transformers' own on small random models."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from vicinal import CrossEncoder, networks
from vicinal.cross_encoder.activations import identity
from vicinal.errors import ModelWarning, UnsupportedModel
from vicinal.networks import encoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SMALL: dict[str, Any] = {
    "vocab_size": len(tiny.VOCABULARY), "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 37, "max_position_embeddings": 61, "pad_token_id": 0,
}  # fmt: skip
NARROW = {**SMALL, "type_vocab_size": 2, "embedding_size": 13}
DECODER = {**SMALL, "num_key_value_heads": 1, "head_dim": 12}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {**SMALL, "type_vocab_size": 2}),
    "roberta": ("Roberta", {**SMALL, "type_vocab_size": 2}),
    "xlm-roberta": ("XLMRoberta", {**SMALL, "type_vocab_size": 3}),
    "camembert": ("Camembert", {**SMALL, "type_vocab_size": 2}),
    "mpnet": ("MPNet", SMALL),
    "electra": ("Electra", NARROW),
    "albert": ("Albert", NARROW),
    "deberta-v3": (
        "DebertaV2",
        {**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8,
         "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False},
    ),
    "deberta-v2": (
        "DebertaV2",
        {**SMALL, "relative_attention": True, "pos_att_type": "c2p|p2c", "type_vocab_size": 2,
         "pooler_hidden_act": "tanh"},
    ),
    "distilbert": (
        "DistilBert",
        {"vocab_size": len(tiny.VOCABULARY), "dim": 24, "n_heads": 2, "n_layers": 2, "hidden_dim": 37,
         "max_position_embeddings": 61, "pad_token_id": 0},
    ),
    "modernbert-cls": ("ModernBert", {**SMALL, "local_attention": 8, "classifier_pooling": "cls"}),
    "modernbert-mean": (
        "ModernBert",
        {**SMALL, "classifier_pooling": "mean", "classifier_bias": True, "norm_bias": True,
         "classifier_activation": "silu"},
    ),
    "eurobert-late": ("EuroBert", {**DECODER, "mask_token_id": 4}),
    "eurobert-bos": ("EuroBert", {**DECODER, "mask_token_id": 4, "classifier_pooling": "bos"}),
    "eurobert-mean": ("EuroBert", {**DECODER, "mask_token_id": 4, "classifier_pooling": "mean"}),
    "gte": ("Gte", {**SMALL, "type_vocab_size": 2}),
    "nomic_bert": ("NomicBert", {**SMALL, "type_vocab_size": 2}),
    "llama": ("Llama", DECODER),
    "mistral": ("Mistral", DECODER),
    "qwen2": ("Qwen2", DECODER),
    "qwen3": ("Qwen3", DECODER),
    "gemma3": ("Gemma3Text", {**DECODER, "query_pre_attn_scalar": 12, "sliding_window": 9}),
}  # fmt: skip
PAIRS = [
    ("red apple", "tax law"), ("the", "green"), ("law " * 9, "apple tax"), ("red", "the law of the green " * 3)
]  # fmt: skip


def random_model(case: str, labels: int, seed: int = 0) -> Any:
    """Weights spread so that norms, biases and activations matter."""
    name, config = CASES[case]
    torch.manual_seed(seed)
    made = getattr(transformers, f"{name}Config")(**config, num_labels=labels)
    model = getattr(transformers, f"{name}ForSequenceClassification")(made).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.3 if parameter.ndim == 1 else 1.5 / parameter.shape[-1] ** 0.5
            parameter.add_(torch.randn_like(parameter) * spread)
    return model


def folder_of(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tiny.write_json(folder / "tokenizer.json", tiny.wordpiece())
    tiny.write_json(
        folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    )
    return folder


def reference(model: Any, ours: CrossEncoder) -> np.ndarray:
    """Pair by pair, so that no padding takes part."""
    rows = []
    for pair in PAIRS:
        features = {k: torch.as_tensor(v) for k, v in ours.tokenize([pair]).items()}
        if "token_type_ids" not in inspect.signature(model.forward).parameters:
            features.pop("token_type_ids")
        rows.append(model(**features).logits[0].detach().numpy())
    return np.stack(rows)


@pytest.mark.parametrize("backend", ["numpy", "openvino", "onnx", "torch"])
@pytest.mark.parametrize("case", CASES)
def test_scores_equal_transformers(tmp_path: Path, case: str, backend: str) -> None:
    for labels in (1, 3):
        model = random_model(case, labels)
        ours = CrossEncoder(folder_of(model, tmp_path / f"{labels}"), backend=backend, dtype="float32")
        assert ours.num_labels == labels
        found = ours.predict(PAIRS, activation_fn=identity).reshape(len(PAIRS), labels)
        wanted = reference(model, ours)
        assert np.abs(found - wanted).max() <= 3e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("case", CASES)
def test_saved_heads_load_in_transformers(tmp_path: Path, case: str) -> None:
    model = random_model(case, 2)
    ours = CrossEncoder(folder_of(model, tmp_path / "a"), dtype="float32")
    ours.save(tmp_path / "b")
    again, said = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "b", output_loading_info=True
    )
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    for (name, one), (_, other) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


def test_a_planted_fault_is_seen(tmp_path: Path) -> None:
    """The comparison above tells mean from first token, and one activation from the other."""
    model = random_model("modernbert-mean", 1)
    folder = folder_of(model, tmp_path / "m")
    right = CrossEncoder(folder, dtype="float32").predict(PAIRS, activation_fn=identity)
    for fault in ({"classifier_pooling": "cls"}, {"classifier_activation": "gelu"}):
        wrong = CrossEncoder(folder, dtype="float32", config_kwargs=fault).predict(PAIRS, activation_fn=identity)
        assert np.abs(wrong - right).max() > 1e-2 * np.abs(right).max()


def test_each_pooling_of_eurobert_is_another(tmp_path: Path) -> None:
    folder = folder_of(random_model("eurobert-late", 1), tmp_path / "m")
    late, bos, mean = (
        CrossEncoder(folder, config_kwargs={"classifier_pooling": p}, dtype="float32").predict(
            PAIRS, activation_fn=identity
        )
        for p in ("late", "bos", "mean")
    )
    for one, other in ((late, bos), (bos, mean), (late, mean)):
        assert np.abs(one - other).max() > 1e-2 * np.abs(one).max()
    with pytest.raises(UnsupportedModel, match="classifier_pooling='max' is not handled here"):
        CrossEncoder(folder, config_kwargs={"classifier_pooling": "max"})


FIRST_TOKEN = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "electra", "albert", "distilbert",
               "deberta-v3", "gte", "nomic_bert")  # fmt: skip


@pytest.mark.parametrize("case", FIRST_TOKEN)
def test_a_fault_in_a_head_of_the_first_token_is_seen(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, right, layers = folder_of(random_model(case, 1), tmp_path / "m"), encoder.first_token_scores, encoder.layers

    def other_activation(ops: Any, w: Any, c: Any, h: Any, x: Any, act: str, *names: Any) -> Any:
        return right(ops, w, c, h, x, "relu" if act != "relu" else "gelu", *names)

    def last_token(ops: Any, w: Any, c: Any, h: Any, x: Any, *more: Any) -> Any:
        return right(ops, w, c, h, {**x, "first": x["last"]}, *more)

    def token_before(ops: Any, w: Any, c: Any, h: Any, bias: Any, only: Any, *names: Any) -> Any:
        return layers(ops, w, c, h, bias, None if only is None else only - 1, *names)  # the last, to NumPy

    def scores() -> Any:
        return CrossEncoder(folder, backend="numpy").predict(PAIRS, activation_fn=identity)

    sound = scores()
    # A network whose last layer makes no other state takes the token there, the others in the head.
    other_token = ("first_token_scores", last_token)
    if networks.narrowing(CrossEncoder(folder, backend="numpy").spec.only.modules[0].architecture) is not None:
        other_token = ("layers", token_before)
    for name, fault in (("first_token_scores", other_activation), other_token):
        with monkeypatch.context() as patch:
            patch.setattr(encoder, name, fault)
            assert np.abs(scores() - sound).max() > 1e-2 * np.abs(sound).max()


@pytest.mark.parametrize("case", CASES)
def test_a_base_model_gets_a_new_head(tmp_path: Path, case: str) -> None:
    model = random_model(case, 1)
    folder = folder_of(model.base_model, tmp_path / "base")
    with pytest.warns(ModelWarning, match="has no classification head"):
        ours = CrossEncoder(folder, backend="numpy", num_labels=3)
    assert ours.predict(PAIRS).shape == (len(PAIRS), 3)
    with pytest.warns(ModelWarning):
        assert CrossEncoder(folder, backend="numpy").num_labels == 1
    ours.save(tmp_path / "saved")
    _, said = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "saved", output_loading_info=True
    )
    assert not said["missing_keys"]
