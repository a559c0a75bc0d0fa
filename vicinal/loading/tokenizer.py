"""A folder's tokenizer as one canonical description, whichever files it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer, normalizers

from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.loading.folder import Folder
from vicinal.text.tokens import probe

# Their Python classes build the normaliser from tokenizer_config.json, whatever tokenizer.json says.
_BERT_CLASSES = ("Bert", "DistilBert", "Electra", "MPNet", "MobileBert", "Funnel", "LayoutLM", "ConvBert", "RetriBert")
_LONGEST_WORD = 100
_BERT_MODELS = ("bert", "distilbert", "electra", "mpnet", "mobilebert", "convbert", "nomic_bert")
# Their Python classes begin a text with its mark where tokenizer_config.json says so, whatever tokenizer.json says.
_BEGIN_CLASSES = ("Llama", "CodeLlama", "Gemma", "Cohere")
_BYTE_BPE_CLASSES = ("Roberta", "Longformer", "BART", "Bart", "LED")
_BYTE_BPE_MODELS = ("roberta", "longformer", "bart")
_SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", *_SENTENCEPIECE)
"""Files of which a tokenizer needs one."""


@dataclass(frozen=True)
class TokenizerFile:
    """What the tokenizer is.

    Attributes:
        raw: a `tokenizer.json`'s text.
        tokenizer: read from it; truncation, padding and the settings below are applied. Never changed afterwards.
        normalizer: replaces the BERT normaliser's settings, where not empty.
        lower: lower-case first, as `do_lower_case` of the sentence configuration asks.
        longest_word: replaces the longest word, in characters, that WordPiece splits.
        config: `tokenizer_config.json`, kept for saving.
    """

    raw: str = field(repr=False)
    tokenizer: Tokenizer = field(repr=False, compare=False)
    normalizer: Mapping[str, Any] = field(default_factory=dict)
    lower: bool = False
    longest_word: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def keep_end(self) -> bool:
        """Whether a text that is too long loses its beginning."""
        return self.config.get("truncation_side") == "left"

    def __post_init__(self) -> None:
        tokenizer = self.tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if self.longest_word is not None:
            tokenizer.model.max_input_chars_per_word = self.longest_word
        if self.normalizer:
            tokenizer.normalizer = normalizers.BertNormalizer(**self.normalizer)
        if self.lower:
            old = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
            tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *old])

    def canonical(self) -> str:
        """The description as sorted JSON, without the truncation and padding that it may store."""
        tokenizer = json.loads(self.raw)
        tokenizer["truncation"] = tokenizer["padding"] = None
        if self.longest_word is not None:
            tokenizer["model"]["max_input_chars_per_word"] = self.longest_word
        if self.normalizer:
            tokenizer["normalizer"] = {"type": "BertNormalizer", **self.normalizer}
        if self.lower:
            stages = [{"type": "Lowercase"}]
            if (old := tokenizer.get("normalizer")) is not None:
                stages += old["normalizers"] if old["type"] == "Sequence" else [old]
            tokenizer["normalizer"] = {"type": "Sequence", "normalizers": stages}
        return json.dumps(tokenizer, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def read_tokenizer(folder: Folder, at: str, model_type: str | None, lower: bool = False) -> TokenizerFile:
    """Read the tokenizer in the subfolder `at` ("" for the root).

    Args:
        model_type: of the network, to know the tokenizer's kind where no file states it.
        lower: whether the sentence configuration asks to lower-case.

    Raises:
        DamagedModel: there is no vocabulary, or it cannot be read.
        UnsupportedModel: there is a SentencePiece model alone.
    """
    prefix = f"{at}/" if at else ""
    config = folder.optional(f"{prefix}tokenizer_config.json")
    if config.get("strip_accents") not in (None, True, False):
        where = folder.path(f"{prefix}tokenizer_config.json")
        raise DamagedModel(f"{where}: strip_accents must be true, false or null, not {config['strip_accents']!r}")
    kind = str(config.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")
    is_bert = kind in _BERT_CLASSES or (not kind and model_type in _BERT_MODELS)
    if folder.has(f"{prefix}tokenizer.json"):
        raw = folder.text(f"{prefix}tokenizer.json")
        tokenizer = _parse(raw, folder.path(f"{prefix}tokenizer.json"))
        raw, tokenizer = _marked(raw, tokenizer, config, kind, folder, prefix)
        described = _described(tokenizer)
        override = _bert_normalizer(config) if is_bert and described.get("type") == "BertNormalizer" else {}
        override = {} if override == {k: v for k, v in described.items() if k != "type"} else override
        lower = lower and not _lowers(override or described)
        longest = getattr(tokenizer.model, "max_input_chars_per_word", _LONGEST_WORD) if is_bert else _LONGEST_WORD
        return TokenizerFile(
            raw, tokenizer, override, lower, _LONGEST_WORD if longest != _LONGEST_WORD else None, config
        )
    if folder.has(f"{prefix}vocab.txt") and (is_bert or not kind):
        raw = _wordpiece(folder.text(f"{prefix}vocab.txt"), config, folder, prefix)
        tokenizer = _parse(raw, folder.path(f"{prefix}vocab.txt"))
        lower = lower and not _bert_normalizer(config)["lowercase"]
        return TokenizerFile(raw, tokenizer, {}, lower, None, config)
    is_byte_bpe = kind in _BYTE_BPE_CLASSES or (not kind and model_type in _BYTE_BPE_MODELS)
    if is_byte_bpe and folder.has(f"{prefix}vocab.json") and folder.has(f"{prefix}merges.txt"):
        raw = _byte_bpe(folder, prefix, config)
        return TokenizerFile(raw, _parse(raw, folder.path(f"{prefix}vocab.json")), {}, lower, None, config)
    for name in _SENTENCEPIECE:
        if folder.has(prefix + name):
            raise UnsupportedModel(
                f"{folder.path(prefix + name)} is a SentencePiece model without the tokenizer.json that is read here. "
                "Convert it once where transformers and sentencepiece are installed: "
                f"AutoTokenizer.from_pretrained({str(folder.root)!r}).save_pretrained({str(folder.root)!r})"
            )
    raise DamagedModel(
        f"{folder.root / at} has no vocabulary that can be read: none of tokenizer.json, vocab.txt, "
        "vocab.json with merges.txt fits. The folder is incomplete, or not a text model's."
    )


def chat_template(folder: Folder, at: str, config: Mapping[str, Any]) -> str | None:
    """The template that turns messages into a text, of a file of its own or of the tokenizer's configuration."""
    name = f"{at}/chat_template.jinja" if at else "chat_template.jinja"
    if folder.has(name):
        return folder.text(name)
    stated = config.get("chat_template")
    if isinstance(stated, list):
        entries = (entry for entry in stated if isinstance(entry, dict))
        stated = next((entry.get("template") for entry in entries if entry.get("name") == "default"), None)
    return None if stated is None else str(stated)


def _parse(raw: str, path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(raw)
    except BaseException as error:  # the library raises bare Exception, and its panics are not even that
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise DamagedModel(f"{path} is no tokenizer that can be read ({error}): damaged or half-written") from error


def _marked(
    raw: str, tokenizer: Tokenizer, config: Mapping[str, Any], kind: str, folder: Folder, prefix: str
) -> tuple[str, Tokenizer]:
    """The tokenizer with the marks of a text's begin and end that `add_bos_token` and `add_eos_token` ask for.

    Only what tokenizer.json does not put there itself: models that take the last token's state were trained with the
    mark as their last token, which some of them leave to a class of their own.
    """
    begin = config.get("add_bos_token") is True and kind in _BEGIN_CLASSES and config.get("bos_token") is not None
    end = config.get("add_eos_token") is True
    if not begin and not end:
        return raw, tokenizer
    single, pair = probe(tokenizer)
    before, after = _frame(single, 1)
    first, between, last = _frame(pair, 2)
    if begin and (bos := _mark("bos_token", tokenizer, config, folder, prefix)) not in dict(before[:1]):
        before, first, between = [(bos, 0), *before], [(bos, 0), *first], [*between, (bos, 1)]
    if end and (eos := _mark("eos_token", tokenizer, config, folder, prefix)) not in dict(after[-1:]):
        after, between, last = [*after, (eos, 0)], [(eos, 0), *between], [*last, (eos, 1)]
    names = {i: str(tokenizer.id_to_token(i)) for i, _ in (*before, *after, *first, *between, *last)}

    def pieces(marks: list[tuple[int, int]]) -> list[dict[str, Any]]:
        return [_piece("SpecialToken", names[i], type_id) for i, type_id in marks]

    segments = dict(zip(pair.sequence_ids, pair.type_ids, strict=True))
    a, b = (_piece("Sequence", name, segments[i]) for i, name in enumerate("AB"))
    described = {
        "type": "TemplateProcessing",
        "single": [*pieces(before), a, *pieces(after)],
        "pair": [*pieces(first), a, *pieces(between), b, *pieces(last)],
        "special_tokens": {name: {"id": name, "ids": [i], "tokens": [name]} for i, name in names.items()},
    }
    raw = json.dumps({**json.loads(raw), "post_processor": described}, ensure_ascii=False)
    return raw, _parse(raw, folder.path(f"{prefix}tokenizer.json"))


def _frame(encoding: Encoding, texts: int) -> list[list[tuple[int, int]]]:
    """The special tokens (id, type) before, between and after the texts."""
    parts: list[list[tuple[int, int]]] = [[] for _ in range(texts + 1)]
    place = 0
    for i, type_id, part in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
        if part is None:
            parts[place].append((i, type_id))
        else:
            place = min(part + 1, texts)
    return parts


def _mark(key: str, tokenizer: Tokenizer, config: Mapping[str, Any], folder: Folder, prefix: str) -> int:
    """The number of a special token that the configuration names."""
    name = _special(config, key, "") or _special(folder.optional(f"{prefix}special_tokens_map.json"), key, "")
    found = tokenizer.token_to_id(name) if name else None
    if found is None:
        raise DamagedModel(
            f"{folder.path(prefix + 'tokenizer_config.json')} asks for the {key} {name!r}, which the tokenizer does "
            "not have"
        )
    return int(found)


def _described(tokenizer: Tokenizer) -> dict[str, Any]:
    """The settings of its normaliser, {} where it has none."""
    state = tokenizer.normalizer
    return dict(json.loads(state.__getstate__())) if state is not None else {}


def _bert_normalizer(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "clean_text": True,
        "handle_chinese_chars": bool(config.get("tokenize_chinese_chars", True)),
        "strip_accents": config.get("strip_accents"),
        "lowercase": bool(config.get("do_lower_case", True)),
    }


def _lowers(normalizer: Mapping[str, Any]) -> bool:
    if normalizer.get("normalizers"):
        return any(_lowers(part) for part in normalizer["normalizers"])
    return normalizer.get("type") == "Lowercase" or bool(normalizer.get("lowercase"))


def _special(config: Mapping[str, Any], key: str, default: str) -> str:
    value = config.get(key, default)
    return str((value.get("content") if isinstance(value, dict) else value) or default)


def _added(vocab: Mapping[str, int], tokens: list[str], lstrip: str = "") -> list[dict[str, Any]]:
    kept = sorted((vocab[token], token) for token in tokens if token in vocab)
    return [
        {"id": i, "content": token, "single_word": False, "lstrip": token == lstrip, "rstrip": False,
         "normalized": False, "special": True}
        for i, token in kept
    ]  # fmt: skip


def _wordpiece(text: str, config: Mapping[str, Any], folder: Folder, prefix: str) -> str:
    """A tokenizer.json for BERT's vocab.txt, one token a line."""
    vocab = {line.rstrip("\r"): i for i, line in enumerate(text.removesuffix("\n").split("\n"))}
    names = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
    special = {key: _special(config, f"{key}_token", default) for key, default in names.items()}
    for key in ("unk", "sep", "cls"):
        if special[key] not in vocab:
            raise DamagedModel(f"{folder.path(prefix + 'vocab.txt')} has no {special[key]}: not a BERT vocabulary")
    cls, sep = (special["cls"], vocab[special["cls"]]), (special["sep"], vocab[special["sep"]])
    single = [_piece("SpecialToken", cls[0], 0), _piece("Sequence", "A", 0), _piece("SpecialToken", sep[0], 0)]
    second = [_piece("Sequence", "B", 1), _piece("SpecialToken", sep[0], 1)]
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": _added(vocab, list(special.values())),
        "normalizer": {"type": "BertNormalizer", **_bert_normalizer(config)},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": single + second,
            "special_tokens": {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in (cls, sep)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": special["unk"], "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": _LONGEST_WORD, "vocab": vocab},
    }, ensure_ascii=False)  # fmt: skip


def _piece(kind: str, name: str, type_id: int) -> dict[str, Any]:
    return {kind: {"id": name, "type_id": type_id}}


def _byte_bpe(folder: Folder, prefix: str, config: Mapping[str, Any]) -> str:
    """A tokenizer.json for RoBERTa's vocab.json and merges.txt."""
    vocab = folder.mapping(f"{prefix}vocab.json")
    lines = folder.text(f"{prefix}merges.txt").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    names = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    special = {key: _special(config, f"{key}_token", default) for key, default in names.items()}
    cls, sep = _special(config, "cls_token", special["bos"]), _special(config, "sep_token", special["eos"])
    numbered = all(type(i) is int and i >= 0 for i in vocab.values())
    if not numbered or any(len(pair) != 2 for pair in merges) or cls not in vocab or sep not in vocab:
        raise DamagedModel(f"{folder.path(prefix + 'merges.txt')}, vocab.json: not a byte-level BPE vocabulary")
    space = bool(config.get("add_prefix_space", False))
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": _added(vocab, list(special.values()), lstrip=special["mask"]),
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": True},
        "post_processor": {"type": "RobertaProcessing", "sep": [sep, vocab[sep]], "cls": [cls, vocab[cls]],
                           "trim_offsets": True, "add_prefix_space": space},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "vocab": vocab,
                  "merges": merges},
    }, ensure_ascii=False)  # fmt: skip
