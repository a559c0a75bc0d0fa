"""Scores equal sentence-transformers'; every accepted form; what is refused, and how."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from vicinal import CrossEncoder
from vicinal.errors import (
    DamagedModel,
    InvalidInput,
    ModelWarning,
    NonFiniteEmbedding,
    TextTooLong,
    TruncationWarning,
    Unavailable,
    UnsupportedModel,
)

Make = Callable[..., Path]
Pairs = list[tuple[str, str]]
quiet = pytest.mark.filterwarnings("ignore::vicinal.errors.TruncationWarning")


@pytest.fixture(scope="module")
def model(classifier: Make) -> CrossEncoder:
    return CrossEncoder(classifier(), dtype="float32")


@quiet
@pytest.mark.parametrize("backend", ["openvino", "onnx", "numpy", "torch"])
@pytest.mark.parametrize("labels", [1, 3])
def test_scores_equal_the_peers(classifier: Make, peer: Any, pairs: Pairs, backend: str, labels: int) -> None:
    folder = classifier(labels)
    ours = CrossEncoder(folder, backend=backend, dtype="float32").predict(pairs)
    theirs = peer(str(folder)).predict(pairs)
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=3e-5)


@quiet
def test_softmax_and_activations(classifier: Make, peer: Any, pairs: Pairs) -> None:
    import torch

    folder = classifier(3)
    ours, theirs = CrossEncoder(folder, dtype="float32"), peer(str(folder))
    np.testing.assert_allclose(
        ours.predict(pairs, apply_softmax=True), theirs.predict(pairs, apply_softmax=True), atol=3e-5
    )
    for activation in (torch.nn.Tanh(), torch.nn.Sigmoid(), torch.nn.Softplus(), torch.nn.Hardtanh(), torch.sigmoid):
        np.testing.assert_allclose(
            ours.predict(pairs, activation_fn=activation), theirs.predict(pairs, activation_fn=activation), atol=3e-5
        )
    halved = ours.predict(pairs, activation_fn=lambda scores: scores / 2)
    np.testing.assert_allclose(halved, ours.predict(pairs) / 2, atol=1e-6)


@pytest.mark.parametrize("place", ["sentence_transformers", "old", "settings"])
def test_the_activation_that_the_folder_states(tmp_path: Path, peer: Any, place: str) -> None:
    from tests.cross_encoder.conftest import write_classifier

    name = "torch.nn.modules.linear.Identity"
    stated = {
        "sentence_transformers": {"sentence_transformers": {"activation_fn": name, "version": "4.0"}},
        "old": {"sbert_ce_default_activation_function": name},
        "settings": {},
    }[place]
    folder = write_classifier(tmp_path / "m", **stated)
    if place == "settings":
        tiny.write_json(
            folder / "config_sentence_transformers.json", {"model_type": "CrossEncoder", "activation_fn": name}
        )
        tiny.write_json(folder / "modules.json", tiny.modules(("Transformer", "")))
        task = {"transformer_task": "sequence-classification", "module_output_name": "scores",
                "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}}}  # fmt: skip
        tiny.write_json(folder / "sentence_bert_config.json", task)
    pairs = [("red apple", "tax law"), ("red", "green")]
    np.testing.assert_allclose(
        CrossEncoder(folder, dtype="float32").predict(pairs), peer(str(folder)).predict(pairs), atol=3e-5
    )


@quiet
def test_rank_equals_the_peers_ties_included(classifier: Make, peer: Any, model: CrossEncoder) -> None:
    documents = ["green apple", "tax law", "", "green apple", "law " * 50, "green apple"]
    theirs = peer(str(classifier())).rank("red apple", documents, return_documents=True)
    ours = model.rank("red apple", documents, return_documents=True)
    assert [row["corpus_id"] for row in ours] == [row["corpus_id"] for row in theirs]
    assert [row["text"] for row in ours] == [row["text"] for row in theirs]
    np.testing.assert_allclose([row["score"] for row in ours], [row["score"] for row in theirs], atol=3e-5)
    assert all(type(row["score"]) is float for row in ours)
    assert model.rank("red apple", documents, top_k=2) == [
        {key: row[key] for key in ("corpus_id", "score")} for row in ours[:2]
    ]
    assert model.rank("red apple", []) == []
    assert model.rank("red", iter(documents)) == model.rank("red", tuple(documents))
    for form in ({"convert_to_tensor": True}, {"convert_to_numpy": False}):
        assert model.rank("red", documents, **form) == model.rank("red", documents)


def test_rank_takes_its_arguments_in_the_peers_order() -> None:
    from sentence_transformers import CrossEncoder as Peer

    theirs = list(inspect.signature(Peer.rank).parameters)
    assert list(inspect.signature(CrossEncoder.rank).parameters)[: len(theirs)] == theirs


def test_forms(model: CrossEncoder) -> None:
    import torch

    both = model.predict([("red", "law"), ("tax", "apple")])
    one = model.predict(("red", "law"))
    assert one.dtype == np.float32
    assert one.shape == ()
    assert one == pytest.approx(both[0])
    for form in (
        ["red", "law"],
        np.array(["red", "law"]),
    ):
        assert model.predict(form) == pytest.approx(one)
    for form in (
        [["red", "law"], ["tax", "apple"]],
        np.array([["red", "law"], ["tax", "apple"]]),
        (("red", "law"), ("tax", "apple")),
        (pair for pair in [("red", "law"), ("tax", "apple")]),
    ):
        np.testing.assert_allclose(model.predict(form), both)
    np.testing.assert_allclose(model.predict(sentences=[("red", "law"), ("tax", "apple")]), both)
    tensor = model.predict([("red", "law"), ("tax", "apple")], convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), both)
    assert isinstance(model.predict([("red", "law")], convert_to_numpy=False), list)
    assert model.predict([]).shape == (0,)
    assert model.predict("red").shape == ()


def test_prompts(classifier: Make, peer: Any) -> None:
    prompts = {"q": "query: "}
    ours, theirs = (
        CrossEncoder(classifier(), dtype="float32", prompts=prompts),
        peer(str(classifier()), prompts=prompts),
    )
    pairs = [("red apple", "tax law"), ("red", "green")]
    for options in ({"prompt_name": "q"}, {"prompt": "the "}, {}):
        np.testing.assert_allclose(ours.predict(pairs, **options), theirs.predict(pairs, **options), atol=3e-5)
    with pytest.raises(ValueError, match="there is no prompt named 'nope'; this model has"):
        ours.predict(pairs, prompt_name="nope")


def test_length_and_truncation(model: CrossEncoder) -> None:
    long = ("red " * 5, "tax " * 40)
    assert model.max_length == model.max_seq_length == 23
    with pytest.warns(TruncationWarning, match=r"1 text is longer than this model's 23 tokens.*row 1 \(48 tokens\)"):
        model.predict([("red", "law"), long])
    with pytest.raises(TextTooLong, match="row 1"):
        model.predict([("red", "law"), long], truncation="error")
    query = ("tax " * 15, "red " * 15)  # 23 less 3 special tokens: 10 and 10, or 15 and 5
    options: dict[str, Any] = {"truncation": "ignore"}
    first = model.predict(query, **options, truncation_strategy="document_first")
    assert first == pytest.approx(model.predict(("tax " * 15, "red " * 5)))
    even = model.predict(query, **options)
    assert even == pytest.approx(model.predict(("tax " * 10, "red " * 10)))
    with pytest.raises(ValueError, match="truncation_strategy must be one of 'longest_first', 'document_first'"):
        model.predict(query, truncation_strategy="nope")  # type: ignore[arg-type]
    whole = model.predict(("tax " * 60, "red"), **options, truncation_strategy="document_first")
    assert np.isfinite(whole)  # a query longer than the model leaves no room for the document


def test_scores_do_not_depend_on_the_batch(model: CrossEncoder, pairs: Pairs) -> None:
    together = model.predict(pairs, truncation="ignore")
    for options in ({"batch_size": 1}, {"batch_tokens": 30}, {"batch_size": 7}):
        np.testing.assert_allclose(model.predict(pairs, truncation="ignore", **options), together, atol=2e-6)
    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(lambda _: model.predict(pairs, truncation="ignore"), range(16)):
            np.testing.assert_allclose(found, together, atol=2e-6)


def test_ten_thousand_candidates(model: CrossEncoder) -> None:
    rng = np.random.default_rng(0)
    documents = [" ".join(rng.choice(["red", "tax", "law", "apple"], 5)) for _ in range(10_000)]
    rows = model.rank("red law", documents)
    assert sorted(row["corpus_id"] for row in rows) == list(range(10_000))
    scores = np.array([row["score"] for row in rows])
    assert (np.diff(scores) <= 0).all()
    same = np.flatnonzero(np.diff(scores) == 0)
    ids = np.array([row["corpus_id"] for row in rows])
    assert len(same) > 1000  # texts recur
    assert (ids[same] < ids[same + 1]).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "encode takes a text or a list of texts, not None"),
        (5, "not of type int"),
        (["a", "b", "c"], "predict takes a pair of two texts or a list of pairs, not a list of 3"),
        ([("a", None)], "row 0 is a tuple of 2 .str, NoneType."),
        ([("a", "b"), ("a", "b", "c")], "row 1 is a tuple of 3"),
        ([("a", "b"), "c"], "row 1 is a text, row 0 is not"),
        ({"a": "b"}, "not a mapping"),
        ([("a", "bro\ud800ken")], "row 0 holds half of a surrogate pair"),
    ],
)
def test_bad_pairs(model: CrossEncoder, bad: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        model.predict(bad)


def test_bad_ranking(classifier: Make, model: CrossEncoder) -> None:
    with pytest.raises(ValueError, match=r"rank.. needs a model with one label; .* has 3"):
        CrossEncoder(classifier(3)).rank("a", ["b"])
    with pytest.raises(InvalidInput, match="document 1 is None, not a text"):
        model.rank("a", ["b", None])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="documents must be a list of texts"):
        model.rank("a", "b")
    with pytest.raises(InvalidInput, match="the query must be a text, not a tuple"):
        model.rank(("a", "b"), ["c"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="top_k must be a positive integer or None, not 0"):
        model.rank("a", ["b"], top_k=0)


def test_older_arguments(classifier: Make, model: CrossEncoder) -> None:
    folder = str(classifier())
    with pytest.warns(DeprecationWarning, match="give CrossEncoder num_labels, max_length by these names"):
        old = CrossEncoder(folder, 1, 11)
    assert old.max_length == 11
    with pytest.warns(DeprecationWarning, match="activation_fn"):
        old = CrossEncoder(folder, default_activation_function="Identity", dtype="float32")
    raw = old.predict(("red", "law"))
    assert 1 / (1 + np.exp(-raw)) == pytest.approx(model.predict(("red", "law")), abs=1e-6)
    with (
        pytest.warns(DeprecationWarning, match="by these names"),
        pytest.raises(TypeError, match="got max_length twice"),
    ):
        CrossEncoder(folder, 1, 11, max_length=12)


@quiet
def test_saved_folders_travel_both_ways(tmp_path: Path, classifier: Make, peer: Any, pairs: Pairs) -> None:
    ours = CrossEncoder(classifier(3), dtype="float32", activation_fn="Tanh", prompts={"q": "the "}, max_length=19)
    ours.save(tmp_path / "ours")
    wanted = ours.predict(pairs)
    np.testing.assert_allclose(peer(str(tmp_path / "ours")).predict(pairs), wanted, atol=3e-5)
    again = CrossEncoder(tmp_path / "ours", dtype="float32")
    np.testing.assert_array_equal(again.predict(pairs), wanted)
    assert again.fingerprint == ours.fingerprint
    assert again.prompts["q"] == "the "
    peer(str(tmp_path / "ours")).save_pretrained(str(tmp_path / "theirs"))
    np.testing.assert_allclose(CrossEncoder(tmp_path / "theirs", dtype="float32").predict(pairs), wanted, atol=3e-5)
    assert "CrossEncoder(" in (tmp_path / "ours" / "README.md").read_text()


def test_a_base_model_gets_a_new_head(tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path / "base")
    np.random.seed(3)
    with pytest.warns(
        ModelWarning, match=r"has no classification head: pooler.dense.weight, .*until the model is trained"
    ):
        first = CrossEncoder(folder, num_labels=2, dtype="float32")
    np.random.seed(3)
    with pytest.warns(ModelWarning):
        second = CrossEncoder(folder, num_labels=2, dtype="float32")
    assert first.num_labels == 2
    scores = first.predict([("red", "law"), ("tax", "apple")])
    np.testing.assert_array_equal(scores, second.predict([("red", "law"), ("tax", "apple")]))
    assert np.ptp(scores) > 0


def test_damage_is_named(tmp_path: Path, classifier: Make) -> None:
    from safetensors.numpy import load_file, save_file

    from tests.cross_encoder.conftest import write_classifier

    folder = write_classifier(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if n != "classifier.bias"}, folder / "model.safetensors")
    with pytest.raises(DamagedModel, match=r"tensor classifier.bias .1. is missing"):
        CrossEncoder(folder)
    with pytest.raises(UnsupportedModel, match=r"num_labels=4: .* has a head of 1 labels; leave num_labels out"):
        CrossEncoder(classifier(), num_labels=4)
    tensors["classifier.bias"][:] = np.nan
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(NonFiniteEmbedding, match="row 0, 1"):
        CrossEncoder(folder, self_test=False).predict([("a", "b"), ("b", "a")])
    with pytest.raises(DamagedModel, match="fails its self-test: a vector is not finite"):
        CrossEncoder(folder)
    tiny.write_json(folder / "config_sentence_transformers.json", {"activation_fn": "evil.module.Function"})
    with pytest.raises(UnsupportedModel, match=r"the activation 'evil.module.Function' is not known"):
        CrossEncoder(folder)


def test_copies(classifier: Make, model: CrossEncoder) -> None:
    wanted = model.predict([("red", "law")])
    np.testing.assert_array_equal(copy.deepcopy(model).predict([("red", "law")]), wanted)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict([("red", "law")]), wanted)
    assert "Classifier(architecture='bert', labels=1)" in repr(model)


def test_several_processes(classifier: Make, pairs: Pairs) -> None:
    """The same scores, messages and errors as in one, whatever the activation."""
    model = CrossEncoder(classifier(3), dtype="float32", threads=1, activation_fn=lambda scores: scores / 2)
    with pytest.warns(TruncationWarning) as said:
        wanted = model.predict(pairs)
    with model.start_multi_process_pool(["cpu"]) as pool:
        with pytest.warns(TruncationWarning, match="row 3") as told:
            np.testing.assert_allclose(model.predict(pairs, pool=pool, chunk_size=len(pairs)), wanted, atol=3e-5)
        assert str(told[0].message) == str(said[0].message)
        options: dict[str, Any] = {"truncation": "ignore", "pool": pool}
        for chunk_size in (1, 7, None):
            np.testing.assert_allclose(model.predict(pairs, chunk_size=chunk_size, **options), wanted, atol=3e-5)
        soft = model.predict(pairs, apply_softmax=True, activation_fn="Identity", **options)
        np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)
        assert model.predict([], **options).shape == (0, 3)
        assert model.predict(pairs[0], **options).shape == (3,)
        rows = [("red", "law")] * 6 + [("tax " * 40, "law")]
        for chunk_size in (1, 5):
            with pytest.raises(TextTooLong, match="row 6"):
                model.predict(rows, pool=pool, truncation="error", chunk_size=chunk_size)
        with pytest.raises(InvalidInput, match="row 1 holds half of a surrogate pair"):
            model.predict([("a", "b"), ("a", "bro\ud800ken")], pool=pool, chunk_size=1)
    with pytest.raises(InvalidInput, match="pool must come from start_multi_process_pool"):
        model.predict(pairs, pool={})
    with pytest.raises(Unavailable, match="cuda"):
        model.predict(pairs, device=["cuda"])
    single = CrossEncoder(classifier(), dtype="float32", threads=1)
    documents = [document for _, document in pairs]
    ranked = single.rank("red", documents, device=["cpu"], truncation="ignore")
    alone = single.rank("red", documents, truncation="ignore")
    assert [row["corpus_id"] for row in ranked] == [row["corpus_id"] for row in alone]
