"""Every network's classification head, against transformers' own on small random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from vicinal import CrossEncoder
from vicinal.cross_encoder.activations import identity

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SMALL: dict[str, Any] = {
    "vocab_size": len(tiny.VOCABULARY), "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 37, "max_position_embeddings": 61, "pad_token_id": 0,
}  # fmt: skip
DECODER = {**SMALL, "num_key_value_heads": 1, "head_dim": 12}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {**SMALL, "type_vocab_size": 2}),
    "modernbert-cls": ("ModernBert", {**SMALL, "local_attention": 8, "classifier_pooling": "cls"}),
    "modernbert-mean": (
        "ModernBert",
        {**SMALL, "classifier_pooling": "mean", "classifier_bias": True, "norm_bias": True,
         "classifier_activation": "silu"},
    ),
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
        features = {k: torch.tensor(v) for k, v in ours.tokenize([pair]).items()}
        if type(model).__name__[:4] != "Bert":
            features.pop("token_type_ids")
        rows.append(model(**features).logits[0].detach().numpy())
    return np.stack(rows)


@pytest.mark.parametrize("backend", ["numpy", "openvino"])
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
