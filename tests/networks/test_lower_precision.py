"""Rotary networks at bfloat16 and int8: near float32, whatever the masks add."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.networks.rotary_reference import LENGTHS, VOCABULARY, case, tensors
from vicinal import networks
from vicinal.backends import Choice, compile_graph
from vicinal.backends.openvino import has_bfloat16
from vicinal.loading.spec import Normalize, Pooling, Route, Transformer
from vicinal.loading.weights import Scope, Tensor
from vicinal.networks.heads import graph

BASE = {"vocab_size": VOCABULARY, "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 256, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2}  # fmt: skip
KINDS: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "modernbert", "local_attention": 8, "cls_token_id": 1, "sep_token_id": 2}, "mean"),
    ({"model_type": "nomic_bert"}, "mean"),
    ({"model_type": "gte", "type_vocab_size": 0}, "cls"),
    ({"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": 5}, "lasttoken"),
    ({"model_type": "qwen2", "num_key_value_heads": 1, "is_causal": False}, "lasttoken"),
    ({"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 64}, "lasttoken"),
    ({"model_type": "eurobert", "num_key_value_heads": 4, "mask_token_id": 3}, "mean"),
    ({"model_type": "gemma3_text", "num_key_value_heads": 1, "head_dim": 64, "sliding_window": 6,
      "use_bidirectional_attention": True}, "mean"),
]  # fmt: skip


def stored(array: Any, half: bool) -> Tensor:
    """As a checkpoint has it; half a float32's bits where it is large enough to be a matrix."""
    if not half or array.ndim < 2:
        return Tensor.of("", array)
    return Tensor("", "BF16", np.ascontiguousarray(array.view(np.uint16)[..., 1::2]))


def vectors(config: dict[str, Any], mode: str, backend: str, dtype: Any, half: bool) -> Any:
    kind = str(config["model_type"])
    network = networks.find(kind)
    assert network is not None
    made, x, _ = case({**BASE, **config}, LENGTHS)
    scope = Scope({f"/{name}": stored(array, half) for name, array in tensors(made).items()})
    parsed = network.parse({**BASE, **config})
    route = Route((Transformer(kind, {}, parsed), Pooling(128, (mode,)), Normalize()), ("", "1", "2"), None)
    program = compile_graph(graph(route, scope, ("sentence_embedding",)), Choice(backend, dtype, 1))  # type: ignore[arg-type]
    pending = program.start(x, True)
    assert pending is not None
    return pending.result()["sentence_embedding"]


CASES = [*((config, mode, True) for config, mode in KINDS), (*KINDS[3], False)]


@pytest.mark.parametrize(("config", "mode", "half"), CASES, ids=[f"{c['model_type']}-{half}" for c, _, half in CASES])
def test_onnx_int8_is_near_float32(config: dict[str, Any], mode: str, half: bool) -> None:
    wanted = vectors(config, mode, "onnx", "float32", half)
    found = vectors(config, mode, "onnx", "int8", half)
    assert (found * wanted).sum(1).min() > 0.997
    assert not np.array_equal(found, wanted)


@pytest.mark.parametrize(("config", "mode", "half"), CASES, ids=[f"{c['model_type']}-{half}" for c, _, half in CASES])
def test_near_float32(config: dict[str, Any], mode: str, half: bool) -> None:
    wanted = vectors(config, mode, "numpy", "float32", half)
    exact = vectors(config, mode, "openvino", "float32", half)
    np.testing.assert_allclose(exact, wanted, atol=3e-5)
    for dtype, least in (("bfloat16", 0.998), ("int8", 0.99)):
        if dtype == "int8" or has_bfloat16():
            found = vectors(config, mode, "openvino", dtype, half)
            assert (found * wanted).sum(1).min() > least, dtype
            assert not np.array_equal(found, exact)
