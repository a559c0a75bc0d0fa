"""Writes the table of networks, backends and dtypes into docs/models.md.

usage: python scripts/make_model_table.py

Every cell is the largest difference between token states here and in `transformers`, which computes at float64,
relative to the largest number: of a model of random weights, 128 wide, with three layers, and a batch of texts of mixed
length. Trained weights are kinder to lower precision. Needs transformers and torch.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
import transformers

from tests.networks import harness
from vicinal import networks
from vicinal.backends.openvino import has_bfloat16

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
BEGIN, END = "<!-- made by scripts/make_model_table.py -->", "<!-- end -->"
LENGTHS = (57, 1, 23, 9, 41)
COLUMNS = [("numpy", "float32"), ("openvino", "float32"), ("openvino", "bfloat16"), ("openvino", "int8")]
if importlib.util.find_spec("vicinal.backends.onnx"):
    COLUMNS += [("onnx", "float32"), ("onnx", "int8")]

BASE: dict[str, Any] = {
    "vocab_size": 101, "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256,
    "max_position_embeddings": 70, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
NARROW = {"embedding_size": 64}
SHARED = {"num_key_value_heads": 2}
T5: dict[str, Any] = {"vocab_size": 101, "d_model": 128, "d_kv": 32, "num_heads": 4, "num_layers": 3, "d_ff": 256}
CONFIGS: Mapping[str, dict[str, Any]] = {
    "albert": {**BASE, **NARROW},
    "bert": BASE,
    "camembert": BASE,
    "deberta-v2": {**BASE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 32,
                   "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False},
    "distilbert": {"vocab_size": 101, "dim": 128, "n_layers": 3, "n_heads": 4, "hidden_dim": 256,
                   "max_position_embeddings": 70},
    "electra": {**BASE, **NARROW},
    "eurobert": {**BASE, **SHARED, "mask_token_id": 3},
    "gemma3_text": {**BASE, **SHARED, "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 12},
    "gte": {**BASE, "type_vocab_size": 0},
    "llama": {**BASE, **SHARED},
    "mistral": {**BASE, **SHARED, "sliding_window": 12},
    "modernbert": {**BASE, "local_attention": 16, "cls_token_id": 1, "sep_token_id": 2},
    "mpnet": BASE,
    "mt5": {**T5, "feed_forward_proj": "gated-gelu"},
    "nomic_bert": BASE,
    "qwen2": {**BASE, **SHARED},
    "qwen3": {**BASE, **SHARED, "head_dim": 64},
    "roberta": BASE,
    "t5": T5,
    "xlm-roberta": BASE,
}  # fmt: skip
ALIKE = {"new": "gte"}
"""A `model_type` that `transformers` does not have, and the one whose network it is, in another spelling."""


def case(kind: str) -> harness.Case:
    """A random model of a kind."""

    def model(config: Any) -> Any:
        encoder = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel"}.get(kind)
        if encoder is not None:
            return getattr(transformers, encoder)(config)
        return transformers.AutoModel.from_config(config, attn_implementation="eager")

    return harness.case(transformers.AutoConfig.for_model, model, 0, 1.0, model_type=kind, **CONFIGS[kind])


def cell(c: harness.Case, backend: str, dtype: str) -> str:
    """One number, or why there is none."""
    if dtype == "bfloat16" and not has_bfloat16():
        return "this processor has none"
    return f"{harness.off(c, backend, harness.batch(c, LENGTHS), dtype=dtype):.0e}"


def table() -> str:
    """The whole table."""
    head = " | ".join(f"{backend} {dtype}" for backend, dtype in COLUMNS)
    lines = [f"| `model_type` | {head} |", "|---|" + "---|" * len(COLUMNS)]
    for kind in networks.known():
        if kind in ALIKE:
            cells = [f"as {ALIKE[kind]}"] * len(COLUMNS)
        else:
            c = case(kind)
            cells = [cell(c, *column) for column in COLUMNS]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Put the table into the page."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = table()
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
