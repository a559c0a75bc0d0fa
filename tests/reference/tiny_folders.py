"""Cases of make_tiny.py: networks and weights, pooling, heads, and the layouts of older versions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm
from tiny_models import (
    BERT,
    HIDDEN,
    LETTERS,
    SMALL,
    VARIANTS,
    edit_json,
    write_bert,
    write_heads,
    write_model2vec,
    write_router,
    write_static,
    write_transformer,
    write_vocabulary,
)
from torch import nn
from transformers import BertModel

Call = tuple[str, str, dict[str, Any]]
ENCODE: Call = ("encode", "texts", {})

TEXTS = [
    "",
    "the",
    "The old king and the new river.",
    "Café CAFÉ cafe\u0301, naïve: 猫中 01!",
    "kings rivers unstoned",
    "the king " * 40,  # cut: 40 positions
    "cat of " * 19,  # 40 tokens with the two marks
    "cat of " * 18 + "cat",  # 39
    "un" + "ing" * 60,  # one word, longer than a WordPiece word may be
    "[MASK] of [SEP] the [PAD] [unused0] [CLS]",
    "zzz\u200bqqq\x00 ü\ttab\u3000wide",
    "a b c d e f g h",
    "🙂 unknown 🙂 猫中猫",
    "river-stone? old! it's",
    "THE KING",
    " ".join(LETTERS) * 2,  # cut, and its beginning differs from its end
]
INPUTS: dict[str, Any] = {
    "texts": TEXTS,
    "pairs": [[a, b] for a, b in pairwise(TEXTS)],
    "dicts": [{"text": text} for text in TEXTS],
}
ALL_MODES = ("weightedmean", "mean", "lasttoken", "cls", "max", "mean_sqrt_len_tokens")
LEGACY = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


@dataclass(frozen=True)
class Case:
    """A model folder, built over a copy of `base`, and what is asked of it."""

    name: str
    build: Callable[[Path], object]
    base: str | None = "bert"
    calls: tuple[Call, ...] = (ENCODE,)
    arguments: dict[str, Any] = field(default_factory=dict)
    group: str = "folder"


def nothing(folder: Path) -> None:
    """The base as it is."""


# --- pooling --------------------------------------------------------------------------------------------------------


def pooling(**config: Any) -> Callable[[Path], None]:
    """A pooling configuration, as it stands in the file."""
    return lambda folder: (folder / "1_Pooling" / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def current(mode: str | list[str], **more: Any) -> Callable[[Path], None]:
    """The present spelling."""
    return pooling(embedding_dimension=HIDDEN, pooling_mode=mode, **more)


def legacy(*modes: str, known: int = 6, size: int = HIDDEN, **more: Any) -> Callable[[Path], None]:
    """The spelling of versions 0 to 5.3: a flag for each of the first `known` modes."""
    flags = {key: mode in modes for mode, key in list(LEGACY.items())[:known]}
    return pooling(word_embedding_dimension=size, **flags, **more)


POOLING = [
    *(Case(f"pooling-{mode}", current(mode)) for mode in ALL_MODES),
    *(Case(f"pooling-old-{mode}", legacy(mode, include_prompt=True)) for mode in ALL_MODES),
    Case("pooling-list", current(["max", "cls"])),
    Case("pooling-all", current(list(ALL_MODES))),
    Case("pooling-old-all", legacy(*ALL_MODES)),
    Case("pooling-old-four-flags", legacy("mean", "max", known=4)),
    Case("pooling-old-no-flag-set", legacy()),
    Case("pooling-both-spellings", current("cls", pooling_mode_mean_tokens=True, pooling_mode_max_tokens=True)),
]

# --- heads ----------------------------------------------------------------------------------------------------------


def heads(*modules: Callable[[], nn.Module], modes: str | tuple[str, ...] = "mean") -> Callable[[Path], None]:
    """Modules after the pooling; made when the case is built, so that each case has its own."""
    return lambda folder: write_heads(folder, modes, *(module() for module in modules))


def dense(out: int, activation: nn.Module, size: int = HIDDEN, bias: bool = True, residual: bool = False) -> Any:
    """A maker of a dense layer."""
    return lambda: Dense(size, out, bias=bias, activation_function=activation, use_residual=residual)


def without_residual_key(folder: Path) -> None:
    """A dense layer whose configuration has the four keys of the first versions only."""
    heads(dense(12, nn.Tanh()))(folder)
    edit_json(folder / "2_Dense" / "config.json", remove=("module_input_name", "module_output_name"))


HEADS = [
    Case("dense-tanh", heads(dense(12, nn.Tanh()))),
    Case("dense-identity", heads(dense(37, nn.Identity()))),
    Case("dense-no-bias", heads(dense(12, nn.Tanh(), bias=False))),
    Case("dense-relu", heads(dense(12, nn.ReLU()))),
    Case("dense-gelu", heads(dense(12, nn.GELU()))),
    Case("dense-four-keys", without_residual_key),
    Case("dense-residual", heads(dense(HIDDEN, nn.Tanh(), residual=True))),
    Case("dense-residual-projected", heads(dense(12, nn.Tanh(), residual=True))),
    Case("dense-residual-no-bias", heads(dense(12, nn.Identity(), bias=False, residual=True))),
    Case("dense-after-two-modes", heads(dense(12, nn.Tanh(), size=2 * HIDDEN), modes=("mean", "cls"))),
    Case("layer-norm", heads(lambda: LayerNorm(HIDDEN))),
    Case("normalize", heads(Normalize)),
    Case("dropout", heads(lambda: Dropout(0.5))),
    Case(
        "dense-norm-dense-normalize",
        heads(
            dense(12, nn.Tanh()),
            lambda: LayerNorm(12),
            lambda: Dropout(0.1),
            dense(19, nn.Identity(), size=12),
            Normalize,
        ),
    ),
    Case("normalize-then-dense", heads(Normalize, dense(12, nn.Identity()))),
    Case("static", write_static, base=None),
    Case("static-normalize", lambda folder: write_static(folder, Normalize()), base=None),
    Case("static-model2vec", lambda folder: write_model2vec(folder, mapped=False), base=None),
    Case("static-model2vec-mapped", lambda folder: write_model2vec(folder, mapped=True), base=None),
    Case("router", write_router, base=None, calls=(("encode_query", "texts", {}), ("encode_document", "texts", {}))),
]

# --- networks and weights -------------------------------------------------------------------------------------------


def variant(config: dict[str, Any], seed: int) -> Callable[[Path], None]:
    """Another BERT."""
    return lambda folder: write_bert(folder, config, seed)


def plain(folder: Path, **options: Any) -> None:
    """A folder of `transformers` alone."""
    write_transformer(folder, SMALL, 20, **options)


def resave(folder: Path, dtype: str | None = None, **options: Any) -> None:
    """Write the weights again: in another number format, in several files."""
    model = BertModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    if dtype:
        model = model.to(getattr(__import__("torch"), dtype))
    model.save_pretrained(folder, **options)


def rename(folder: Path, names: Callable[[str], str], drop: str = "", add: bool = False) -> None:
    """Rename tensors, leave out those that have `drop` in their names, add the old buffer of positions."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors = {names(name): value for name, value in tensors.items() if not drop or drop not in name}
    if add:
        name = next(name for name in tensors if name.endswith("position_embeddings.weight"))
        tensors[name.replace("position_embeddings.weight", "position_ids")] = torch.arange(40)[None]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def pretraining(folder: Path) -> None:
    """A checkpoint of pre-training: every name begins with `bert.`, and heads that a sentence model does not need."""
    plain(folder, pretraining=True)
    rename(folder, lambda name: name, add=True)


def gamma_beta(folder: Path) -> None:
    """The layer norms' names in checkpoints that came from TensorFlow."""
    norms = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def old(name: str) -> str:
        for new_end, old_end in norms.items():
            name = name.replace(new_end, old_end)
        return name

    plain(folder, pretraining=True)
    rename(folder, old)


def short_config(folder: Path) -> None:
    """A config.json with only what has no default."""
    content = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in content.items() if key in BERT or key in ("model_type", "architectures")}
    (folder / "config.json").write_text(json.dumps(kept, indent=2) + "\n")


NETWORKS = [
    *(Case(name, variant(BERT | change, 10 + seed), base=None) for seed, (name, change) in enumerate(VARIANTS.items())),
    Case("as-saved", nothing, calls=(ENCODE, ("encode", "pairs", {}), ("encode", "dicts", {}))),
    Case("config-defaults", short_config, base="small"),
    Case("plain-folder", plain, base=None),
    Case("plain-folder-pretraining", pretraining, base=None),
    Case("plain-folder-gamma-beta", gamma_beta, base=None),
    Case("position-ids", lambda folder: rename(folder, str, add=True), base="small"),
    Case("no-pooler", lambda folder: rename(folder, str, drop="pooler"), base="small"),
    Case("sharded", lambda folder: resave(folder, max_shard_size="5KB"), base="small"),
    Case("float16", lambda folder: resave(folder, "float16"), base="small"),
    Case("bfloat16", lambda folder: resave(folder, "bfloat16"), base="small"),
]

# --- folders of older versions --------------------------------------------------------------------------------------


def old_modules(folder: Path, first: str = "") -> None:
    """modules.json as versions 0 to 5.3 wrote it: a normalisation of which no folder is left."""
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(
            {"Transformer": first, "Pooling": "1_Pooling", "Normalize": "2_Normalize"}.items()
        )
    ]
    (folder / "modules.json").write_text(json.dumps(entries, indent=2) + "\n")
    legacy("mean", known=4, size=SMALL["hidden_size"])(folder)


def version_2(folder: Path, name: str = "sentence_bert_config.json", **transformer: Any) -> None:
    """The layout of most published models: version 2, with the tokenizer's vocabulary and special tokens apart."""
    old_modules(folder)
    (folder / "sentence_bert_config.json").unlink()
    edit_json(folder / name, **({"max_seq_length": 16, "do_lower_case": False} | transformer))
    versions = {"__version__": {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(versions, indent=2) + "\n")
    kinds = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
    edit_json(folder / "special_tokens_map.json", **{f"{kind}_token": token for kind, token in kinds.items()})
    write_vocabulary(folder)


def version_0(folder: Path) -> None:
    """The oldest: the transformer in a folder of its own, no configuration of the whole."""
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in [path for path in folder.iterdir() if path.is_file() and path.name != "modules.json"]:
        shutil.move(path, inner / path.name)
    (inner / "config_sentence_transformers.json").unlink()
    old_modules(folder, first="0_Transformer")
    edit_json(inner / "sentence_bert_config.json", remove=("transformer_task", "modality_config", "module_output_name"))
    edit_json(inner / "sentence_bert_config.json", max_seq_length=24, do_lower_case=False)


OLD = [
    Case("version-2", version_2, base="small"),
    Case("version-2-roberta-name", lambda folder: version_2(folder, "sentence_roberta_config.json"), base="small"),
    Case("version-2-no-length", lambda folder: version_2(folder, max_seq_length=None), base="small"),
    Case("version-0", version_0, base="small"),
]
