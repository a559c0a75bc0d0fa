"""Well-known repositories of BERT's relatives and of T5, laid out as they are: read alike here and by the peer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors

from tests.parity.compare import TINY, alike, near, ours, peer, same_ids, same_ranking, weights
from tests.parity.layouts import byte_bpe, framed, sentence_pieces, unigram, word_pieces, write, write_json
from vicinal import CrossEncoder
from vicinal.errors import PromptWarning

RIGHT = ("right",)
"""The peer counts positions of BERT and its relatives over padding, too."""
DROPOUT = {"attention_probs_dropout_prob": 0.1, "hidden_dropout_prob": 0.1, "initializer_range": 0.02}
MARKS = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>",
         "unk_token": "<unk>"}  # fmt: skip
VERSIONS = {"__version__": {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}}


def pickled(folder: Path) -> Path:
    """The folder with its weights where torch puts them."""
    import torch
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    torch.save(load_file(file), folder / "pytorch_model.bin")
    file.unlink()
    return folder


def mpnet(folder: Path, corpus: list[str], mode: str, normalize: bool, limit: int) -> Path:
    tokenizer = word_pieces(corpus, ["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    config = {
        **TINY, **DROPOUT, "_name_or_path": "microsoft/mpnet-base", "architectures": ["MPNetForMaskedLM"],
        "bos_token_id": 0, "eos_token_id": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-05,
        "max_position_embeddings": 194, "model_type": "mpnet", "pad_token_id": 1, "relative_attention_num_buckets": 32,
        "transformers_version": "4.8.2", "vocab_size": tokenizer.get_vocab_size(),
    }  # fmt: skip
    words = {**MARKS, "do_lower_case": True, "unk_token": "[UNK]", "mask_token": "<mask>",
             "tokenize_chinese_chars": True, "strip_accents": None, "model_max_length": 192,
             "special_tokens_map_file": None, "name_or_path": "microsoft/mpnet-base",
             "tokenizer_class": "MPNetTokenizer"}  # fmt: skip
    return write(folder, config, weights(config), tokenizer, words, mode=mode, width=32, normalize=normalize,
                 sentence={"max_seq_length": limit, "do_lower_case": False}, settings=VERSIONS)  # fmt: skip


def test_all_mpnet_base_v2(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    """The text that is cut is cut before the network's last position."""
    folder = mpnet(tmp_path / "all-mpnet-base-v2", corpus, "mean_tokens", True, 150)
    assert alike(folder, texts, RIGHT).max_seq_length == 150


def test_multi_qa_mpnet_base_dot_v1(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    """The text that is cut reaches the network's last position."""
    folder = mpnet(tmp_path / "multi-qa-mpnet-base-dot-v1", corpus, "cls_token", False, 192)
    assert alike(folder, texts, RIGHT).max_seq_length == 192


def test_paraphrase_multilingual_minilm(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    """A BERT with XLM-RoBERTa's tokens: neither the vocabulary nor the padding's number is BERT's."""
    tokenizer = unigram(corpus)
    tokenizer.post_processor = framed(tokenizer, "<s>", "</s>", types=False)
    config = {
        **TINY, **DROPOUT, "_name_or_path": "old_models/paraphrase-multilingual-MiniLM-L12-v2/0_Transformer",
        "architectures": ["BertModel"], "gradient_checkpointing": False, "hidden_act": "gelu",
        "layer_norm_eps": 1e-12, "max_position_embeddings": 192, "model_type": "bert", "pad_token_id": 0,
        "position_embedding_type": "absolute", "transformers_version": "4.7.0", "type_vocab_size": 2,
        "use_cache": True, "vocab_size": tokenizer.get_vocab_size(),
    }  # fmt: skip
    words = {**MARKS, "do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None,
             "model_max_length": 192, "special_tokens_map_file": None,
             "tokenizer_class": "PreTrainedTokenizerFast"}  # fmt: skip
    folder = write(tmp_path / "paraphrase-multilingual-MiniLM-L12-v2", config, weights(config), tokenizer, words,
                   mode="mean_tokens", width=32, normalize=False,
                   sentence={"max_seq_length": 128, "do_lower_case": False}, settings=VERSIONS)  # fmt: skip
    assert alike(folder, texts, RIGHT).max_seq_length == 128


def xlm_roberta(folder: Path, corpus: list[str], mode: str, positions: int) -> Path:
    tokenizer = sentence_pieces(corpus, ["<s>", "<pad>", "</s>", "<unk>"], "<unk>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B:0 </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    config = {
        **TINY, **DROPOUT, "architectures": ["XLMRobertaModel"], "bos_token_id": 0, "classifier_dropout": None,
        "eos_token_id": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-05, "max_position_embeddings": positions + 2,
        "model_type": "xlm-roberta", "output_past": True, "pad_token_id": 1, "position_embedding_type": "absolute",
        "torch_dtype": "float32", "transformers_version": "4.33.0", "type_vocab_size": 1, "use_cache": True,
        "vocab_size": tokenizer.get_vocab_size(),
    }  # fmt: skip
    words = {**MARKS, "clean_up_tokenization_spaces": True, "model_max_length": positions,
             "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "normalized": True,
                            "rstrip": False, "single_word": False},
             "sp_model_kwargs": {}, "tokenizer_class": "XLMRobertaTokenizer"}  # fmt: skip
    return write(folder, config, weights(config), tokenizer, words, mode=mode, width=32,
                 sentence={"max_seq_length": positions, "do_lower_case": False}, settings=VERSIONS)  # fmt: skip


def test_multilingual_e5_base(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    folder = xlm_roberta(tmp_path / "multilingual-e5-base", corpus, "mean_tokens", 192)
    found = alike(folder, texts, RIGHT)
    wanted = peer(folder)
    with pytest.warns(PromptWarning, match="trained with the prompt 'query: ' for every query"):
        near(found.encode_query(texts[:9]), wanted.encode([f"query: {text}" for text in texts[:9]]))
    with pytest.warns(PromptWarning, match="'passage: ' for every document"):
        near(found.encode_document(texts[:9]), wanted.encode([f"passage: {text}" for text in texts[:9]]))


def test_bge_m3(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    """Weights for torch alone, beside those of two more heads, which the dense vector does not need."""
    import torch

    folder = pickled(xlm_roberta(tmp_path / "bge-m3", corpus, "cls_token", 256))
    for name in ("colbert_linear.pt", "sparse_linear.pt"):
        torch.save({"weight": torch.ones(1, 32), "bias": torch.zeros(1)}, folder / name)
    alike(folder, texts, RIGHT)


def roberta(corpus: list[str]) -> Tokenizer:
    first = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = byte_bpe(corpus, [], None, nfc=False, first=first)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


@pytest.mark.parametrize("with_json", [True, False])
def test_all_distilroberta_v1(tmp_path: Path, texts: list[str], corpus: list[str], with_json: bool) -> None:
    """With tokenizer.json, and with vocab.json and merges.txt alone."""
    tokenizer = roberta(corpus)
    config = {
        **TINY, **DROPOUT, "_name_or_path": "distilroberta-base", "architectures": ["RobertaForMaskedLM"],
        "bos_token_id": 0, "eos_token_id": 2, "gradient_checkpointing": False, "hidden_act": "gelu",
        "layer_norm_eps": 1e-05, "max_position_embeddings": 194, "model_type": "roberta", "pad_token_id": 1,
        "position_embedding_type": "absolute", "transformers_version": "4.8.2", "type_vocab_size": 1,
        "use_cache": True, "vocab_size": tokenizer.get_vocab_size(),
    }  # fmt: skip
    words = {**MARKS, "add_prefix_space": False, "errors": "replace", "mask_token": "<mask>", "trim_offsets": True,
             "model_max_length": 192, "special_tokens_map_file": None, "name_or_path": "distilroberta-base",
             "tokenizer_class": "RobertaTokenizer"}  # fmt: skip
    folder = write(tmp_path / "all-distilroberta-v1", config, weights(config), tokenizer, words, mode="mean_tokens",
                   width=32, sentence={"max_seq_length": 192, "do_lower_case": False}, settings=VERSIONS)  # fmt: skip
    if not with_json:
        before = alike(folder, texts, RIGHT)
        tokenizer.model.save(str(folder))
        (folder / "tokenizer.json").unlink()
        # vocab.json holds the special tokens of the vocabulary proper; the mask stands in a file of its own
        texts = [text for text in texts if "<mask>" not in text]
        near(ours(folder).encode(texts), before.encode(texts))
    alike(folder, texts, RIGHT)


@pytest.mark.parametrize("name", ["sentence-t5-base", "gtr-t5-base"])
def test_t5(tmp_path: Path, texts: list[str], corpus: list[str], name: str) -> None:
    extra = [f"<extra_id_{i}>" for i in reversed(range(100))]
    tokenizer = sentence_pieces(corpus, ["<pad>", "</s>", "<unk>"], "<unk>")
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in extra])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B:0 </s>", special_tokens=[("</s>", 1)]
    )
    config = {
        "architectures": ["T5EncoderModel"], "d_ff": 37, "d_kv": 8, "d_model": 32, "decoder_start_token_id": 0,
        "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": "relu", "gradient_checkpointing": False,
        "initializer_factor": 1.0, "is_encoder_decoder": True, "layer_norm_epsilon": 1e-06, "model_type": "t5",
        "n_positions": 512, "num_decoder_layers": 12, "num_heads": 4, "num_layers": 2, "output_past": True,
        "pad_token_id": 0, "relative_attention_num_buckets": 32, "transformers_version": "4.11.0", "use_cache": True,
        "vocab_size": tokenizer.get_vocab_size() + 28,
    }  # fmt: skip
    words = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 100,
             "additional_special_tokens": extra[::-1], "model_max_length": 512, "special_tokens_map_file": None,
             "name_or_path": "models/sentence-t5-base", "tokenizer_class": "T5Tokenizer"}  # fmt: skip
    made = weights(config, kind="T5EncoderModel")
    made["encoder.embed_tokens.weight"] = made["shared.weight"].clone()
    folder = write(tmp_path / name, config, made, tokenizer, words, mode="mean_tokens", width=32, dense=[(32, 32)],
                   sentence={"max_seq_length": 200, "do_lower_case": False}, settings=VERSIONS)  # fmt: skip
    found = alike(pickled(folder), texts)
    assert found.max_seq_length == 200


# ---- cross-encoders --------------------------------------------------------------------------------------------------


def deberta_pieces(corpus: list[str]) -> Tokenizer:
    """As DeBERTa-v2's own class makes it."""
    tokenizer = unigram(corpus, ["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "[UNK]")
    parts = [normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "), normalizers.NFC(), normalizers.Strip(left=False)]
    tokenizer.normalizer = normalizers.Sequence(parts)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="always")])
    tokenizer.add_special_tokens([AddedToken("[MASK]", special=True, normalized=False)])
    tokenizer.post_processor = framed(tokenizer, "[CLS]", "[SEP]")
    return tokenizer


def xlm_pieces(corpus: list[str]) -> Tokenizer:
    tokenizer = sentence_pieces(corpus, ["<s>", "<pad>", "</s>", "<unk>"], "<unk>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B:0 </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    return tokenizer


BERT_WORDS = {"clean_up_tokenization_spaces": True, "cls_token": "[CLS]", "do_lower_case": True, "mask_token": "[MASK]",
              "model_max_length": 192, "pad_token": "[PAD]", "sep_token": "[SEP]", "strip_accents": None,
              "tokenize_chinese_chars": True, "tokenizer_class": "BertTokenizer", "unk_token": "[UNK]"}  # fmt: skip
DEBERTA_WORDS = {"bos_token": "[CLS]", "cls_token": "[CLS]", "do_lower_case": False, "eos_token": "[SEP]",
                 "mask_token": "[MASK]", "model_max_length": 192, "pad_token": "[PAD]", "sep_token": "[SEP]",
                 "sp_model_kwargs": {}, "split_by_punct": False, "tokenizer_class": "DebertaV2Tokenizer",
                 "unk_token": "[UNK]", "vocab_type": "spm"}  # fmt: skip
ROBERTA_WORDS = {**MARKS, "add_prefix_space": False, "errors": "replace", "mask_token": "<mask>",
                 "model_max_length": 192, "tokenizer_class": "RobertaTokenizer", "trim_offsets": True}  # fmt: skip
XLM_WORDS = {**MARKS, "clean_up_tokenization_spaces": True, "mask_token": "<mask>", "model_max_length": 192,
             "tokenizer_class": "XLMRobertaTokenizer"}  # fmt: skip
BERT = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 192, "pad_token_id": 0,
        "position_embedding_type": "absolute", "type_vocab_size": 2, "use_cache": True}  # fmt: skip
ROBERTA = {**BERT, "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-05, "max_position_embeddings": 194,
           "pad_token_id": 1, "type_vocab_size": 1}  # fmt: skip
DEBERTA = {"hidden_act": "gelu", "layer_norm_eps": 1e-07, "max_position_embeddings": 192, "max_relative_positions": -1,
           "model_type": "deberta-v2", "norm_rel_ebd": "layer_norm", "pad_token_id": 0, "pooler_dropout": 0,
           "pooler_hidden_act": "gelu", "pooler_hidden_size": 32, "pos_att_type": ["p2c", "c2p"],
           "position_biased_input": False, "position_buckets": 64, "relative_attention": True, "share_att_key": True,
           "type_vocab_size": 0}  # fmt: skip
OLD = {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}
NEW = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "4.0.1"}}
CROSS_ENCODERS: dict[str, tuple[dict[str, Any], Any, dict[str, Any], int]] = {
    "ms-marco-MiniLM-L6-v2": (
        {**BERT, **NEW, "architectures": ["BertForSequenceClassification"], "model_type": "bert"},
        word_pieces, BERT_WORDS, 1,
    ),
    "ms-marco-electra-base": (
        {**BERT, **OLD, "architectures": ["ElectraForSequenceClassification"], "embedding_size": 32,
         "model_type": "electra", "summary_activation": "gelu", "summary_last_dropout": 0.1,
         "summary_type": "first", "summary_use_proj": True},
        word_pieces, {**BERT_WORDS, "tokenizer_class": "ElectraTokenizer"}, 1,
    ),
    "quora-distilroberta-base": (
        {**ROBERTA, "architectures": ["RobertaForSequenceClassification"], "model_type": "roberta"},
        roberta, ROBERTA_WORDS, 1,
    ),
    "nli-deberta-v3-base": (
        {**DEBERTA, "architectures": ["DebertaV2ForSequenceClassification"]}, deberta_pieces, DEBERTA_WORDS, 3,
    ),
    "mxbai-rerank-base-v1": (
        {**DEBERTA, "architectures": ["DebertaV2ForSequenceClassification"], "pos_att_type": "p2c|c2p"},
        deberta_pieces, DEBERTA_WORDS, 1,
    ),
    "bge-reranker-v2-m3": (
        {**ROBERTA, "architectures": ["XLMRobertaForSequenceClassification"], "classifier_dropout": None,
         "model_type": "xlm-roberta", "output_past": True, "torch_dtype": "float32"},
        xlm_pieces, XLM_WORDS, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CROSS_ENCODERS)
def test_cross_encoders(tmp_path: Path, texts: list[str], corpus: list[str], name: str) -> None:
    """Ids of pairs, scores, and ranking, with pairs that are cut."""
    from safetensors.torch import save_file
    from sentence_transformers import CrossEncoder as Peer

    described, pieces, words, labels = CROSS_ENCODERS[name]
    tokenizer, folder = pieces(corpus), tmp_path / name
    names = {str(i): f"LABEL_{i}" for i in range(labels)}
    config = {**TINY, **DROPOUT, **described, "vocab_size": tokenizer.get_vocab_size(), "id2label": names,
              "label2id": {label: int(i) for i, label in names.items()}}  # fmt: skip
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer_config.json", words)
    tokenizer.save(str(folder / "tokenizer.json"))
    made = weights(config, kind="AutoModelForSequenceClassification")
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    pairs = [
        *zip(texts, reversed(texts), strict=True),
        ("short", "the long one " * 120),
        ("long " * 150, "words " * 90),
    ]
    wanted = Peer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    limit = wanted.max_seq_length
    assert limit == 192
    scores = wanted.predict(pairs, batch_size=7)
    for backend in ("openvino", "numpy"):
        found = CrossEncoder(str(folder), backend=backend, dtype="float32")
        assert found.max_length == limit
        near(found.predict(pairs, truncation="ignore"), scores)
    for pair in pairs:
        (ids,) = wanted.tokenizer([pair], truncation=True, max_length=limit)["input_ids"]
        assert found.tokenize([pair])["input_ids"][0].tolist() == ids, pair
    if labels == 1:
        documents = texts[:40]
        query = "a question about words"
        same_ranking(found.rank(query, documents, top_k=7), wanted.rank(query, documents), 7)


def test_deberta_as_an_encoder(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    """Its files may state more tokens than max_position_embeddings, where distances alone count."""
    tokenizer = deberta_pieces(corpus)
    config = {**TINY, **DROPOUT, **DEBERTA, "architectures": ["DebertaV2Model"], "max_position_embeddings": 128,
              "vocab_size": tokenizer.get_vocab_size()}  # fmt: skip
    folder = write(tmp_path / "deberta", config, weights(config, "deberta."), tokenizer, DEBERTA_WORDS,
                   mode="mean_tokens", width=32, sentence={"max_seq_length": 180, "do_lower_case": False})  # fmt: skip
    found = alike(folder, texts)
    assert found.max_seq_length == 180
    found.save(str(tmp_path / "saved"))
    again = ours(tmp_path / "saved")
    near(again.encode(texts[:9]), found.encode(texts[:9]))
    same_ids(again, peer(tmp_path / "saved"), texts[:9])
