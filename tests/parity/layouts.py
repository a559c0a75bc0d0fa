"""Repositories as their authors lay them out, with tiny random weights and tokenizers of the right kind.

What the files say is public knowledge of the real ones; sizes are small. Nothing here uses a writer of vicinal's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_bpe(
    texts: Sequence[str], special: Sequence[str], words: str | None, nfc: bool = True, first: Sequence[str] = ()
) -> Tokenizer:
    """BPE over bytes: of Qwen and Llama 3 where words are split by an expression, else of GPT-2 and ModernBERT.

    Args:
        special: come last in the vocabulary.
        first: special tokens that it begins with.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC() if nfc else None
    if words is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        split = pre_tokenizers.Split(Regex(words), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, by_bytes])
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=list(first),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def pieces_bpe(texts: Sequence[str], special: Sequence[str], unknown: str, gemma: bool) -> Tokenizer:
    """BPE over characters, bytes where one is not known: what a SentencePiece file of Mistral or Gemma becomes."""
    taught = Tokenizer(models.BPE())
    taught.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=300, limit_alphabet=90, show_progress=False)
    taught.train_from_iterator(texts, trainer)
    model = json.loads(taught.to_str())["model"]
    order = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(model["vocab"], key=model["vocab"].get)]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(order))}
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    if gemma:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(parts if gemma else [*parts, decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def word_pieces(texts: Sequence[str], before: Sequence[str] = (), after: Sequence[str] = ()) -> Tokenizer:
    """BERT's, uncased; MPNet's has special tokens of its own before and after."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = [*before, "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in after])
    tokenizer.post_processor = framed(tokenizer, "[CLS]", "[SEP]")
    return tokenizer


def unigram(
    texts: Sequence[str], special: Sequence[str] = ("<s>", "<pad>", "</s>", "<unk>"), unknown: str = "<unk>"
) -> Tokenizer:
    """XLM-RoBERTa's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=list(special), unk_token=unknown, show_progress=False, shrinking_factor=0.5
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.decoder = decoders.Metaspace()
    if {"<s>", "</s>"} <= set(special):
        tokenizer.post_processor = framed(tokenizer, "<s>", "</s>")
    return tokenizer


def sentence_pieces(texts: Sequence[str], special: Sequence[str], unknown: str) -> Tokenizer:
    """A Unigram as XLM-RoBERTa and T5 have it: words split at blanks, each with its mark; no normaliser."""
    tokenizer = unigram(texts, special, unknown)
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    return tokenizer


def framed(tokenizer: Tokenizer, begin: str, end: str, types: bool = True) -> Any:
    """A template with a mark before and one after a text; "" is none."""
    b = 1 if types else 0
    single, pair = (f"{begin} $A {end}".strip(), f"{begin} $A:0 {end} $B:{b} {f'{end}:{b}' if end else ''}".strip())
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in (begin, end) if mark]
    return processors.TemplateProcessing(single=single, pair=" ".join(pair.split()), special_tokens=marks)


def with_bytes(template: Any) -> Any:
    """As Llama 3 and Qwen3-Embedding have it: offsets first, then the template."""
    return processors.Sequence([processors.ByteLevel(trim_offsets=False), template])


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def write(
    folder: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Any],
    tokenizer: Tokenizer,
    tokenizer_config: Mapping[str, Any],
    *,
    mode: str,
    width: int,
    normalize: bool = True,
    dense: Sequence[tuple[int, int]] = (),
    sentence: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    shards: int = 1,
) -> Path:
    """A folder as sentence-transformers of versions 2 to 4 wrote it.

    Args:
        mode: of the pooling.
        dense: (in, out) of the linear modules after it, without bias and activation.
        sentence, settings: sentence_bert_config.json and config_sentence_transformers.json; None leaves them out.
        shards: files that the weights are in.
    """
    from safetensors.torch import save_file

    write_json(folder / "config.json", config)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", tokenizer_config)
    names = sorted(weights)
    if shards == 1:
        save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
    else:
        files = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        where = {name: files[i * shards // len(names)] for i, name in enumerate(names)}
        for file in files:
            part = {name: weights[name] for name in names if where[name] == file}
            save_file(part, folder / file, metadata={"format": "pt"})
        write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": 0}, "weight_map": where})
    kinds = ["Transformer", "Pooling", *["Dense"] * len(dense), *["Normalize"] * normalize]
    places = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds) if i)]
    write_json(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, places, strict=True))
    ])  # fmt: skip
    modes = {f"pooling_mode_{key}": key == mode for key in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")}
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": width, **modes, "include_prompt": True})
    for i, (inside, outside) in enumerate(dense, 2):
        import torch

        matrix = torch.from_numpy(np.random.default_rng(i).standard_normal((outside, inside)).astype(np.float32))
        config = {"in_features": inside, "out_features": outside, "bias": False,
                  "activation_function": "torch.nn.modules.linear.Identity"}  # fmt: skip
        write_json(folder / f"{i}_Dense/config.json", config)
        save_file({"linear.weight": matrix / inside**0.5}, folder / f"{i}_Dense/model.safetensors")
    if sentence is not None:
        write_json(folder / "sentence_bert_config.json", sentence)
    if settings is not None:
        write_json(folder / "config_sentence_transformers.json", settings)
    return folder
