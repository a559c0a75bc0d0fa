"""The cases of make_tiny.py: those of tiny_folders.py, and tokenizers, options of `encode`, prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_folders import ALL_MODES, HEADS, INPUTS, NETWORKS, OLD, POOLING, Call, Case, nothing, pooling
from tiny_models import HIDDEN, SMALL, edit_json, edit_tokenizer, tokenizer, write_vocabulary

__all__ = ["CASES", "INPUTS", "Case"]

# --- tokenizers -----------------------------------------------------------------------------------------------------


def tokenizer_config(remove: tuple[str, ...] = (), **entries: Any) -> Callable[[Path], None]:
    """Change tokenizer_config.json, and leave tokenizer.json as it is: lower case."""
    return lambda folder: edit_json(folder / "tokenizer_config.json", remove=remove, **entries)


def cased(folder: Path, **entries: Any) -> None:
    """A tokenizer.json that keeps case, and entries of tokenizer_config.json."""
    tokenizer(do_lower_case=False).save_pretrained(folder)
    edit_json(folder / "tokenizer_config.json", model_max_length=40, **entries)


def only(folder: Path, *kept: str, **config: Any) -> None:
    """Leave of the tokenizer's files the named ones; `config` becomes tokenizer_config.json."""
    write_vocabulary(folder)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        if name not in kept:
            (folder / name).unlink()
    if config:
        edit_json(folder / "tokenizer_config.json", **config)


def lower_by_sentence_config(folder: Path) -> None:
    """Lower case asked for by sentence_bert_config.json, over a tokenizer that keeps case."""
    cased(folder)
    edit_json(folder / "sentence_bert_config.json", do_lower_case=True)


def with_padding_and_truncation(folder: Path) -> None:
    """A tokenizer.json that cuts at 8 and fills up to 12 by itself."""
    padding = {"direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    truncation = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    edit_tokenizer(folder, padding={"strategy": {"Fixed": 12}, **padding}, truncation=truncation)


def cased_json(folder: Path, *removed: str) -> None:
    """A tokenizer.json that keeps case, and a tokenizer_config.json without some of its entries."""
    cased(folder)
    edit_json(folder / "tokenizer_config.json", remove=removed)


def added_token(folder: Path) -> None:
    """A token of the vocabulary that is found in a text before anything else."""
    changed = tokenizer()
    changed.add_tokens(["[unused0]"])
    changed.save_pretrained(folder)
    edit_json(folder / "tokenizer_config.json", model_max_length=40)


def long_words(folder: Path, **config: Any) -> None:
    """A tokenizer.json that splits words of up to 200 characters, where 100 is usual."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    edit_tokenizer(folder, model=model | {"max_input_chars_per_word": 200})
    edit_json(folder / "tokenizer_config.json", **config)


def any_tokenizer(folder: Path, name: str) -> None:
    """A tokenizer class that takes tokenizer.json as it is, which here keeps case, while its config says lower case."""
    cased(folder, tokenizer_class=name, do_lower_case=True)


TOKENIZERS = [
    Case("lower-json-cased-config", tokenizer_config(do_lower_case=False), base="small"),
    Case("cased-json-lower-config", lambda folder: cased(folder, do_lower_case=True), base="small"),
    Case("cased", cased, base="small"),
    Case("generic-class", lambda folder: any_tokenizer(folder, "PreTrainedTokenizerFast"), base="small"),
    Case("fast-class", lambda folder: any_tokenizer(folder, "BertTokenizerFast"), base="small"),
    Case("no-class", tokenizer_config(remove=("tokenizer_class",), do_lower_case=False), base="small"),
    Case("cased-json-silent-config", lambda folder: cased_json(folder, "do_lower_case"), base="small"),
    Case("cased-json-alone", lambda folder: (cased(folder), only(folder, "tokenizer.json")), base="small"),
    Case("added-token", added_token, base="small"),
    Case("long-words", long_words, base="small"),
    Case("long-words-generic", lambda f: long_words(f, tokenizer_class="PreTrainedTokenizerFast"), base="small"),
    Case("keeps-accents", tokenizer_config(strip_accents=False), base="small"),
    Case("cased-strips-accents", tokenizer_config(do_lower_case=False, strip_accents=True), base="small"),
    Case("chinese-as-words", tokenizer_config(tokenize_chinese_chars=False), base="small"),
    Case("lower-by-sentence-config", lower_by_sentence_config, base="small"),
    Case("vocabulary-only", lambda folder: only(folder, "vocab.txt"), base="small"),
    Case("vocabulary-cased", lambda folder: only(folder, "vocab.txt", do_lower_case=False), base="small"),
    Case("vocabulary-length", lambda folder: only(folder, "vocab.txt", model_max_length=9), base="small"),
    Case("tokenizer-json-only", lambda folder: only(folder, "tokenizer.json"), base="small"),
    Case("tokenizer-cuts-and-pads", with_padding_and_truncation, base="small"),
    Case("length-from-tokenizer", tokenizer_config(model_max_length=11), base="small"),
    Case("length-without-bound", tokenizer_config(model_max_length=int(1e30)), base="small"),
    Case("cut-on-the-left", tokenizer_config(truncation_side="left"), base="small"),
    Case("length-beyond-positions", tokenizer_config(model_max_length=512), base="small"),
]

# --- prompts and options of encode ----------------------------------------------------------------------------------

PROMPTS = {"query": "query: ", "document": "", "king": "the old king is "}
LONG_PROMPT = "river stone " * 40


def sentence_config(**entries: Any) -> Callable[[Path], None]:
    """Change config_sentence_transformers.json."""
    return lambda folder: edit_json(folder / "config_sentence_transformers.json", **entries)


def prompt_case(name: str, build: Callable[[Path], object], *calls: Call, **arguments: Any) -> Case:
    """A case of the group that test_prompts.py runs."""
    return Case(f"prompt-{name}", build, "small", calls, arguments, "prompt")


def ask(method: str = "encode", inputs: str = "texts", **options: Any) -> Call:
    """A call."""
    return (method, inputs, options)


NAMED = (
    ask(),
    ask(prompt="query: "),
    ask(prompt=""),
    ask(prompt_name="king"),
    ask(prompt_name="document"),
    ask(prompt="query: ", prompt_name="king"),
    ask("encode_query"),
    ask("encode_document"),
    ask("encode_query", prompt="stone: "),
    ask("encode_document", prompt_name="king"),
    ask(inputs="pairs", prompt_name="king"),
    ask(inputs="dicts", prompt_name="king"),
    ask(prompt=LONG_PROMPT),
)


def excluded(mode: str | list[str]) -> Case:
    """A pooling that leaves the prompt's tokens out."""
    config = {"embedding_dimension": SMALL["hidden_size"], "pooling_mode": mode, "include_prompt": False}
    name = mode if isinstance(mode, str) else "all"
    calls = [ask(), ask(prompt=""), ask(prompt="the king: "), ask(prompt=" "), ask(prompt=LONG_PROMPT)]
    calls += [ask(inputs="pairs", prompt="the king: "), ask(inputs="dicts", prompt="the king: ")]
    return prompt_case(f"excluded-{name}", pooling(**config), *calls)


PROMPTED = [
    prompt_case("named", sentence_config(prompts=PROMPTS), *NAMED),
    prompt_case("default", sentence_config(prompts=PROMPTS, default_prompt_name="king"), *NAMED),
    prompt_case("arguments", nothing, *NAMED, prompts=PROMPTS, default_prompt_name="query"),
    prompt_case(
        "arguments-over-config",
        sentence_config(prompts=PROMPTS | {"extra": "it is "}, default_prompt_name="king"),
        ask(),
        ask(prompt_name="query"),
        ask(prompt_name="extra"),
        prompts={"query": "cat of "},
    ),
    prompt_case(
        "passage", sentence_config(prompts={"passage": "old: "}), ask(prompt_name="passage"), ask("encode_query")
    ),
    *(excluded(mode) for mode in (*ALL_MODES, list(ALL_MODES))),
]

OPTIONS = [
    Case(
        "truncated-by-config",
        sentence_config(truncate_dim=9),
        calls=(ask(), ask(truncate_dim=5), ask(normalize_embeddings=True), ask(truncate_dim=HIDDEN + 1)),
    ),
    Case(
        "options",
        nothing,
        calls=(
            ask(normalize_embeddings=True),
            ask(truncate_dim=6, normalize_embeddings=True),
            ask(output_value="token_embeddings"),
        ),
    ),
    Case("truncated-by-argument", nothing, arguments={"truncate_dim": 8}),
]

CASES = [*NETWORKS, *POOLING, *HEADS, *OLD, *TOKENIZERS, *OPTIONS, *PROMPTED]
