"""Tiny models with spread random weights, in the folder layouts that sentence-transformers and transformers write.

The dimensions are primes or products of two, all different, so that no wrong axis fits by luck; every parameter is
drawn anew, layer norms and biases too, so that leaving one out shows.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer
from transformers import BertConfig, BertForPreTraining, BertModel, BertTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
WORDS = (
    "the king query river stone cat is of and un old new café cafe Café to it A B K The é ##é ü 猫 中 ##中 ##ing "
    "##er ##ly [unused0] 0 1 ##0 . , : ? ! -"
)
VOCABULARY = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS.split()]

HIDDEN = 35
BERT: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": HIDDEN,
    "num_attention_heads": 5,
    "intermediate_size": 53,
    "num_hidden_layers": 2,
    "max_position_embeddings": 40,
}
SMALL: dict[str, Any] = BERT | {
    "hidden_size": 14,
    "num_attention_heads": 2,
    "intermediate_size": 17,
    "num_hidden_layers": 1,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "bert-gelu-new": {
        "hidden_size": 21,
        "num_attention_heads": 3,
        "intermediate_size": 31,
        "num_hidden_layers": 1,
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-5,
    },
    "bert-relu-coarse-norm": {
        "hidden_size": 22,
        "num_attention_heads": 2,
        "intermediate_size": 29,
        "num_hidden_layers": 3,
        "hidden_act": "relu",
        "layer_norm_eps": 0.05,
    },
    "bert-four-layers": {
        "hidden_size": 14,
        "num_attention_heads": 7,
        "intermediate_size": 17,
        "num_hidden_layers": 4,
    },
    "bert-one-head": {
        "hidden_size": 13,
        "num_attention_heads": 1,
        "intermediate_size": 7,
        "num_hidden_layers": 1,
        "hidden_act": "gelu_pytorch_tanh",
    },
    "bert-silu": {
        "hidden_size": 15,
        "num_attention_heads": 5,
        "intermediate_size": 19,
        "num_hidden_layers": 1,
        "hidden_act": "silu",
    },
    "bert-one-token-type": {
        "hidden_size": 14,
        "num_attention_heads": 2,
        "intermediate_size": 17,
        "num_hidden_layers": 1,
        "type_vocab_size": 1,
    },
}


@torch.no_grad()
def spread(module: torch.nn.Module, seed: int) -> None:
    """Draw every parameter anew, wide enough that attention is uneven and norms, biases and masks matter."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm = "norm" in name.lower()
        if is_norm and name.endswith("weight"):
            parameter.copy_(1 + 0.4 * noise)
        elif parameter.ndim < 2:
            parameter.copy_(0.3 * noise)
        elif "embedding" in name.lower():
            parameter.copy_(noise)
        else:
            parameter.copy_(noise * 1.3 / parameter.shape[1] ** 0.5)


def write_transformer(folder: Path, config: dict[str, Any], seed: int, pretraining: bool = False) -> None:
    """A folder as `transformers` writes it: a BERT with a tokenizer; with the heads of pre-training if asked for."""
    model = (BertForPreTraining if pretraining else BertModel)(BertConfig(**config))
    spread(model, seed)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def tokenizer(**options: Any) -> BertTokenizer:
    """The WordPiece tokenizer of the vocabulary."""
    return BertTokenizer(vocab={token: index for index, token in enumerate(VOCABULARY)}, **options)


def write_vocabulary(folder: Path) -> None:
    """`vocab.txt`, one token a line."""
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCABULARY), encoding="utf-8")


def write_bert(folder: Path, config: dict[str, Any], seed: int) -> None:
    """A sentence-transformers folder: BERT and mean pooling."""
    with tempfile.TemporaryDirectory() as plain:
        write_transformer(Path(plain), config, seed)
        transformer = Transformer(plain)
        save(folder, transformer, Pooling(config["hidden_size"], "mean"))


def write_heads(folder: Path, modes: str | tuple[str, ...], *heads: torch.nn.Module) -> None:
    """Give a folder other pooling modes and further modules, with weights drawn anew."""
    transformer = SentenceTransformer(str(folder))[0]
    for seed, head in enumerate(heads):
        spread(head, 100 + seed)
    save(folder, transformer, Pooling(transformer.get_embedding_dimension(), modes), *heads)


def write_static(folder: Path, *heads: torch.nn.Module) -> None:
    """A folder with a static embedding and further modules."""
    static = StaticEmbedding(tokenizer(), embedding_dim=11)
    spread(static, 7)
    save(folder, static, *heads)


def write_model2vec(folder: Path, mapped: bool) -> None:
    """A static embedding with the tensor names of model2vec; `mapped`: its rows are shared and weighted."""
    from safetensors.torch import save_file

    write_static(folder)
    generator = torch.Generator().manual_seed(8)
    rows = 23 if mapped else len(VOCABULARY)
    tensors = {"embeddings": torch.randn(rows, 11, generator=generator)}
    if mapped:
        tensors["mapping"] = torch.randint(0, rows, (len(VOCABULARY),), generator=generator)
        tensors["weights"] = torch.rand(len(VOCABULARY), generator=generator)
    save_file(tensors, folder / "model.safetensors")


def write_router(folder: Path) -> None:
    """Queries by a static embedding, documents by a BERT with a dense layer; both are normalised."""
    with tempfile.TemporaryDirectory() as plain:
        write_transformer(Path(plain), SMALL, 9)
        static = StaticEmbedding(tokenizer(), embedding_dim=11)
        dense = Dense(14, 11)
        spread(static, 7)
        spread(dense, 10)
        router = Router.for_query_document([static], [Transformer(plain), Pooling(14, "mean"), dense])
        save(folder, router, Normalize())


def save(folder: Path, *modules: torch.nn.Module) -> None:
    """Write the modules as a sentence-transformers folder, without a model card."""
    SentenceTransformer(modules=list(modules)).save_pretrained(str(folder), create_model_card=False)


def edit_json(path: Path, remove: tuple[str, ...] = (), **entries: Any) -> None:
    """Set and remove entries of a JSON object; a file that is not there begins empty."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    content = {key: value for key, value in content.items() if key not in remove} | entries
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def edit_tokenizer(folder: Path, **entries: Any) -> None:
    """Set top-level entries of `tokenizer.json`."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | entries), encoding="utf-8")
    Tokenizer.from_file(str(path))  # it still is one
