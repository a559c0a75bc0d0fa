"""Language models that score a pair by a token's logit, beside sentence-transformers: layouts, chats, what is cut."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.parity.compare import TINY, near, same_ranking, weights
from tests.parity.layouts import QWEN_WORDS, byte_bpe, framed, pieces_bpe, write_json
from vicinal import CrossEncoder, SentenceTransformer
from vicinal.backends.openvino import has_bfloat16
from vicinal.cross_encoder.activations import identity
from vicinal.errors import (
    DamagedModel,
    InvalidInput,
    MissingExtra,
    ModelWarning,
    TruncationWarning,
    Unavailable,
    UnsupportedModel,
)
from vicinal.networks import heads
from vicinal.text import chat

pytest.importorskip("sentence_transformers")
pytest.importorskip("jinja2")

JUDGE = """\
{%- set instruct = messages | selectattr("role", "eq", "system") | map(attribute="content") | first \
| default("Given a web search query, retrieve relevant passages that answer the query", true) -%}
{%- set query = messages | selectattr("role", "eq", "query") | map(attribute="content") | first -%}
{%- set document = messages | selectattr("role", "eq", "document") | map(attribute="content") | first -%}
<|im_start|>system
Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer \
can only be "yes" or "no".<|im_end|>
<|im_start|>user
<Instruct>: {{ instruct }}
<Query>: {{ query }}
<Document>: {{ document }}<|im_end|>
<|im_start|>assistant
<think>

</think>

"""
"""As Qwen3-Reranker's folder has it."""
PARTS = """\
{%- for message in messages %}{{ "<|im_start|>" + message.role + "\\n" }}\
{%- for part in message.content %}{% if part.type == "text" %}{{ part.text }}{% endif %}{% endfor %}{{ eos_token }}
{% endfor %}{% if add_generation_prompt %}{{ "<|im_start|>assistant\\n" }}{% endif %}"""
"""One that takes contents as lists of parts, and is told to ask for an answer."""
STANDARD = """\
{%- for message in messages %}{% if message.role in ("user", "system", "assistant") %}\
{{ "<|im_start|>" + message.role + "\\n" + message.content + "<|im_end|>\\n" }}{% endif %}{% endfor %}"""
"""A plain chat's, which shows neither a query nor a document."""
LOGITS = {"method": "forward", "method_output_name": "logits"}
LIMIT = 400
Pairs = list[tuple[str, str]]


@pytest.fixture(scope="module")
def tokenizer(reference_rows: list[dict[str, Any]]) -> Tokenizer:
    """Qwen's kind, in which "yes" and "no" are tokens."""
    corpus = [row["text"] for row in reference_rows if row["kind"] in ("writing", "books", "accents")]
    return byte_bpe([*corpus, *["yes", "no"] * 300], ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], QWEN_WORDS)


@pytest.fixture(scope="module")
def texts(reference_rows: list[dict[str, Any]]) -> Pairs:
    kinds = ("writing", "accents", "control", "special", "blank")
    found = [row["text"] for row in reference_rows if row["kind"] in kinds and len(row["text"]) < 60][::3]
    return [*zip(found, reversed(found), strict=True), ("which one", "the long one " * 150), ("long " * 220, "end")]


WORDS = {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "model_max_length": LIMIT,
         "tokenizer_class": "Qwen2Tokenizer", "unk_token": None}  # fmt: skip
QWEN3 = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "num_key_value_heads": 2, "head_dim": 16,
         "tie_word_embeddings": True}  # fmt: skip


def write(folder: Path, tokenizer: Tokenizer, config: Mapping[str, Any], words: Mapping[str, Any]) -> Path:
    """A causal language model as `transformers` saves it."""
    from safetensors.torch import save_file

    described = {**TINY, "max_position_embeddings": 512, "vocab_size": tokenizer.get_vocab_size() + 3, **config}
    write_json(folder / "config.json", described)
    write_json(folder / "tokenizer_config.json", words)
    tokenizer.save(str(folder / "tokenizer.json"))
    made = weights(described, kind="AutoModelForCausalLM")
    if described["tie_word_embeddings"]:
        del made["lm_head.weight"]
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def listed(
    folder: Path,
    true: int,
    false: int | None,
    *,
    template: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **sentence: Any,
) -> Path:
    """The folder with sentence-transformers' files: a Transformer and a LogitScore."""
    write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {"idx": 1, "name": "1", "path": "1_LogitScore",
         "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"},
    ])  # fmt: skip
    write_json(folder / "1_LogitScore/config.json", {"true_token_id": true, "false_token_id": false})
    modalities = {"text": LOGITS, **({"message": {**LOGITS, "format": "flat"}} if template else {})}
    write_json(folder / "sentence_bert_config.json", {
        "transformer_task": "text-generation", "modality_config": modalities, "module_output_name": "causal_logits",
        **sentence})  # fmt: skip
    write_json(folder / "config_sentence_transformers.json", {"model_type": "CrossEncoder", **(settings or {})})
    if template:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def peer(folder: Path, **options: Any) -> Any:
    from sentence_transformers import CrossEncoder as Peer

    return Peer(str(folder), device="cpu", model_kwargs={"dtype": "float32", "attn_implementation": "eager"}, **options)


def ours(folder: Path, backend: str = "openvino", **options: Any) -> CrossEncoder:
    return CrossEncoder(folder, backend=backend, dtype="float32", **options)


def alike(folder: Path, pairs: Pairs, **options: Any) -> tuple[CrossEncoder, Any]:
    """Ids and scores, raw and not, with pairs that are cut."""
    import torch

    theirs = peer(folder, **options)
    wanted = theirs.predict(pairs, batch_size=7, activation_fn=torch.nn.Identity())
    for backend in ("torch", "numpy", "openvino", "onnx"):
        found = ours(folder, backend, **options)
        near(found.predict(pairs, activation_fn=identity, truncation="ignore"), wanted)
    features = theirs.preprocess(pairs, prompt=theirs.prompts.get(theirs.default_prompt_name or ""))
    ids = [
        row[mask.bool()].tolist() for row, mask in zip(features["input_ids"], features["attention_mask"], strict=True)
    ]
    rows = found.tokenize(pairs, prompt=found.prompts.get(found.default_prompt_name or ""))
    mine = [row[mask == 1].tolist() for row, mask in zip(rows["input_ids"], rows["attention_mask"], strict=True)]
    assert mine == ids
    assert max(map(len, mine)) == found.max_seq_length == theirs.max_seq_length
    near(found.predict(pairs, truncation="ignore"), theirs.predict(pairs))
    assert found.num_labels == 1
    return found, theirs


def reranker(folder: Path, tokenizer: Tokenizer, **config: Any) -> Path:
    """Qwen3-Reranker, small."""
    instruct = "Given a web search query, retrieve relevant passages that answer the query"
    settings = {"prompts": {"query": instruct, "law": "Find what the law says"}, "default_prompt_name": "query",
                "activation_fn": "torch.nn.modules.linear.Identity"}  # fmt: skip
    write(folder, tokenizer, {**QWEN3, **config}, WORDS)
    yes, no = (tokenizer.token_to_id(word) for word in ("yes", "no"))
    return listed(folder, yes, no, template=JUDGE, settings=settings)


def test_qwen3_reranker(tmp_path: Path, tokenizer: Tokenizer, texts: Pairs) -> None:
    """A chat around each pair, the instruction from the prompts, and the end of the chat on pairs that are cut."""
    found, theirs = alike(reranker(tmp_path / "m", tokenizer), texts)
    for prompt in ({"prompt_name": "law"}, {"prompt": "Rank by length"}, {"prompt": ""}):
        near(found.predict(texts[:9], **prompt), theirs.predict(texts[:9], **prompt))
    documents = [document for _, document in texts[:30]]
    same_ranking(found.rank("the law", documents, top_k=5), theirs.rank("the law", documents), 5)
    with pytest.warns(TruncationWarning, match="cut"):
        found.predict(texts)
    assert "LogitScore(true_token=" in repr(found)


def test_a_folder_of_transformers_alone(tmp_path: Path, tokenizer: Tokenizer, texts: Pairs) -> None:
    """The tokens "yes" and "no" score; a chat template of the tokenizer's own shows the pair."""
    words = {**WORDS, "chat_template": JUDGE}
    alike(write(tmp_path / "m", tokenizer, {**QWEN3, "tie_word_embeddings": False}, words), texts)
    plain = write(tmp_path / "plain", tokenizer, QWEN3, WORDS)
    alike(plain, [*texts, ("end " * 90, "long " * 350)])
    alike(plain, texts, prompts={"q": "a prompt: "}, default_prompt_name="q")
    near(ours(plain, processor_kwargs={"chat_template": JUDGE}).predict(texts[:9]),
         peer(plain, processor_kwargs={"chat_template": JUDGE}).predict(texts[:9]))  # fmt: skip


def test_contents_as_parts(tmp_path: Path, tokenizer: Tokenizer, texts: Pairs) -> None:
    """A template that asks for parts, with options of the folder's."""
    folder = write(tmp_path / "m", tokenizer, QWEN3, WORDS)
    listed(folder, 7, 300, template=PARTS, processing_kwargs={"chat_template": {"add_generation_prompt": True}},
           modality_config={"text": LOGITS, "message": {**LOGITS, "format": "structured"}})  # fmt: skip
    alike(folder, texts, prompts={"q": "Judge"}, default_prompt_name="q")
    write_json(folder / "tokenizer_config.json", {**WORDS, "chat_template": [{"name": "default", "template": PARTS}]})
    (folder / "modules.json").unlink()
    (folder / "chat_template.jinja").unlink()
    (folder / "sentence_bert_config.json").unlink()
    alike(folder, texts)


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_key_value_heads": 1,
              "tie_word_embeddings": False},
    "mistral": {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "num_key_value_heads": 2,
                "sliding_window": 33, "tie_word_embeddings": True},
    "qwen2": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "num_key_value_heads": 2,
              "tie_word_embeddings": True},
    "gemma3_text": {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "num_key_value_heads": 1,
                    "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 24, "tie_word_embeddings": True},
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_families(
    tmp_path: Path,
    tokenizer: Tokenizer,
    texts: Pairs,
    family: str,
    reference_rows: list[dict[str, Any]],
) -> None:
    """Without a chat: pairs as the tokenizer joins them; one token alone scores."""
    words: dict[str, Any] = WORDS
    if family == "gemma3_text":
        corpus = [row["text"] for row in reference_rows if row["kind"] in ("writing", "books")]
        tokenizer = pieces_bpe(corpus, ["<pad>", "<eos>", "<bos>", "<unk>"], "<unk>", gemma=True)
        tokenizer.post_processor = framed(tokenizer, "<bos>", "", types=False)
        words = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>",
                 "model_max_length": LIMIT, "tokenizer_class": "PreTrainedTokenizerFast"}  # fmt: skip
    folder = write(tmp_path / family, tokenizer, FAMILIES[family], words)
    alike(listed(folder, 41, None), texts)


def test_saved_folders_travel_both_ways(tmp_path: Path, tokenizer: Tokenizer, texts: Pairs) -> None:
    for name, config in (("tied", {}), ("apart", {"tie_word_embeddings": False})):
        found = ours(reranker(tmp_path / name, tokenizer, **config))
        found.save(tmp_path / f"{name}-ours")
        wanted = found.predict(texts, truncation="ignore")
        near(peer(tmp_path / f"{name}-ours").predict(texts), wanted)
        again = ours(tmp_path / f"{name}-ours")
        np.testing.assert_array_equal(again.predict(texts, truncation="ignore"), wanted)
        assert again.fingerprint == found.fingerprint
        peer(tmp_path / name).save_pretrained(str(tmp_path / f"{name}-theirs"))
        near(ours(tmp_path / f"{name}-theirs").predict(texts, truncation="ignore"), wanted)


@pytest.mark.parametrize("tied", [True, False])
def test_it_can_be_trained(tmp_path: Path, tokenizer: Tokenizer, texts: Pairs, tied: bool) -> None:
    """Logits and gradients are those of the whole network; what was learned is in the fast form and in the folder."""
    import torch

    from vicinal.cross_encoder.losses import BinaryCrossEntropyLoss

    folder = reranker(tmp_path / "m", tokenizer, tie_word_embeddings=tied)
    model, theirs = ours(folder), peer(folder)
    before = model.predict(texts, truncation="ignore")
    module = model.trainable()
    prompt = model.prompts["law"]
    features = module.preprocess(texts, prompt=prompt)
    assert module.num_labels == 1
    wanted = theirs(theirs.preprocess(texts, prompt=prompt))["scores"]
    scores = module(features)["scores"]
    near(scores.detach().numpy(), wanted.detach().numpy())
    for found in (scores, wanted):
        found.sum().backward()
    network = theirs[0].auto_model
    for name, parameter in module[0].auto_model.named_parameters():
        near(parameter.grad.numpy(), network.get_parameter(name).grad.numpy())

    loss = BinaryCrossEntropyLoss(model)
    columns = [list(column) for column in zip(*texts[:6], strict=True)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    optimizer.zero_grad()
    loss(columns, torch.ones(6)).backward()
    optimizer.step()
    trained = model.predict(texts, truncation="ignore")
    assert model.backend == "torch"
    assert np.abs(trained - before).max() > 1e-3
    model.refresh()
    assert model.backend == "openvino"
    near(model.predict(texts, truncation="ignore"), trained)
    model.save(tmp_path / "saved")
    near(ours(tmp_path / "saved").predict(texts, truncation="ignore"), trained)
    near(peer(tmp_path / "saved").predict(texts), trained)


def test_another_template_is_another_model(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = reranker(tmp_path / "m", tokenizer)
    before = ours(folder).fingerprint
    (folder / "chat_template.jinja").write_text(JUDGE.replace("Judge whether", "Say whether"))
    assert ours(folder).fingerprint != before


Fault = Callable[[Any], Any]
FAULTS: list[tuple[str, Any, str, Fault]] = [
    ("no end of the chat on a pair that is cut", "vicinal.cross_encoder.cross_encoder", "chat_tail",
     lambda right: lambda *given: ()),
    ("the other token", heads, "logit_score",
     lambda right: lambda ops, *given: right(ops, *given) * ops.constant(np.float32(-1))),
    ("the first token's state", heads, "logit_score",
     lambda right: lambda ops, w, module, h, x: right(ops, w, module, h, {"last": x["first"]})),
    ("no prompt", chat, "_render", lambda right: lambda chat, pair, prompt: right(chat, pair, "")),
    ("document before query", chat, "_render", lambda right: lambda c, pair, prompt: right(c, pair[::-1], prompt)),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "module", "part", "wrong"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_planted_fault_is_seen(
    tmp_path: Path, tokenizer: Tokenizer, texts: Pairs, fault: str, module: Any, part: str, wrong: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = reranker(tmp_path / "m", tokenizer)
    options: dict[str, Any] = {"truncation": "ignore", "prompt_name": "law"}
    right = ours(folder, "numpy").predict(texts, **options)
    if isinstance(module, str):
        monkeypatch.setattr(f"{module}.{part}", wrong(None))
    else:
        monkeypatch.setattr(module, part, wrong(getattr(module, part)))
    found = ours(folder, "numpy").predict(texts, **options)
    assert np.abs(found - right).max() > 1e-2 * np.abs(right).max(), fault


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_lower_precision(tmp_path: Path, tokenizer: Tokenizer, texts: Pairs, dtype: str) -> None:
    if dtype == "bfloat16" and not has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    folder = reranker(tmp_path / "m", tokenizer)
    wanted = ours(folder).predict(texts, truncation="ignore")
    found = CrossEncoder(folder, dtype=dtype).predict(texts, truncation="ignore")
    assert np.corrcoef(found, wanted)[0, 1] > 0.9
    assert not np.array_equal(found, wanted)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_what_cannot_score_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = reranker(tmp_path / "m", tokenizer)
    found = ours(folder)
    with pytest.raises(InvalidInput, match="row 0 is a single text; this model's chat template takes a query and"):
        found.predict("one text")
    with pytest.raises(ValueError, match="truncation_strategy='document_first': this model's pairs stand in a chat"):
        found.predict([("a", "b")], truncation_strategy="document_first")


def changed(tmp_path: Path, tokenizer: Tokenizer, file: str, **values: Any) -> Path:
    """A reranker's folder with other values in one of its files."""
    import json

    folder = reranker(tmp_path / "changed", tokenizer)
    write_json(folder / file, {**json.loads((folder / file).read_text()), **values})
    return folder


@pytest.mark.parametrize(
    ("file", "values", "error", "text"),
    [
        ("1_LogitScore/config.json", {"true_token_id": "yes"}, DamagedModel, "must be numbers of tokens, not 'yes'"),
        ("1_LogitScore/config.json", {"true_token_id": 9999}, DamagedModel, "token 9999 of its score is none of"),
        ("1_LogitScore/config.json", {"module_input_name": "x"}, UnsupportedModel, "module_input_name 'x'"),
        ("sentence_bert_config.json", {"transformer_task": "any-to-any"}, UnsupportedModel, "'any-to-any' is not"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 3}}}, UnsupportedModel,
         "processing_kwargs state 'text', which is not handled"),
        ("sentence_bert_config.json", {"processing_kwargs": {"chat_template": {"restore_suffix": False}}},
         UnsupportedModel, "processing_kwargs state 'restore_suffix'"),
        ("sentence_bert_config.json", {"modality_config": 3}, DamagedModel, "modality_config of its sentence config"),
        ("sentence_bert_config.json", {"modality_config": {"message": "x"}}, DamagedModel, "message of its sentence"),
        ("config.json", {"tie_word_embeddings": False}, DamagedModel, r"tensor lm_head.weight .* is missing"),
        ("config.json", {"model_type": "eurobert"}, UnsupportedModel, "the network 'eurobert' gives no logits here"),
    ],
)  # fmt: skip
def test_files_that_are_refused(
    tmp_path: Path, tokenizer: Tokenizer, file: str, values: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        ours(changed(tmp_path, tokenizer, file, **values))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (STANDARD, r"cannot be given a pair \(it does not show the query and the document\)"),
        (JUDGE.replace("{{ document }}", "..."), r"\(it does not show the document\)"),
        ("{{ raise_exception('only users') }}", r"\(the model's chat template fails: TemplateError: only users\)"),
        ("{% if %}", "chat template is not handled"),
        ("{{ messages.__class__.__mro__ }}{{ messages.append(1) }}", "chat template fails: SecurityError"),
    ],
)
def test_templates_that_are_refused(tmp_path: Path, tokenizer: Tokenizer, template: str, text: str) -> None:
    folder = reranker(tmp_path / "m", tokenizer)
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(UnsupportedModel, match=text):
        ours(folder)


def test_a_template_that_is_given_in_vain(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = listed(write(tmp_path / "m", tokenizer, QWEN3, WORDS), 41, None)
    with pytest.raises(UnsupportedModel, match="does not read pairs in a chat: leave chat_template out"):
        ours(folder, processor_kwargs={"chat_template": JUDGE})


def test_vectors_of_chats(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """A text is not put into a chat: a folder that asks for it is refused, one that says nothing is warned of."""
    folder = write(tmp_path / "m", tokenizer, QWEN3, {**WORDS, "chat_template": STANDARD})
    with pytest.warns(ModelWarning, match="lasttoken pooling is taken, its chat template is not. If the model was"):
        model = SentenceTransformer(folder, dtype="float32")
    model.save(tmp_path / "saved")
    assert SentenceTransformer(tmp_path / "saved", dtype="float32").tokenize(["yes"])["input_ids"].shape == (1, 1)
    write_json(tmp_path / "saved/sentence_bert_config.json", {"modality_config": {"text": LOGITS, "message": LOGITS}})
    with pytest.raises(
        UnsupportedModel, match=r"reads texts in a chat .modality_config., which is handled here only for"
    ):
        SentenceTransformer(tmp_path / "saved")


def test_tied_tables_that_differ(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from safetensors.torch import load_file, save_file

    folder = reranker(tmp_path / "m", tokenizer)
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"] + 1}, folder / "model.safetensors")
    with pytest.raises(DamagedModel, match=r"embed_tokens.weight and lm_head.weight differ"):
        ours(folder)


def test_no_yes_and_no(tmp_path: Path, reference_rows: list[dict[str, Any]]) -> None:
    letters = byte_bpe([], ["<|endoftext|>", "<|im_end|>"], QWEN_WORDS)
    with pytest.raises(UnsupportedModel, match="has no tokens 'yes' and 'no' to score by"):
        ours(write(tmp_path / "m", letters, QWEN3, WORDS))


def test_jinja2_is_asked_for(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    folder = reranker(tmp_path / "m", tokenizer)
    (folder / "chat_template.jinja").write_text(JUDGE + " ")  # which no test has compiled
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"pip install 'vicinal\[chat\]'"):
        ours(folder)
    monkeypatch.undo()
    monkeypatch.setattr(chat, "version", lambda name: "3.1.5")
    with pytest.raises(Unavailable, match=r"jinja2 3.1.5 has known ways out of its sandbox"):
        ours(folder)
    plain = shutil.copytree(folder, tmp_path / "plain")
    (plain / "chat_template.jinja").unlink()
    ours(plain)


def test_a_classification_head_in_a_chat(tmp_path: Path, tokenizer: Tokenizer, texts: Pairs) -> None:
    """A template that shows pairs is used where no sentence configuration says otherwise; a plain chat's is not."""
    from safetensors.torch import save_file

    config = {**TINY, **QWEN3, "architectures": ["Qwen3ForSequenceClassification"], "id2label": {"0": "LABEL_0"},
              "max_position_embeddings": 512, "pad_token_id": 0, "vocab_size": tokenizer.get_vocab_size()}  # fmt: skip
    folder = tmp_path / "m"
    pad = tokenizer.token_to_id("<|endoftext|>")
    write_json(folder / "config.json", {**config, "pad_token_id": pad})
    write_json(folder / "tokenizer_config.json", {**WORDS, "chat_template": JUDGE})
    tokenizer.save(str(folder / "tokenizer.json"))
    made = weights({**config, "pad_token_id": pad}, kind="AutoModelForSequenceClassification")
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    found, wanted = ours(folder), peer(folder)
    near(found.predict(texts, truncation="ignore"), wanted.predict(texts))
    near(ours(folder, "torch").predict(texts, truncation="ignore"), wanted.predict(texts))
    found.save(tmp_path / "saved")
    near(peer(tmp_path / "saved").predict(texts), wanted.predict(texts))
    near(ours(tmp_path / "saved").predict(texts, truncation="ignore"), wanted.predict(texts))
    write_json(folder / "tokenizer_config.json", {**WORDS, "chat_template": STANDARD})
    plain = found = ours(folder)
    write_json(folder / "tokenizer_config.json", WORDS)
    np.testing.assert_array_equal(plain.predict(texts[:9]), ours(folder).predict(texts[:9]))
