"""Folders that are damaged or mean harm: one clear error that names what is wrong, at once, and nothing is run."""

from __future__ import annotations

import builtins
import json
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import tiny
from vicinal import SentenceTransformer
from vicinal.errors import DamagedModel, MissingExtra, UnsafeModel, UnsupportedModel, VicinalError

pytestmark = pytest.mark.usefixtures("without_torch")

Spoil = Callable[[Path], Any]


def load(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(folder, dtype="float32", threads=1)


def content(name: str, text: str | bytes) -> Spoil:
    """Put this into a file."""
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def config(name: str, **keys: Any) -> Spoil:
    """Replace keys of a JSON file, which may not be there yet."""

    def spoil(folder: Path) -> None:
        path = folder / name
        found = json.loads(path.read_text("utf-8")) if path.exists() else {}
        tiny.write_json(path, {**found, **keys})

    return spoil


def without(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def listed(*entries: tuple[str, str]) -> Spoil:
    return lambda folder: tiny.write_json(folder / "modules.json", tiny.modules(*entries))


def tensors(change: Callable[[tiny.Arrays], Any]) -> Spoil:
    """Change the weights."""

    def spoil(folder: Path) -> None:
        arrays = tiny.bert_tensors()
        save_file(change(arrays) or arrays, folder / "model.safetensors")

    return spoil


def tokenizer(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    def spoil(folder: Path) -> None:
        described = tiny.wordpiece()
        change(described)
        tiny.write_json(folder / "tokenizer.json", described)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    return lambda folder: [spoil(folder) for spoil in spoils]


def link(name: str, target: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder.parent / "outside").mkdir(exist_ok=True)
        tiny.write_json(folder.parent / "outside/config.json", tiny.POOLING)
        (folder / name).symlink_to(target)

    return spoil


def vocabulary_file(**keys: Any) -> Spoil:
    """An older folder: vocab.txt instead of tokenizer.json."""
    return both(
        without("tokenizer.json"),
        content("vocab.txt", "\n".join(tiny.VOCABULARY)),
        lambda folder: tiny.write_json(folder / "tokenizer_config.json", keys),
    )


QUERY = "encoder.layer.1.attention.self.query.weight"
FIRST = ("Transformer", "")
SENTENCE = "sentence_bert_config.json"
SETTINGS = "config_sentence_transformers.json"
ROUTER = both(listed(("Router", "")), without("sentence_bert_config.json"))

HOSTILE: dict[str, tuple[Spoil, type[VicinalError], str]] = {
    # --- files that are no JSON, or not the JSON that they should be
    "modules.json cut": (content("modules.json", '[{"idx": 0, "na'), DamagedModel, r"modules\.json is not valid JSON"),
    "modules.json deep": (content("modules.json", "[" * 100_000), DamagedModel, r"modules\.json is not valid JSON"),
    "modules.json an object": (content("modules.json", "{}"), DamagedModel, r"modules\.json must list at least one"),
    "modules.json empty": (content("modules.json", "[]"), DamagedModel, r"modules\.json must list at least one"),
    "modules.json of numbers": (content("modules.json", "[1]"), DamagedModel, r"modules\.json: every module needs"),
    "modules.json untyped": (content("modules.json", '[{"path": ""}]'), DamagedModel, r"modules\.json: every module"),
    "modules.json pathless": (content("modules.json", '[{"type": "a"}]'), DamagedModel, r"modules\.json: every module"),
    "config.json binary": (content("config.json", b"\x80\x02}q"), DamagedModel, r"config\.json is not UTF-8"),
    "config.json a list": (content("config.json", "[]"), DamagedModel, r"config\.json must hold a JSON object"),
    "config.json missing": (without("config.json"), DamagedModel, r"config\.json is missing"),
    "pooling missing": (without("1_Pooling/config.json"), DamagedModel, r"1_Pooling.config\.json"),
    "pooling a list": (content("1_Pooling/config.json", "[]"), DamagedModel, r"1_Pooling.config\.json must hold"),
    # --- modules
    "no module at all": (listed(("Dropout", "")), DamagedModel, "modules|module"),
    "no transformer": (listed(("Pooling", "1_Pooling")), DamagedModel, "reads 'token_embeddings', which no module"),
    "no pooling": (listed(FIRST), DamagedModel, "no module makes a text's vector"),
    "normalize first": (listed(FIRST, ("Normalize", "2")), DamagedModel, "reads 'sentence_embedding', which no module"),
    "pooling width": (config("1_Pooling/config.json", word_embedding_dimension=21), DamagedModel,
                      "takes 21 dimensions, but token_embeddings has 22"),
    "pooling width of text": (config("1_Pooling/config.json", word_embedding_dimension="22"), DamagedModel,
                              r"1_Pooling/config\.json: embedding_dimension must be a positive integer, not '22'"),
    "pooling unknown": (config("1_Pooling/config.json", pooling_mode="median"), UnsupportedModel,
                        r"1_Pooling/config\.json: pooling mode 'median' is none of cls, max, mean"),
    "pooling a number": (config("1_Pooling/config.json", pooling_mode=5), VicinalError, "1_Pooling.*pooling.mode"),
    "pooling none": (config("1_Pooling/config.json", pooling_mode=[]), VicinalError, "1_Pooling.*pooling.mode"),
    "LSTM": (listed(FIRST, ("LSTM", "1_LSTM")), UnsupportedModel, "has a LSTM module, which is not handled here"),
    "unknown module": (listed(FIRST, ("Foo", "1_Foo")), UnsupportedModel, "module of the unknown type 'Foo'"),
    "a cross encoder": (config(SETTINGS, model_type="CrossEncoder"), UnsupportedModel, "holds a CrossEncoder, not"),
    "another network": (config("config.json", model_type="mamba"), UnsupportedModel, "model_type 'mamba' has no net"),
    # --- routers
    "router without files": (ROUTER, DamagedModel, r"router_config\.json"),
    "router of nothing": (both(ROUTER, config("router_config.json", types={}, structure={})), DamagedModel,
                          r"router_config\.json"),
    "router of nothing at all": (both(ROUTER, config("router_config.json", types={}, structure={"query": []})),
                                 DamagedModel, r"router_config\.json|query|no module"),
    "router structure": (both(ROUTER, config("router_config.json", types={}, structure=[1])), DamagedModel,
                         r"router_config\.json"),
    "router type": (both(ROUTER, config("router_config.json", types={}, structure={"query": ["a"]})), DamagedModel,
                    r"router_config\.json"),
    "router parameters": (both(ROUTER, config("router_config.json", types={}, structure={"q": []}, parameters=[1])),
                          DamagedModel, r"router_config\.json"),
    # --- settings
    "prompts a list": (config(SETTINGS, prompts=["a"]), DamagedModel, f"{SETTINGS}: prompts must be texts by name"),
    "prompts of numbers": (config(SETTINGS, prompts={"query": 5}), DamagedModel, f"{SETTINGS}: prompts must be texts"),
    "default prompt unknown": (config(SETTINGS, default_prompt_name="x"), DamagedModel, f"{SETTINGS}.*'x'"),
    "default prompt a list": (config(SETTINGS, default_prompt_name=["x"]), DamagedModel, f"{SETTINGS}.*'x'"),
    "similarity unknown": (config(SETTINGS, similarity_fn_name="hamming"), DamagedModel, f"{SETTINGS}.*'hamming'"),
    "similarity a list": (config(SETTINGS, similarity_fn_name=[5]), DamagedModel, f"{SETTINGS}.*5"),
    "truncate_dim a text": (config(SETTINGS, truncate_dim="x"), DamagedModel, f"{SETTINGS}.*'x'"),
    "truncate_dim negative": (config(SETTINGS, truncate_dim=-3), DamagedModel, f"{SETTINGS}.*-3"),
    "length nan": (config(SENTENCE, max_seq_length=float("nan")), DamagedModel,
                   "maximum length must be a positive number of tokens, not nan"),
    "length negative": (config(SENTENCE, max_seq_length=-1), DamagedModel, "maximum length .* not -1"),
    "length a text": (config(SENTENCE, max_seq_length="9"), DamagedModel, "maximum length .* '9'"),
    "length a truth": (config(SENTENCE, max_seq_length=True), DamagedModel, "maximum length .* True"),
    "length a fraction": (config(SENTENCE, max_seq_length=9.5), DamagedModel, "maximum length .* 9.5"),
    # --- claims
    "layers": (config("config.json", num_hidden_layers=10**9), DamagedModel,
               r"encoder\.layer\.2\.attention\.self\.query\.weight \[22, 22\] is missing"),
    "tokens": (config("config.json", vocab_size=10**12), DamagedModel,
               r"word_embeddings\.weight has shape \[68, 22\].*asks for \[1000000000000, 22\]"),
    "positions": (config("config.json", max_position_embeddings=10**12), DamagedModel, "position_embeddings"),
    "heads": (config("config.json", num_attention_heads=10**12), DamagedModel, "num_attention_heads 1000000000000"),
    "width": (config("config.json", hidden_size=10**12), DamagedModel, "dimensions|shape"),
    # --- weights
    "no weights": (without("model.safetensors"), DamagedModel, r"has no model\.safetensors: the folder is incomplete"),
    "empty weights": (content("model.safetensors", b""), DamagedModel, "truncated or no safetensors"),
    "a header of everything": (content("model.safetensors", struct.pack("<Q", 2**63) + b"{}"), DamagedModel,
                               "header claims 9,223,372,036,854,775,808"),
    "a page of HTML": (content("model.safetensors", "<!DOCTYPE html><title>404</title>" * 9), DamagedModel,
                       r"model\.safetensors is truncated or no safetensors"),
    "a pointer": (content("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"),
                  DamagedModel, r"model\.safetensors"),
    "a tensor missing": (tensors(lambda t: {name: array for name, array in t.items() if name != QUERY}), DamagedModel,
                         rf"{QUERY} \[22, 22\] is missing"),
    "a tensor of another shape": (tensors(lambda t: t.update({QUERY: np.zeros((22, 11), "f4")})), DamagedModel,
                                  rf"{QUERY} has shape \[22, 11\]; the configuration asks for \[22, 22\]"),
    "a tensor transposed": (tensors(lambda t: t.update({
        "encoder.layer.0.output.dense.weight": t["encoder.layer.0.intermediate.dense.weight"]})), DamagedModel,
        r"encoder\.layer\.0\.output\.dense\.weight has shape \[31, 22\]; the configuration asks for \[22, 31\]"),
    "a tensor too many": (tensors(lambda t: t.update(adapter=np.zeros(3, "f4"))), DamagedModel,
                          r"nothing reads 1 tensors? of the checkpoint \(adapter\)"),
    "a layer too many": (tensors(lambda t: tiny.bert_tensors(layers=3)), DamagedModel, r"nothing reads 16 tensors"),
    "adapters alone": (both(without("model.safetensors"), content("adapter_model.safetensors", b"")), UnsupportedModel,
                       r"adapter_model\.safetensors: these weights are not read here"),
    "a shard missing": (both(without("model.safetensors"), config("model.safetensors.index.json", weight_map={
        "a": "model-00001-of-00002.safetensors"})), DamagedModel, r"model-00001-of-00002\.safetensors is missing"),
    "no shard": (both(without("model.safetensors"), config("model.safetensors.index.json", weight_map={})),
                 DamagedModel, "has no weight_map"),
    # --- tokenizers
    "no vocabulary": (without("tokenizer.json"), DamagedModel, "has no vocabulary that can be read"),
    "SentencePiece alone": (both(without("tokenizer.json"), content("spiece.model", b"\x0a\x09")), UnsupportedModel,
                            r"spiece\.model is a SentencePiece model without the tokenizer\.json"),
    "tokenizer cut": (content("tokenizer.json", '{"version": "1.0", "mod'), DamagedModel, r"tokenizer\.json"),
    "tokenizer of nothing": (content("tokenizer.json", "{}"), DamagedModel, r"tokenizer\.json is no tokenizer"),
    "tokenizer deep": (content("tokenizer.json", "[" * 100_000), DamagedModel, r"tokenizer\.json is no tokenizer"),
    "a character map of rubbish": (tokenizer(lambda t: t.update(normalizer={
        "type": "Precompiled", "precompiled_charsmap": "AAAA"})), DamagedModel, r"tokenizer\.json"),
    "a broken expression": (tokenizer(lambda t: t.update(normalizer={
        "type": "Replace", "pattern": {"Regex": "("}, "content": ""})), DamagedModel, r"tokenizer\.json is no tok"),
    "a token beyond the table": (tokenizer(lambda t: t["post_processor"]["special_tokens"]["[CLS]"].update(ids=[68])),
                                 DamagedModel, "68, but the network has 68 embeddings"),
    "vocab.txt without [CLS]": (both(vocabulary_file(), content("vocab.txt", "[UNK]\n[SEP]\na")), DamagedModel,
                                r"vocab\.txt has no \[CLS\]: not a BERT vocabulary"),
    "accents of text": (config("tokenizer_config.json", strip_accents="foo"), DamagedModel, r"tokenizer_config\.json"),
    "a special token that is none": (vocabulary_file(cls_token={"content": "[OTHER]"}), DamagedModel,
                                     r"vocab\.txt has no \[OTHER\]: not a BERT vocabulary"),
    # --- the way out
    "parent": (listed(FIRST, ("Pooling", "../outside")), UnsafeModel, "names the file '../outside', which is not"),
    "parent, later": (listed(FIRST, ("Pooling", "1_Pooling/../../outside")), UnsafeModel, "which is not inside"),
    "absolute": (listed(FIRST, ("Pooling", "/etc")), UnsafeModel, "'/etc.*which is not inside"),
    "backslash": (listed(FIRST, ("Pooling", "..\\outside")), UnsafeModel, "which is not inside"),
    "drive": (listed(FIRST, ("Pooling", "C:/outside")), UnsafeModel, "which is not inside"),
    "long name": (listed(FIRST, ("Pooling", "a" * 300)), VicinalError, "a{300}"),
    "half a character": (listed(FIRST, ("Pooling", "\ud800")), VicinalError, "1_Pooling|ud800|config|names"),
    "linked folder": (both(link("out", "../outside"), listed(FIRST, ("Pooling", "out"))), UnsafeModel,
                      "is a link to .*outside.*, outside the model's folder"),
    "linked file": (both(without("config.json"), link("config.json", "../outside/config.json")), UnsafeModel,
                    "is a link to .*outside.*, outside the model's folder"),
    "linked weights": (both(without("model.safetensors"), link("model.safetensors", "/etc/passwd")), UnsafeModel,
                       "is a link to /etc/passwd, outside the model's folder"),
    "shards elsewhere": (both(without("model.safetensors"), config("model.safetensors.index.json", weight_map={
        "a": "../../etc/passwd"})), UnsafeModel, "which is not inside"),
    "router elsewhere": (both(listed(("Router", "../outside"))), UnsafeModel, "which is not inside"),
    # --- code
    "code of its own": (lambda f: tiny.write_json(f / "modules.json", [{"type": "evil.Module", "path": ""}]),
                        UnsafeModel, r"asks for the module 'evil\.Module', which is code of the model's own"),
    "code of Python's": (lambda f: tiny.write_json(f / "modules.json", [{"type": "os.system", "path": "touch ran"}]),
                         UnsafeModel, r"'os\.system', which is code"),
    "code in config.json": (config("config.json", model_type="evil", auto_map={"AutoModel": "evil.Module"}),
                            UnsupportedModel, "model_type 'evil' with code of its own has no network here"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good model, next to a module that notes when it is imported."""
    made = tiny.write_bert(tmp_path / "model")
    (made / "evil.py").write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n", "utf-8")
    return made


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, error, text = HOSTILE[name]
    spoil(folder)
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(error, match=text) as caught:
        load(folder)
    assert isinstance(caught.value, VicinalError)
    assert len(str(caught.value)) < 1000
    assert not (folder / "ran").exists()
    assert "evil" not in sys.modules


def test_the_model_before_it_is_spoiled(folder: Path) -> None:
    """Without this, every folder above might be refused for another reason."""
    assert load(folder).encode("red apple").shape == (tiny.WIDTH,)


def test_code_that_is_trusted_needs_torch(folder: Path) -> None:
    HOSTILE["code of its own"][0](folder)
    with pytest.raises(UnsupportedModel, match='backend="torch" runs it'):
        SentenceTransformer(folder, trust_remote_code=True, backend="openvino")


class Trap:
    """Notes that it was unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return builtins.open, (str(self.path), "w")


def test_a_pickle_without_torch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(folder / "ran")))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        MissingExtra, match=r"pytorch_model\.bin is a pickled checkpoint.*pip install 'vicinal\[torch\]'"
    ):
        load(folder)
    assert not (folder / "ran").exists()


def test_a_pickle_with_torch(folder: Path) -> None:
    torch = pytest.importorskip("torch", reason="reading pickled checkpoints needs torch")
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    for content in ({"a": Trap(folder / "ran")}, Trap(folder / "ran")):
        torch.save(content, path)
        with pytest.raises(UnsafeModel, match=r"pytorch_model\.bin holds more than tensors.*it is refused"):
            load(folder)
    path.write_bytes(pickle.dumps(Trap(folder / "ran")))
    with pytest.raises(VicinalError, match=r"pytorch_model\.bin"):
        load(folder)
    assert not (folder / "ran").exists()
    torch.save({name: torch.from_numpy(array) for name, array in tiny.bert_tensors().items()}, path)
    found = load(folder).encode(["red apple", "tax"])
    np.testing.assert_array_equal(found, load(tiny.write_bert(folder.parent / "b")).encode(["red apple", "tax"]))


def test_a_pickle_beside_safetensors_is_not_opened(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(folder / "ran")))
    load(folder)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("backend", ["openvino", "onnx", "numpy"])
def test_a_token_that_only_a_text_brings_up(folder: Path, backend: str) -> None:
    """A row beyond the table must not be read: some runtimes give zeros for it."""
    tokenizer(lambda t: t["model"]["vocab"].update(zebra=5000))(folder)
    with pytest.raises(DamagedModel, match=r"'zebra' has number 5000, but the network has 68 embeddings"):
        SentenceTransformer(folder, backend=backend).encode(["red", "zebra"])


@pytest.mark.parametrize("backend", ["openvino", "onnx", "numpy"])
def test_a_static_models_token_beyond_the_table(tmp_path: Path, backend: str) -> None:
    folder = tiny.write_static(tmp_path / "static")

    def spoil(t: dict[str, Any]) -> None:
        del t["model"]["vocab"]["tax"]
        t["model"]["vocab"]["tax"] = 7000

    tokenizer(spoil)(folder)
    with pytest.raises(DamagedModel, match=r"7000|rows"):
        SentenceTransformer(folder, backend=backend).encode("tax")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(folder: Path, value: float) -> None:
    arrays = tiny.bert_tensors()
    arrays["embeddings.word_embeddings.weight"][tiny.VOCABULARY.index("tax")] = value
    save_file(arrays, folder / "model.safetensors")
    model = load(folder)
    assert np.isfinite(model.encode(["red", "apple"])).all()
    with pytest.raises(ArithmeticError, match=r"vectors with nan or infinity for row 1, 3"):
        model.encode(["red", "tax", "apple", "tax law"])
