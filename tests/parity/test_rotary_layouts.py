"""Well-known repositories of rotary networks, laid out as they are: loaded alike here and by sentence-transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from tests.networks.test_rotary_bert import gte_names, nomic_names
from tests.parity.compare import TINY, Made, alike, named, near, ours, peer, same_ids, weights
from tests.parity.layouts import (
    QWEN_WORDS,
    byte_bpe,
    framed,
    pieces_bpe,
    unigram,
    with_bytes,
    word_pieces,
    write,
    write_json,
)
from vicinal import CrossEncoder
from vicinal.errors import ModelWarning, PromptWarning, ZeroVectorWarning

WEB_SEARCH = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "


# ---- the layouts ---------------------------------------------------------------------------------------------------


def modernbert(folder: Path, corpus: list[str], mode: str, normalize: bool) -> Path:
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = byte_bpe(corpus, special, None)
    tokenizer.post_processor = framed(tokenizer, "[CLS]", "[SEP]", types=False)
    ids = {name: tokenizer.token_to_id(name) for name in special}
    config = {
        **TINY, "architectures": ["ModernBertModel"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": ids["[CLS]"], "classifier_activation": "gelu", "classifier_bias": False,
        "classifier_dropout": 0.0, "classifier_pooling": "mean", "cls_token_id": ids["[CLS]"], "decoder_bias": True,
        "deterministic_flash_attn": False, "embedding_dropout": 0.0, "eos_token_id": ids["[SEP]"],
        "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "gradient_checkpointing": False,
        "hidden_activation": "gelu", "initializer_cutoff_factor": 2.0, "initializer_range": 0.02,
        "layer_norm_eps": 1e-05, "local_attention": 16, "local_rope_theta": 10000.0, "max_position_embeddings": 192,
        "mlp_bias": False, "mlp_dropout": 0.0, "model_type": "modernbert", "norm_bias": False, "norm_eps": 1e-05,
        "num_hidden_layers": 4, "pad_token_id": ids["[PAD]"], "position_embedding_type": "absolute",
        "reference_compile": False, "sep_token_id": ids["[SEP]"], "sparse_pred_ignore_index": -100,
        "sparse_prediction": False, "torch_dtype": "float32", "transformers_version": "4.48.0",
        "vocab_size": tokenizer.get_vocab_size(),
    }  # fmt: skip
    words = {"clean_up_tokenization_spaces": True, "cls_token": "[CLS]", "mask_token": "[MASK]",
             "model_input_names": ["input_ids", "attention_mask"], "model_max_length": 192, "pad_token": "[PAD]",
             "sep_token": "[SEP]", "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}  # fmt: skip
    return write(folder, config, weights(config), tokenizer, words, mode=mode, width=32, normalize=normalize,
                 sentence={"max_seq_length": 192, "do_lower_case": False},
                 settings={"__version__": {"sentence_transformers": "3.3.1"}, "prompts": {},
                           "default_prompt_name": None, "similarity_fn_name": "cosine"})  # fmt: skip


def test_modernbert_embed(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    folder = modernbert(tmp_path / "modernbert-embed-base", corpus, "mean_tokens", True)
    found = alike(folder, texts)
    with pytest.warns(PromptWarning, match="trained with the prompt 'search_query: ' for every query"):
        queries = found.encode_query(texts[:5])
    near(queries, peer(folder).encode([f"search_query: {text}" for text in texts[:5]]))


def test_gte_modernbert(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    folder = modernbert(tmp_path / "gte-modernbert-base", corpus, "cls_token", False)
    near(alike(folder, texts).encode_query(texts[:5]), peer(folder).encode_query(texts[:5]))


NOMIC = {
    "activation_function": "swiglu", "architectures": ["NomicBertModel"], "attn_pdrop": 0.0,
    "auto_map": {"AutoConfig": "nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig",
                 "AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"},
    "bos_token_id": None, "causal": False, "dense_seq_output": True, "embd_pdrop": 0.0, "eos_token_id": None,
    "fused_bias_fc": True, "fused_dropout_add_ln": True, "initializer_range": 0.02, "layer_norm_epsilon": 1e-12,
    "max_trained_positions": 64, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "model_type": "nomic_bert",
    "n_embd": 32, "n_head": 4, "n_inner": 37, "n_layer": 2, "n_positions": 192, "pad_vocab_size_multiple": 64,
    "parallel_block": False, "parallel_block_tied_norm": False, "prenorm": False, "qkv_proj_bias": False,
    "reorder_and_upcast_attn": False, "resid_pdrop": 0.0, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False, "rotary_emb_scale_base": None, "rotary_scaling_factor": None,
    "scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True, "summary_activation": None,
    "summary_first_dropout": 0.0, "summary_proj_to_labels": True, "summary_type": "cls_index",
    "summary_use_proj": True, "torch_dtype": "float32", "transformers_version": "4.37.2", "type_vocab_size": 2,
    "use_cache": True, "use_flash_attn": True, "use_rms_norm": False, "use_xentropy": True,
}  # fmt: skip


def in_own_words(folder: Path, name: str, config: Made) -> Path:
    """The same repository with the configuration of the code that it came with."""
    twin = shutil.copytree(folder, folder.parent / name)
    write_json(twin / "config.json", config)
    return twin


def nomic(folder: Path, corpus: list[str]) -> tuple[Path, Made]:
    """nomic-embed-text-v1.5 with its tensors' own names and the configuration of `transformers`; its own one."""
    tokenizer = word_pieces(corpus)
    rows = -(-tokenizer.get_vocab_size() // 64) * 64
    native = {**TINY, "model_type": "nomic_bert", "architectures": ["NomicBertModel"], "vocab_size": rows,
              "max_position_embeddings": 64,
              "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"}}  # fmt: skip
    words = {"clean_up_tokenization_spaces": True, "cls_token": "[CLS]", "do_lower_case": True, "mask_token": "[MASK]",
             "model_max_length": 192, "pad_token": "[PAD]", "sep_token": "[SEP]", "strip_accents": None,
             "tokenize_chinese_chars": True, "tokenizer_class": "BertTokenizer", "unk_token": "[UNK]"}  # fmt: skip
    write(folder, native, named(weights(native), nomic_names), tokenizer, words, mode="mean_tokens", width=32,
          normalize=False, sentence={"max_seq_length": 192, "do_lower_case": False},
          settings={"__version__": {"sentence_transformers": "2.4.0.dev0"}})  # fmt: skip
    return folder, {**NOMIC, "vocab_size": rows - 20}


def test_nomic_embed(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    """The files state more tokens than max_position_embeddings: rotary positions go on."""
    native, config = nomic(tmp_path / "native", corpus)
    found = alike(native, texts)
    assert found.max_seq_length == 192
    long = "a long text of words " * 12
    assert 100 < found.tokenize([long])["input_ids"].shape[1] < 192
    near(found.encode([long]), peer(native).encode([long]))
    own = ours(in_own_words(native, "nomic-embed-text-v1.5", config))
    assert own.max_seq_length == 192
    near(own.encode(texts), found.encode(texts))
    with pytest.warns(PromptWarning, match="'search_document: ' for every document"):
        near(own.encode_document(texts[:3]), found.encode([f"search_document: {text}" for text in texts[:3]]))


def test_what_changes_with_the_batch_is_cut_and_said(tmp_path: Path, corpus: list[str]) -> None:
    native, config = nomic(tmp_path / "native", corpus)
    folder = in_own_words(native, "own", {**config, "rotary_scaling_factor": 2})
    with pytest.warns(ModelWarning, match="maximum length of 192 tokens, but its network has 64 positions"):
        assert ours(folder).max_seq_length == 64


def gte(folder: Path, corpus: list[str], english: bool) -> tuple[Path, Made]:
    """gte-base-en-v1.5 or gte-multilingual-base with the configuration of `transformers`; its own one."""
    tokenizer = word_pieces(corpus) if english else unigram(corpus)
    factor, theta = (2.0, 500000) if english else (8.0, 20000)
    common = {**TINY, "attention_probs_dropout_prob": 0.0, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
              "initializer_range": 0.02, "layer_norm_eps": 1e-12, "max_position_embeddings": 192,
              "pad_token_id": 0 if english else 1, "type_vocab_size": 0 if english else 1,
              "vocab_size": tokenizer.get_vocab_size()}  # fmt: skip
    rope = {"rope_type": "linear", "rope_theta": theta * factor, "factor": factor ** (2 / 8)}
    native = {**common, "model_type": "gte", "architectures": ["GteModel"], "rope_parameters": rope}
    own = {**common, "model_type": "new", "architectures": ["NewModel"], "layer_norm_type": "layer_norm",
           "logn_attention_clip1": False, "logn_attention_scale": False, "pack_qkv": True,
           "position_embedding_type": "rope", "rope_scaling": {"factor": factor, "type": "ntk"}, "rope_theta": theta,
           "unpad_inputs": False, "use_memory_efficient_attention": False,
           "auto_map": {"AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig"}}  # fmt: skip
    tensors = named(weights(native), gte_names)
    if english:
        words = {"do_lower_case": True, "model_max_length": 32768, "tokenizer_class": "BertTokenizer",
                 "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}  # fmt: skip
    else:  # the checkpoint has a head for tokens' weights, too
        import torch

        tensors = {f"new.{name}": tensor for name, tensor in tensors.items()}
        tensors |= {"classifier.weight": torch.ones(1, 32), "classifier.bias": torch.zeros(1)}
        words = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "sep_token": "</s>",
                 "unk_token": "<unk>", "model_max_length": 32768,
                 "tokenizer_class": "PreTrainedTokenizerFast"}  # fmt: skip
    write(folder, native, tensors, tokenizer, words, mode="cls_token", width=32, normalize=not english,
          sentence={"max_seq_length": 192, "do_lower_case": False})  # fmt: skip
    return folder, own


@pytest.mark.parametrize("english", [True, False], ids=["gte-base-en-v1.5", "gte-multilingual-base"])
def test_gte(tmp_path: Path, texts: list[str], corpus: list[str], english: bool) -> None:
    native, config = gte(tmp_path / "native", corpus, english)
    near(ours(in_own_words(native, "own", config)).encode(texts), alike(native, texts).encode(texts))


def test_gte_multilingual_reranker(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    """gte-multilingual-reranker-base, in the spelling of the code that it came with and in that of `transformers`."""
    from safetensors.torch import save_file
    from sentence_transformers import CrossEncoder as Peer

    native, own = gte(tmp_path / "native", corpus, english=False)
    for name in ("modules.json", "sentence_bert_config.json"):
        (native / name).unlink()
    described = json.loads((native / "config.json").read_text()) | {"id2label": {"0": "LABEL_0"}}
    config = described | {"architectures": ["GteForSequenceClassification"]}
    write_json(native / "config.json", config)
    words = json.loads((native / "tokenizer_config.json").read_text())
    write_json(native / "tokenizer_config.json", {**words, "model_input_names": ["input_ids", "attention_mask"]})
    made = weights(config, kind="AutoModelForSequenceClassification")
    save_file(made, native / "model.safetensors", metadata={"format": "pt"})
    folder = in_own_words(native, "own", {**own, "architectures": ["NewForSequenceClassification"],
                                          "id2label": {"0": "LABEL_0"}})  # fmt: skip
    body = {name.removeprefix("gte."): tensor for name, tensor in made.items() if name.startswith("gte.")}
    pooler = {name: body.pop(name) for name in list(body) if name.startswith("pooler.")}
    tensors = {f"new.{name}": tensor for name, tensor in {**named(body, gte_names), **pooler}.items()}
    tensors |= {name: tensor for name, tensor in made.items() if name.startswith("classifier.")}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer = Tokenizer.from_file(str(native / "tokenizer.json"))
    tokenizer.post_processor = framed(tokenizer, "<s>", "</s>", types=False)
    for place in (native, folder):
        tokenizer.save(str(place / "tokenizer.json"))
    pairs = list(zip(texts, reversed(texts), strict=True))
    wanted = Peer(str(native), device="cpu", model_kwargs={"dtype": "float32"}).predict(pairs, batch_size=9)
    for place in (native, folder):
        found = CrossEncoder(place, dtype="float32")
        near(found.predict(pairs, truncation="ignore"), wanted)
        found.save(tmp_path / f"{place.name}-saved")
        near(
            CrossEncoder(tmp_path / f"{place.name}-saved", dtype="float32").predict(pairs, truncation="ignore"), wanted
        )


def qwen_words(tokenizer: Tokenizer, **more: Any) -> dict[str, Any]:
    return {"add_bos_token": False, "add_prefix_space": False, "bos_token": None, "clean_up_tokenization_spaces": False,
            "eos_token": "<|endoftext|>", "errors": "replace", "model_max_length": 131072,
            "pad_token": "<|endoftext|>", "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None, **more}  # fmt: skip


@pytest.mark.parametrize(("prefix", "dtype"), [("", "float32"), ("model.", "bfloat16")])
def test_qwen3_embedding(tmp_path: Path, texts: list[str], corpus: list[str], prefix: str, dtype: str) -> None:
    tokenizer = byte_bpe(corpus, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], QWEN_WORDS)
    tokenizer.post_processor = with_bytes(framed(tokenizer, "", "<|endoftext|>", types=False))
    config = {
        **TINY, "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 500, "eos_token_id": 500, "head_dim": 16, "hidden_act": "silu", "initializer_range": 0.02,
        "max_position_embeddings": 192, "max_window_layers": 28, "model_type": "qwen3", "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.51.3", "use_cache": True,
        "use_sliding_window": False, "vocab_size": tokenizer.get_vocab_size() + 9,
    }  # fmt: skip
    query = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
    folder = write(tmp_path / "Qwen3-Embedding-0.6B", config, weights(config, prefix, dtype), tokenizer,
                   qwen_words(tokenizer), mode="lasttoken", width=32,
                   settings={"prompts": {"query": query, "document": ""}, "default_prompt_name": None,
                             "similarity_fn_name": "cosine"})  # fmt: skip
    found = alike(folder, texts)
    assert found.tokenize(["a"])["input_ids"][0][-1] == tokenizer.token_to_id("<|endoftext|>")
    near(found.encode_query(texts[:9]), peer(folder).encode_query(texts[:9]))
    near(found.encode_document(texts[:9]), peer(folder).encode_document(texts[:9]))


def test_e5_mistral(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    tokenizer = pieces_bpe(corpus, ["<unk>", "<s>", "</s>"], "<unk>", gemma=False)
    tokenizer.post_processor = framed(tokenizer, "<s>", "</s>", types=False)
    config = {
        **TINY, "_name_or_path": "mistralai/Mistral-7B-v0.1", "architectures": ["MistralModel"], "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "initializer_range": 0.02, "max_position_embeddings": 256,
        "model_type": "mistral", "num_key_value_heads": 1, "pad_token_id": 2, "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0, "sliding_window": 24, "tie_word_embeddings": False, "torch_dtype": "float16",
        "transformers_version": "4.34.0", "use_cache": False, "vocab_size": tokenizer.get_vocab_size(),
    }  # fmt: skip
    words = {"add_bos_token": True, "add_eos_token": True, "bos_token": "<s>", "clean_up_tokenization_spaces": False,
             "eos_token": "</s>", "legacy": True, "model_max_length": 1000000000000000019884624838656,
             "pad_token": "</s>", "sp_model_kwargs": {}, "spaces_between_special_tokens": False,
             "tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>", "use_default_system_prompt": True}  # fmt: skip
    stated = {"web_search_query": WEB_SEARCH, "sts_query": "Instruct: Retrieve semantically similar text.\nQuery: "}
    folder = write(tmp_path / "e5-mistral-7b-instruct", config, weights(config, dtype="float16"), tokenizer, words,
                   mode="lasttoken", width=32, shards=2, sentence={"max_seq_length": 192, "do_lower_case": False},
                   settings={"prompts": stated, "default_prompt_name": None})  # fmt: skip
    found, wanted = alike(folder, texts), peer(folder)
    with pytest.warns(PromptWarning, match="trained with the prompt 'Instruct: Given a web search query, retrieve"):
        near(found.encode_query(texts[:9]), wanted.encode(texts[:9], prompt_name="web_search_query"))
    near(found.encode_document(texts[:9]), wanted.encode(texts[:9]))
    near(found.encode(texts[:9], prompt_name="sts_query"), wanted.encode(texts[:9], prompt_name="sts_query"))


def test_gte_qwen2(tmp_path: Path, texts: list[str], corpus: list[str]) -> None:
    """Its own class of tokenizer puts the mark at the end, which tokenizer.json does not: the peer, which runs no code
    of the model's, sees it in a tokenizer.json that does."""
    tokenizer = byte_bpe(corpus, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], QWEN_WORDS)
    config = {
        **TINY, "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0,
        "auto_map": {"AutoModel": "modeling_qwen.Qwen2Model",
                     "AutoModelForCausalLM": "modeling_qwen.Qwen2ForCausalLM"},
        "bos_token_id": 500, "eos_token_id": 500, "hidden_act": "silu", "initializer_range": 0.02,
        "is_causal": False, "max_position_embeddings": 131072, "max_window_layers": 28, "model_type": "qwen2",
        "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 131072,
        "tie_word_embeddings": False, "torch_dtype": "float32", "transformers_version": "4.41.2", "use_cache": True,
        "use_sliding_window": False, "vocab_size": tokenizer.get_vocab_size() + 5,
    }  # fmt: skip
    words = qwen_words(tokenizer, add_eos_token=True, model_max_length=192, auto_map={"AutoTokenizer": [
        "tokenization_qwen.Qwen2Tokenizer", "tokenization_qwen.Qwen2TokenizerFast"]})  # fmt: skip
    made = weights({key: value for key, value in config.items() if key != "auto_map"}, "model.")
    folder = write(tmp_path / "gte-Qwen2-7B-instruct", config, {**made, "lm_head.weight": made[
                   "model.embed_tokens.weight"].clone()}, tokenizer, words, mode="lasttoken", width=32,
                   sentence={"max_seq_length": 192, "do_lower_case": False},
                   settings={"prompts": {"query": WEB_SEARCH}, "default_prompt_name": None})  # fmt: skip
    marked = shutil.copytree(folder, tmp_path / "marked")
    tokenizer.post_processor = with_bytes(framed(tokenizer, "", "<|endoftext|>", types=False))
    tokenizer.save(str(marked / "tokenizer.json"))
    found, wanted = ours(folder), peer(marked)
    same_ids(found, wanted, texts)
    for side in ("left", "right"):
        wanted.tokenizer.padding_side = side
        near(found.encode(texts), wanted.encode(texts, batch_size=11))
    near(found.encode_query(texts[:9]), wanted.encode_query(texts[:9]))
    found.save(str(tmp_path / "saved"))
    same_ids(ours(tmp_path / "saved"), peer(tmp_path / "saved"), texts[:20])
    near(ours(tmp_path / "saved").encode(texts), found.encode(texts))


@pytest.mark.parametrize("both_ways", [True, False])
def test_embedding_gemma(tmp_path: Path, texts: list[str], corpus: list[str], both_ways: bool) -> None:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokenizer = pieces_bpe(corpus, special, "<unk>", gemma=True)
    tokenizer.post_processor = framed(tokenizer, "<bos>", "<eos>", types=False)
    config = {
        **TINY, "_sliding_window_pattern": 6, "architectures": ["Gemma3TextModel"], "attention_bias": False,
        "attention_dropout": 0.0, "attn_logit_softcapping": None, "bos_token_id": 2, "dtype": "float32",
        "eos_token_id": 1, "final_logit_softcapping": None, "head_dim": 16,
        "hidden_activation": "gelu_pytorch_tanh", "initializer_range": 0.02,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"], "max_position_embeddings": 192,
        "model_type": "gemma3_text", "num_hidden_layers": 3, "num_key_value_heads": 1, "pad_token_id": 0,
        "query_pre_attn_scalar": 16, "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000.0, "rope_scaling": None,
        "rope_theta": 1000000.0, "sliding_window": 24, "transformers_version": "4.57.0.dev0",
        "use_bidirectional_attention": both_ways, "use_cache": True, "vocab_size": tokenizer.get_vocab_size(),
    }  # fmt: skip
    words = {"add_bos_token": True, "add_eos_token": True, "bos_token": "<bos>", "clean_up_tokenization_spaces": False,
             "eos_token": "<eos>", "mask_token": "<mask>", "model_max_length": 192, "pad_token": "<pad>",
             "padding_side": "right", "sp_model_kwargs": None, "spaces_between_special_tokens": False,
             "tokenizer_class": "GemmaTokenizer", "unk_token": "<unk>", "use_default_system_prompt": False}  # fmt: skip
    prompts = {"query": "task: search result | query: ", "document": "title: none | text: ",
               "Clustering": "task: clustering | query: ", "STS": "task: sentence similarity | query: "}  # fmt: skip
    folder = write(tmp_path / "embeddinggemma-300m", config, weights(config), tokenizer, words, mode="mean_tokens",
                   width=32, dense=[(32, 53), (53, 32)], sentence={"max_seq_length": 192, "do_lower_case": False},
                   settings={"model_type": "SentenceTransformer", "prompts": prompts, "default_prompt_name": None,
                             "similarity_fn_name": "cosine"})  # fmt: skip
    found, wanted = alike(folder, texts), peer(folder)
    near(found.encode_query(texts[:9]), wanted.encode_query(texts[:9]))
    near(found.encode_document(texts[:9]), wanted.encode_document(texts[:9]))
    near(found.encode(texts[:9], prompt_name="STS"), wanted.encode(texts[:9], prompt_name="STS"))


@pytest.mark.parametrize("kind", ["eurobert", "llama"])
def test_llama_3_and_eurobert(tmp_path: Path, texts: list[str], corpus: list[str], kind: str) -> None:
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|mask|>"]
    tokenizer = byte_bpe(corpus, special, QWEN_WORDS, nfc=False)
    end = "<|end_of_text|>" if kind == "eurobert" else ""
    tokenizer.post_processor = with_bytes(framed(tokenizer, "<|begin_of_text|>", end, types=False))
    scaling = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 64,
               "rope_type": "llama3"}  # fmt: skip
    more = {"eurobert": {"architectures": ["EuroBertModel"], "mask_token_id": 502, "rope_theta": 250000},
            "llama": {"architectures": ["LlamaForCausalLM"], "rope_scaling": scaling,
                      "rope_theta": 500000.0}}  # fmt: skip
    config = {**TINY, "attention_bias": False, "bos_token_id": 500, "eos_token_id": 501, "pad_token_id": 501,
              "hidden_act": "silu", "max_position_embeddings": 192, "mlp_bias": False, "model_type": kind,
              "num_key_value_heads": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "tie_word_embeddings": False,
              "vocab_size": tokenizer.get_vocab_size(), **more[kind]}  # fmt: skip
    words = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "pad_token": "<|end_of_text|>",
             "model_max_length": 131072, "tokenizer_class": "PreTrainedTokenizerFast",
             "model_input_names": ["input_ids", "attention_mask"]}  # fmt: skip
    mode = "mean_tokens" if kind == "eurobert" else "lasttoken"
    folder = write(
        tmp_path / kind, config, weights(config, "model.", "bfloat16"), tokenizer, words, mode=mode, width=32
    )
    alike(folder, texts)
    for name in ("modules.json", "1_Pooling"):  # as a folder of `transformers` alone
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.warns(ModelWarning, match=f"{'mean' if kind == 'eurobert' else 'lasttoken'} pooling is taken"):
        found = ours(folder)
    near(found.encode(texts[:9]), peer(folder).encode(texts[:9]))


def test_a_text_without_tokens_has_a_zero_vector(tmp_path: Path, corpus: list[str]) -> None:
    """A tokenizer that frames nothing makes nothing of "", and there is no last token."""
    tokenizer = byte_bpe(corpus, ["<|endoftext|>"], QWEN_WORDS)
    config = {**TINY, "model_type": "qwen2", "num_key_value_heads": 2, "max_position_embeddings": 64,
              "vocab_size": tokenizer.get_vocab_size()}  # fmt: skip
    folder = write(tmp_path / "model", config, weights(config), tokenizer, qwen_words(tokenizer), mode="lasttoken",
                   width=32)  # fmt: skip
    texts = ["", "a text", "other", ""]
    for backend in ("openvino", "numpy"):
        with pytest.warns(ZeroVectorWarning, match="row 0 is all zero"):
            found = ours(folder, backend).encode(texts)
        near(found, peer(folder).encode(texts))
        assert not found[[0, 3]].any()


def test_pairs(tmp_path: Path, corpus: list[str]) -> None:
    """A network without segments reads pairs whose template marks them."""
    folder = modernbert(tmp_path / "model", corpus, "mean_tokens", True)
    described = json.loads((folder / "tokenizer.json").read_text())
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.post_processor = framed(tokenizer, "[CLS]", "[SEP]", types=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    pairs = [("one text", "another"), ("two", "three four")]
    near(ours(folder).encode(pairs), peer(folder).encode(pairs))
