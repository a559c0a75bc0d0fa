"""Every kind of vocabulary becomes the same tokenizer, by whichever files it is described."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests import tiny
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.loading.folder import Folder
from vicinal.loading.tokenizer import TokenizerFile, read_tokenizer

TEXT = "Red APPLE café 中taxing [SEP] the-law\tx"
PAIR = ("red apple", "tax")


def read(folder: Path, model_type: str | None = "bert", lower: bool = False) -> TokenizerFile:
    return read_tokenizer(Folder(folder), "", model_type, lower)


def write(folder: Path, described: Any = None, config: Any = None, **files: str) -> Path:
    if described is not None:
        tiny.write_json(folder / "tokenizer.json", described)
    if config is not None:
        tiny.write_json(folder / "tokenizer_config.json", config)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, "utf-8")
    return folder


def tokens(file: TokenizerFile, *texts: str) -> list[str]:
    return list(file.tokenizer.encode(*texts).tokens)


VOCAB = "\n".join(tiny.VOCABULARY)


@pytest.mark.parametrize("text", [VOCAB, VOCAB + "\n", VOCAB.replace("\n", "\r\n")], ids=["cut", "ended", "windows"])
def test_vocab_txt_is_the_same_tokenizer(text: str, tmp_path: Path) -> None:
    found = read(write(tmp_path, vocab_txt=text))
    wanted = Tokenizer.from_str(json.dumps(tiny.wordpiece()))
    for given in ((TEXT,), PAIR, ("",)):
        a, b = found.tokenizer.encode(*given), wanted.encode(*given)
        assert (a.ids, a.type_ids, a.tokens) == (b.ids, b.type_ids, b.tokens)
    described = json.loads(found.canonical())
    assert described["model"]["vocab"] == tiny.wordpiece()["model"]["vocab"]
    assert described["post_processor"] == tiny.wordpiece()["post_processor"]


@pytest.mark.parametrize(
    ("config", "normalizer"),
    [
        ({}, (True, None, True)),
        ({"do_lower_case": False}, (False, None, True)),
        ({"do_lower_case": False, "strip_accents": True}, (False, True, True)),
        ({"strip_accents": False}, (True, False, True)),
        ({"tokenize_chinese_chars": False}, (True, None, False)),
    ],
)
@pytest.mark.parametrize("source", ["vocab.txt", "tokenizer.json"])
def test_berts_settings_are_those_of_its_configuration(
    source: str, config: dict[str, Any], normalizer: tuple[Any, ...], tmp_path: Path
) -> None:
    config = {"tokenizer_class": "BertTokenizer", **config}
    if source == "vocab.txt":
        write(tmp_path, None, config, vocab_txt=VOCAB)
    else:
        write(tmp_path, tiny.wordpiece(), config)
    found = read(tmp_path)
    described = json.loads(found.canonical())["normalizer"]
    assert (described["lowercase"], described["strip_accents"], described["handle_chinese_chars"]) == normalizer
    again = Tokenizer.from_str(found.canonical())
    assert again.encode(TEXT).ids == found.tokenizer.encode(TEXT).ids


def test_another_class_keeps_its_own_settings(tmp_path: Path) -> None:
    described = tiny.wordpiece()
    described["normalizer"]["lowercase"] = False
    write(tmp_path, described, {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True})
    assert tokens(read(tmp_path), "RED red") == ["[CLS]", "[UNK]", "red", "[SEP]"]


@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}, {"type": "Sequence", "normalizers": [{"type": "NFC"}]}])
def test_lower_case_first(normalizer: Any, tmp_path: Path) -> None:
    """`do_lower_case` of the sentence configuration, whatever the tokenizer does by itself."""
    write(tmp_path, {**tiny.wordpiece(), "normalizer": normalizer}, {"tokenizer_class": "Other"})
    assert tokens(read(tmp_path), "RED red") == ["[CLS]", "[UNK]", "red", "[SEP]"]
    found = read(tmp_path, lower=True)
    assert tokens(found, "RED red") == ["[CLS]", "red", "red", "[SEP]"]
    again = Tokenizer.from_str(found.canonical())
    assert again.encode("RED red").tokens == ["[CLS]", "red", "red", "[SEP]"]


def test_lower_case_is_not_done_twice(tmp_path: Path) -> None:
    found = read(write(tmp_path, tiny.wordpiece()), lower=True)
    assert not found.lower
    assert found.canonical() == read(tmp_path).canonical()


def test_stored_truncation_and_padding_are_not_used(tmp_path: Path) -> None:
    described = Tokenizer.from_str(json.dumps(tiny.wordpiece()))
    described.enable_truncation(3)
    described.enable_padding(length=50)
    found = read(write(tmp_path, json.loads(described.to_str())))
    assert len(found.tokenizer.encode("red apple tax law")) == 6
    assert found.canonical() == read(write(tmp_path / "b", tiny.wordpiece())).canonical()


def byte_bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("r", "e"), ("re", "d"), ("Ġ", "red"), ("t", "h"), ("th", "e")]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *alphabet, *("".join(pair) for pair in merges), "<mask>"]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges


@pytest.mark.parametrize("space", [False, True])
def test_vocab_json_with_merges_txt(space: bool, tmp_path: Path) -> None:
    vocab, merges = byte_bpe()
    lines = "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n"
    config = {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": space}
    found = read(write(tmp_path, None, config, vocab_json=json.dumps(vocab), merges_txt=lines), None)
    wanted = Tokenizer(models.BPE(vocab, merges))
    wanted.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    wanted.post_processor = processors.RobertaProcessing(
        ("</s>", vocab["</s>"]), ("<s>", vocab["<s>"]), add_prefix_space=space
    )
    for given in (("red the red  中",), ("red", "the"), ("",)):
        a, b = found.tokenizer.encode(*given), wanted.encode(*given)
        assert (a.ids, a.type_ids) == (b.ids, b.type_ids)
    ids = found.tokenizer.encode("red <mask>").ids
    assert ids[-2:] == [vocab["<mask>"], vocab["</s>"]]
    assert ids[-3] in (vocab["red"], vocab["Ġred"])  # the mask swallows the space before it


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"vocab_json": "[]", "merges_txt": "a b"}, r"vocab\.json must hold a JSON object"),
        ({"vocab_json": "{}", "merges_txt": "a b"}, "not a byte-level BPE vocabulary"),
        ({"vocab_json": '{"<s>": 0, "</s>": 1}', "merges_txt": "a b c"}, "not a byte-level BPE vocabulary"),
        ({"vocab_json": '{"<s>": 0, "</s>": 1}', "merges_txt": "a b"}, r"vocab\.json"),
        ({"vocab_json": '{"<s>": "x", "</s>": 1}', "merges_txt": ""}, r"vocab\.json"),
        ({"vocab_json": '{"<s>": -1, "</s>": 1}', "merges_txt": ""}, r"vocab\.json"),
        ({"vocab_json": '{"<s>": 0, "</s>": 1}'}, "has no vocabulary that can be read"),
    ],
)
def test_a_broken_vocab_json(files: dict[str, str], text: str, tmp_path: Path) -> None:
    write(tmp_path, None, {"tokenizer_class": "RobertaTokenizer"}, **files)
    with pytest.raises(DamagedModel, match=text) as caught:
        read(tmp_path, None)
    assert str(tmp_path) in str(caught.value)


def test_a_vocabulary_of_another_class_is_not_taken_for_berts(tmp_path: Path) -> None:
    write(tmp_path, None, {"tokenizer_class": "XLMRobertaTokenizer"}, vocab_txt=VOCAB)
    with pytest.raises(DamagedModel, match=r"none of tokenizer\.json, vocab\.txt, vocab\.json with merges\.txt fits"):
        read(tmp_path)
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\x0a")
    with pytest.raises(UnsupportedModel, match=r"sentencepiece\.bpe\.model is a SentencePiece .*save_pretrained\("):
        read(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"strip_accents": "yes"}, {"strip_accents": 5}, {"tokenizer_class": ["BertTokenizer"]},
        {"cls_token": 5}, {"cls_token": ["[CLS]"]}, {"cls_token": {"content": None}}, {"do_lower_case": "maybe"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("source", ["vocab.txt", "tokenizer.json"])
def test_a_strange_configuration_is_an_error_or_ignored(source: str, config: dict[str, Any], tmp_path: Path) -> None:
    """Never an exception of another kind."""
    files = {"vocab_txt": VOCAB} if source == "vocab.txt" else {}
    write(tmp_path, None if files else tiny.wordpiece(), {"tokenizer_class": "BertTokenizer", **config}, **files)
    try:
        found = read(tmp_path)
    except DamagedModel as error:
        told = str(error)
        assert "tokenizer_config.json" in told or "vocab.txt" in told  # it may also be ignored
    else:
        assert tokens(found, "red")[1:-1] == ["red"]
