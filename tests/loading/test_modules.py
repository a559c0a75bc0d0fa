"""A folder as a spec: the spellings of all versions, limits, prefixes, routers, folders without modules.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import tiny
from vicinal import SentenceTransformer
from vicinal.errors import DamagedModel, ModelWarning, UnsafeModel, UnsupportedModel
from vicinal.loading.checkpoint import read_weights
from vicinal.loading.folder import Folder
from vicinal.loading.modules import Parts, class_name, read_model, with_prompts
from vicinal.loading.spec import Dense, Normalize, Pooling, Route, Spec, StaticEmbedding, Transformer


def read(folder: Path, **overrides: Any) -> Parts:
    return read_model(Folder(folder), read_weights, overrides)


def route(folder: Path) -> Route:
    found = read(folder).spec.only
    assert found is not None
    return found


def pooling(folder: Path, config: dict[str, Any]) -> Pooling:
    (found,) = (m for m in route(tiny.write_bert(folder, pooling=config)).modules if isinstance(m, Pooling))
    return found


W = tiny.WIDTH


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        ({"word_embedding_dimension": W}, ("mean",)),
        ({"word_embedding_dimension": W, "pooling_mode_cls_token": True}, ("cls",)),
        ({"word_embedding_dimension": W, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True}, ("max",)),
        ({"word_embedding_dimension": W, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
         ("cls", "mean")),
        ({"word_embedding_dimension": W, "pooling_mode_weightedmean_tokens": True, "pooling_mode_lasttoken": True,
          "pooling_mode_mean_sqrt_len_tokens": True}, ("mean_sqrt_len_tokens", "weightedmean", "lasttoken")),
        ({"embedding_dimension": W, "pooling_mode": "lasttoken"}, ("lasttoken",)),
        ({"embedding_dimension": W, "pooling_mode": ["max", "cls"]}, ("max", "cls")),
    ],
)  # fmt: skip
def test_poolings(config: dict[str, Any], modes: tuple[str, ...], tmp_path: Path) -> None:
    assert pooling(tmp_path / "a", config) == Pooling(W, modes)
    assert pooling(tmp_path / "b", {**config, "include_prompt": False}) == Pooling(W, modes, False)


@pytest.mark.parametrize(
    "kind",
    [
        "sentence_transformers.models.Transformer",
        "sentence_transformers.models.Transformer.Transformer",
        "sentence_transformers.models.BERT",
        "sentence_transformers.base.modules.transformer.Transformer",
        "sentence_transformers.sentence_transformer.modules.Transformer",
    ],
)
def test_spellings_of_a_module(kind: str, tmp_path: Path) -> None:
    tiny.write_bert(tmp_path)
    listed = tiny.modules(*tiny.BERT_MODULES)
    listed[0]["type"] = kind
    tiny.write_json(tmp_path / "modules.json", listed)
    assert [type(m) for m in route(tmp_path).modules] == [Transformer, Pooling, Normalize]


@pytest.mark.parametrize("kind", ["evil.Transformer", "Transformer", "", "sentence_transformers_evil.Pooling",
                                  "mine.sentence_transformers.models.Pooling"])  # fmt: skip
def test_foreign_modules(kind: str) -> None:
    with pytest.raises(UnsafeModel, match="which is code of the model's own: loading a model runs none"):
        class_name(kind, "modules.json")


@pytest.mark.parametrize(
    ("sentence", "tokenizer", "limit"),
    [
        ({"max_seq_length": 9}, {"model_max_length": 12}, 9),
        ({}, {"model_max_length": 12}, 12),
        ({"max_seq_length": None}, {"model_max_length": 12}, 12),
        ({}, {}, tiny.POSITIONS),
        ({}, {"model_max_length": 1000000000000000019884624838656}, tiny.POSITIONS),
        ({}, {"model_max_length": 1e30}, tiny.POSITIONS),
        ({"max_seq_length": tiny.POSITIONS}, {}, tiny.POSITIONS),
    ],
)
def test_limits(sentence: dict[str, Any], tokenizer: dict[str, Any], limit: int, tmp_path: Path) -> None:
    tiny.write_bert(tmp_path, sentence=sentence)
    tiny.write_json(tmp_path / "tokenizer_config.json", tokenizer)
    assert route(tmp_path).max_length == limit


def test_a_limit_beyond_the_position_table_is_cut_and_said(tmp_path: Path) -> None:
    tiny.write_bert(tmp_path, sentence={"max_seq_length": 42})
    with pytest.warns(
        ModelWarning, match="maximum length of 42 tokens, but its network has 41 positions: .* cut to 41"
    ):
        assert route(tmp_path).max_length == 41


def test_older_names_of_the_sentence_configuration(tmp_path: Path) -> None:
    tiny.write_bert(tmp_path)
    (tmp_path / "sentence_bert_config.json").rename(tmp_path / "sentence_roberta_config.json")
    assert route(tmp_path).max_length == 17


@pytest.mark.parametrize("prefix", ["", "bert.", "0.auto_model.", "model.encoder."])
def test_prefixes_of_checkpoints(prefix: str, tmp_path: Path) -> None:
    arrays = {f"{prefix}{name}": array for name, array in tiny.bert_tensors().items()}
    arrays["cls.predictions.bias"] = np.zeros(3, "f4")
    found = read(tiny.write_bert(tmp_path, tensors=arrays)).tensors
    assert {name for name in found if not name.startswith("/cls")} == {f"/{name}" for name in tiny.bert_tensors()}


def test_a_folder_without_modules(tmp_path: Path) -> None:
    tiny.write_bert(tmp_path)
    (tmp_path / "modules.json").unlink()
    with pytest.warns(ModelWarning, match=r"has no modules\.json, so nothing says how .* mean pooling is taken"):
        found = route(tmp_path)
    assert [type(m) for m in found.modules] == [Transformer, Pooling]
    assert found.modules[1] == Pooling(W, ("mean",))
    for name in ("config.json", "sentence_bert_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(DamagedModel, match=r"has neither modules\.json nor config\.json: no model, or incomplete"):
        read(tmp_path)


def test_dense(tmp_path: Path) -> None:
    tiny.write_bert(tmp_path, listed=(*tiny.BERT_MODULES[:2], ("Dense", "2_Dense")))
    config = {"in_features": W, "out_features": 5, "activation_function": "torch.nn.modules.activation.ReLU"}
    tiny.write_json(tmp_path / "2_Dense/config.json", config)
    arrays = {"linear.weight": np.zeros((5, W), "f4"), "linear.bias": np.zeros(5, "f4")}
    save_file(arrays, tmp_path / "2_Dense/model.safetensors")
    found = read(tmp_path)
    assert found.spec.only is not None
    assert found.spec.only.modules[2] == Dense(W, 5, activation="relu")
    assert found.spec.width == 5
    assert {"2_Dense/linear.weight", "2_Dense/linear.bias"} <= set(found.tensors)
    tiny.write_json(tmp_path / "2_Dense/config.json", {**config, "in_features": 21})
    with pytest.raises(
        DamagedModel, match=r"module 2_Dense \(Dense\) takes 21 dimensions, but sentence_embedding has 22"
    ):
        read(tmp_path)
    for activation in ("torch.nn.modules.activation.PReLU", "os.system", "evil.Tanh"):
        tiny.write_json(tmp_path / "2_Dense/config.json", {**config, "activation_function": activation})
        with pytest.raises(ValueError, match=f"2_Dense/config.json: the activation '{activation}' is not handled"):
            read(tmp_path)


@pytest.mark.parametrize("file", ["router_config.json", "config.json"])
@pytest.mark.parametrize(("parameters", "default"), [
    ({"default_route": "b"}, "b"), ({}, "a"), ({"allow_empty_key": False}, None), (None, "a"),
])  # fmt: skip
def test_routers(file: str, parameters: Any, default: str | None, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        tiny.write_static(tmp_path / name, seed=seed)
    tiny.write_json(tmp_path / "modules.json", tiny.modules(("Router", ""), ("Normalize", "1_Normalize")))
    static = "sentence_transformers.models.StaticEmbedding"
    config = {"types": {"one": static, "two": static}, "structure": {"a": ["one"], "b": ["two"]}}
    tiny.write_json(tmp_path / file, {**config, "parameters": parameters})
    found = read(tmp_path)
    assert list(found.spec.routes) == ["a", "b"]
    assert [r.folders for r in found.spec.routes.values()] == [("one", "1_Normalize"), ("two", "1_Normalize")]
    assert found.spec.default_route == default
    assert found.spec.route("b") is found.spec.routes["b"]
    with pytest.raises(ValueError, match=r"a route for each of a, b, none for task='c'"):
        found.spec.route("c")  # a wrong name must not pass for the default
    if default is None:
        with pytest.raises(ValueError, match=r"a route for each of a, b, none for task=None"):
            found.spec.route(None)
    else:
        assert found.spec.route(None) is found.spec.routes[default]


def test_routers_that_map_routes_are_refused(tmp_path: Path) -> None:
    tiny.write_static(tmp_path / "one")
    tiny.write_json(tmp_path / "modules.json", tiny.modules(("Router", "")))
    config = {"types": {"one": "sentence_transformers.models.StaticEmbedding"}, "structure": {"a": ["one"]}}
    tiny.write_json(tmp_path / "router_config.json", {**config, "parameters": {"route_mappings": {"('q', None)": "a"}}})
    with pytest.raises(UnsupportedModel, match=r"router_config.json: route_mappings are not handled"):
        read(tmp_path)


def test_model2vec(tmp_path: Path) -> None:
    tiny.write_static(tmp_path)
    (tmp_path / "modules.json").unlink()
    table = np.zeros((len(tiny.VOCABULARY), 3), "f4")
    save_file({"embeddings": table}, tmp_path / "model.safetensors")
    for normalize, kinds in ((True, [StaticEmbedding, Normalize]), (False, [StaticEmbedding])):
        tiny.write_json(tmp_path / "config.json", {"model_type": "model2vec", "normalize": normalize})
        assert [type(m) for m in route(tmp_path).modules] == kinds


def test_model2vec_with_a_row_and_a_weight_for_each_token(tmp_path: Path) -> None:
    """A vector is the mean over the tokens of weights[token] * embeddings[mapping[token]]."""
    rng, size = np.random.default_rng(3), len(tiny.VOCABULARY)
    table, weights = rng.standard_normal((11, 5)).astype("f4"), rng.random(size).astype("f4")
    mapping = rng.integers(0, 11, size)
    tiny.write_static(tmp_path)
    (tmp_path / "modules.json").unlink()
    tiny.write_json(tmp_path / "config.json", {"model_type": "model2vec", "normalize": False})
    arrays = {"embeddings": table, "weights": weights, "mapping": mapping}
    save_file(arrays, tmp_path / "model.safetensors")
    ids = [tiny.VOCABULARY.index(word) for word in ("red", "apple", "red", "tax")]
    wanted = np.mean([weights[i] * table[mapping[i]] for i in ids], 0)
    for backend in ("numpy", "openvino"):
        found = SentenceTransformer(tmp_path, backend=backend, dtype="float32").encode("red apple red tax")
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    for wrong in (mapping + 1, -mapping - 1, mapping.astype("f4"), mapping[None]):
        save_file({**arrays, "mapping": np.ascontiguousarray(wrong)}, tmp_path / "model.safetensors")
        with pytest.raises(DamagedModel, match=r"model\.safetensors: tensor mapping must give a row of embeddings"):
            read(tmp_path)
    for wrong in (weights[:-1], weights[None, :3]):
        save_file({**arrays, "weights": np.ascontiguousarray(wrong)}, tmp_path / "model.safetensors")
        with pytest.raises(DamagedModel, match=r"embedding\.scale|weights"):
            SentenceTransformer(tmp_path)


def test_overrides(tmp_path: Path) -> None:
    (found, *_) = read(tiny.write_bert(tmp_path), num_hidden_layers=1).spec.routes.values()
    assert isinstance(found.modules[0], Transformer)
    assert found.modules[0].config["num_hidden_layers"] == 1


ONE = Route((StaticEmbedding(3, 2),), ("",), None)


@pytest.mark.parametrize(
    ("stated", "given", "supplied", "wanted"),
    [
        ({}, {}, {}, {"query": "", "document": ""}),
        ({"query": "a"}, {}, {}, {"query": "a", "document": ""}),
        ({"query": "a"}, {"query": "b"}, {"query": "c"}, {"query": "b", "document": ""}),
        ({"query": "a"}, {"query": ""}, {"query": "c"}, {"query": "", "document": ""}),
        ({"query": "a"}, {"query": None}, {}, {"query": "", "document": ""}),
        ({"query": ""}, {}, {"query": "c"}, {"query": "c", "document": ""}),
        ({"x": "y"}, {"z": "w"}, {"document": "d"}, {"query": "", "document": "d", "x": "y", "z": "w"}),
    ],
)
def test_whose_prompt_wins(stated: Any, given: Any, supplied: Any, wanted: dict[str, str]) -> None:
    assert with_prompts(Spec({"": ONE}, prompts=stated), given, supplied).prompts == wanted
