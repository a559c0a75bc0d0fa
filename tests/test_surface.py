"""What users of sentence-transformers know by name is here, with its arguments and defaults, or is refused by name."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import write_bert, write_static
from vicinal import SentenceTransformer, refused
from vicinal.errors import NotOffered, Unavailable, UnsupportedModel

HOMES = {
    "sentence_transformers": "vicinal",
    "sentence_transformers.util": "vicinal.util",
    "sentence_transformers.losses": "vicinal.losses",
    "sentence_transformers.evaluation": "vicinal.evaluation",
    "sentence_transformers.models": "vicinal.models",
    "sentence_transformers.models.tokenizer": "vicinal.models.tokenizer",
    "sentence_transformers.readers": "vicinal.readers",
    "sentence_transformers.datasets": "vicinal.datasets",
    "sentence_transformers.quantization": "vicinal.quantization",
    "sentence_transformers.similarity_functions": "vicinal.similarity_functions",
    "sentence_transformers.training_args": "vicinal.training_args",
    "sentence_transformers.trainer": "vicinal.trainer",
    "sentence_transformers.sampler": "vicinal.sampler",
    "sentence_transformers.data_collator": "vicinal.data_collator",
    "sentence_transformers.model_card": "vicinal.model_card",
    "sentence_transformers.backend": "vicinal.backend",
    "sentence_transformers.cross_encoder": "vicinal.cross_encoder",
    "sentence_transformers.cross_encoder.losses": "vicinal.cross_encoder.losses",
    "sentence_transformers.cross_encoder.evaluation": "vicinal.cross_encoder.evaluation",
    "sentence_transformers.cross_encoder.trainer": "vicinal.cross_encoder.trainer",
    "sentence_transformers.cross_encoder.training_args": "vicinal.cross_encoder.training_args",
}
"""Changing the first word of an import line is enough for these."""

NAMES = {
    "sentence_transformers.sampler": "BatchSamplers DefaultBatchSampler GroupByLabelBatchSampler "
    "MultiDatasetBatchSamplers NoDuplicatesBatchSampler MultiDatasetDefaultBatchSampler ProportionalBatchSampler "
    "RoundRobinBatchSampler",
    "sentence_transformers.training_args": "BatchSamplers MultiDatasetBatchSamplers "
    "SentenceTransformerTrainingArguments",
    "sentence_transformers.trainer": "SentenceTransformerTrainer",
    "sentence_transformers.data_collator": "SentenceTransformerDataCollator",
    "sentence_transformers.model_card": "SentenceTransformerModelCardData ModelCardCallback",
    "sentence_transformers.quantization": "quantize_embeddings semantic_search_faiss semantic_search_usearch",
    "sentence_transformers.similarity_functions": "SimilarityFunction",
    "sentence_transformers.cross_encoder.trainer": "CrossEncoderTrainer",
    "sentence_transformers.cross_encoder.training_args": "CrossEncoderTrainingArguments",
    "sentence_transformers.backend": "export_dynamic_quantized_onnx_model export_optimized_onnx_model "
    "export_static_quantized_openvino_model load_onnx_model load_openvino_model",
    "sentence_transformers.models": "BoW CLIPModel CNN Dense Dropout InputModule LSTM LayerNorm Module Normalize "
    "Pooling Router Asym StaticEmbedding Transformer WeightedLayerPooling WordEmbeddings WordWeights",
}
"""Of modules that say no `__all__`, or more than users know."""

MEMBERS = {
    "SentenceTransformer": """
        encode encode_query encode_document similarity similarity_pairwise similarity_fn_name
        SUPPORTED_SIMILARITY_FN_NAMES get_sentence_embedding_dimension get_embedding_dimension truncate_embeddings
        truncate_sentence_embeddings set_pooling_include_prompt encode_multi_process start_multi_process_pool
        stop_multi_process_pool max_seq_length get_max_seq_length tokenizer processor tokenize preprocess forward device
        dtype to cpu cuda half bfloat16 float train eval parameters named_parameters state_dict load_state_dict
        requires_grad_ named_children _first_module _last_module transformers_model config prompts default_prompt_name
        truncate_dim model_card_data backend get_backend trust_remote_code modalities supports is_singular_input
        get_model_kwargs evaluate compile gradient_checkpointing_enable merge add_adapter load_adapter set_adapter
        enable_adapters disable_adapters active_adapters active_adapter delete_adapter get_adapter_state_dict
        has_peft_compatible_model load get_sentence_features clear_placement_cache share_memory
        default_huggingface_organization model_type model_card_data_class check_peft_compatible_model save
        save_pretrained push_to_hub save_to_hub fit old_fit smart_batching_collate
    """,
    "CrossEncoder": """
        predict rank fit old_fit smart_batching_collate smart_batching_collate_text_only get_default_activation_fn
        max_seq_length max_length num_labels model tokenizer config activation_fn default_activation_function device
        start_multi_process_pool stop_multi_process_pool save_pretrained push_to_hub merge evaluate add_adapter
        set_keep_in_fp32_modules prompts default_prompt_name
    """,
    "SentenceTransformerTrainer": """
        compute_loss collect_features get_batch_sampler get_multi_dataset_batch_sampler get_default_loss
        get_optimizer_cls_and_kwargs add_model_card_callback prepare_loss override_model_in_loss train evaluate
        hyperparameter_search
    """,
    "SentenceTransformerModelCardData": """
        set_model_id set_base_model set_language set_license set_losses set_evaluation_metrics set_best_model_step
        set_widget_examples add_tags register_model to_dict to_yaml
    """,
    "SimilarityFunction": "COSINE DOT_PRODUCT DOT EUCLIDEAN MANHATTAN MAXSIM MEAN_MAXSIM possible_values "
    "to_similarity_fn to_similarity_pairwise_fn",
}

GIVEN_ON = {"encode_query": "encode", "encode_document": "encode", "encode_multi_process": "encode", "rank": "predict"}
"""Methods that hand what they do not name themselves to another."""

OTHERWISE = {
    ("SentenceTransformer", "backend"): "auto",  # the fast one
    ("CrossEncoder", "backend"): "auto",
    ("encode", "batch_size"): None,  # batches are filled by tokens
    ("predict", "batch_size"): None,
    ("rank", "batch_size"): None,
    ("SentenceTransformerModelCardData", "task_name"): ...,  # a text
    ("CrossEncoderModelCardData", "task_name"): ...,
    ("DenoisingAutoEncoderDataset", "noise_fn"): None,  # NLTK is asked for when it is needed
    ("SequentialEvaluator", "main_score_function"): ...,  # a function
    ("TripletLoss", "distance_metric"): ...,
    ("ContrastiveLoss", "distance_metric"): ...,
    ("OnlineContrastiveLoss", "distance_metric"): ...,
    ("fit", "optimizer_class"): None,  # AdamW, at 2e-5: torch is not imported before
    ("fit", "optimizer_params"): None,
    ("fit", "activation_fct"): None,
    ("old_fit", "optimizer_class"): None,
    ("old_fit", "optimizer_params"): None,
    ("old_fit", "activation_fct"): None,
    ("SentenceTransformerTrainingArguments", "warmup_ratio"): None,
    ("CrossEncoderTrainingArguments", "warmup_ratio"): None,
    ("BoW", "word_weights"): None,
    ("CrossEncoder", "model_name_or_path"): inspect.Parameter.empty,  # which fails without
    ("WhitespaceTokenizer", "stop_words"): ...,  # the same words
    ("PhraseTokenizer", "stop_words"): ...,
    ("Pooling", "pooling_mode"): None,  # older arguments may say it
}
"""Defaults that differ, by (callable, argument); `...` is another object that means the same."""

NOT_TAKEN = {
    ("Transformer", name)
    for name in ("processing_kwargs", "modality_config", "unpad_inputs", "query_length", "document_length",
                 "query_expansion", "module_output_name")
}  # fmt: skip
"""Arguments that raise TypeError, which names them."""


def peer(home: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(home)


def names(home: str) -> list[str]:
    if home in NAMES:
        return NAMES[home].split()
    module = peer(home)
    listed = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    found = []
    for name in listed:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = getattr(module, name)
        own = str(getattr(value, "__module__", "")).startswith("sentence_transformers")
        if own and not inspect.ismodule(value) and not name.startswith("_"):
            found.append(name)
    return found


def pairs() -> Iterator[tuple[str, str]]:
    return ((home, name) for home in HOMES for name in names(home))


@pytest.mark.parametrize(("home", "name"), list(pairs()))
def test_a_name_is_here_or_refused(home: str, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = getattr(peer(home), name, None)
    ours = importlib.import_module(HOMES[home])
    if name in refused.NAMES.get(HOMES[home], {}):
        with pytest.raises(NotOffered, match=name):
            getattr(ours, name)
        return
    assert_arguments(name, getattr(ours, name), wanted)


def assert_arguments(name: str, found: Any, wanted: Any) -> None:
    """What the peer's callable takes, ours takes: under the same name, at the same place, with the same default."""
    if not callable(wanted) or (inspect.isclass(wanted) and hasattr(wanted, "__members__")):
        return
    own, theirs = parameters(found), parameters(wanted)
    places = [p.name for p in own.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    given_on = any(p.kind is p.VAR_POSITIONAL for p in own.values())
    for place, parameter in enumerate(theirs.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or (name, parameter.name) in NOT_TAKEN:
            continue
        assert parameter.name in own or given_on, f"{name}({parameter.name}=)"
        if parameter.name not in own:
            continue
        here = own[parameter.name]
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            assert places.index(parameter.name) == place, f"{name}: {parameter.name} stands elsewhere"
        if parameter.default is not parameter.empty:
            assert same(here.default, parameter.default, OTHERWISE.get((name, parameter.name), parameter.default)), (
                f"{name}({parameter.name}={parameter.default!r}), here {here.default!r}"
            )


def parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    try:
        found = inspect.signature(function).parameters
    except ValueError:  # of a class that C makes
        return {}
    return {name: p for name, p in found.items() if name != "self"}


def same(here: Any, default: Any, otherwise: Any) -> bool:
    """Equal values; equal sequences; equally made objects."""
    made_anew = repr(default) == "<factory>"  # a list or dict of its own for each
    if otherwise is ... or made_anew or here == otherwise or repr(here) == repr(default):
        return True
    if isinstance(default, (list, tuple)):
        return list(here) == list(default)
    return getattr(here, "__name__", here) == getattr(default, "__name__", default)


def members() -> Iterator[tuple[str, str]]:
    return ((kind, name) for kind, listed in MEMBERS.items() for name in listed.split())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return SentenceTransformer(str(write_static(tmp_path_factory.mktemp("surface") / "model")))


@pytest.mark.parametrize(("kind", "name"), list(members()))
def test_a_member_is_here_or_refused(kind: str, name: str, model: SentenceTransformer) -> None:
    import vicinal

    ours, theirs = getattr(vicinal, kind), getattr(peer("sentence_transformers"), kind)
    assert hasattr(theirs, name) or name in ("prompts", "truncate_dim", "trust_remote_code", "backend", "parameters",
                                             "default_prompt_name", "model_card_data", "max_length", "num_labels",
                                             "activation_fn", "config", "default_activation_function")  # fmt: skip
    if name in ("MAXSIM", "MEAN_MAXSIM"):
        assert not hasattr(ours, name)  # no model here has a use for them
        with pytest.raises(ValueError, match="use one of"):
            ours(name.lower())
        return
    if not hasattr(ours, name):
        if name in refused.MEMBERS:
            with pytest.raises(AttributeError, match=f"has no {name} here: "):
                getattr(model, name)
            return
        assert kind == "SentenceTransformer"
        assert getattr(model, name) is not None or name in ("model_card_data", "prompts"), name
        return
    found, wanted = getattr(ours, name), getattr(theirs, name, None)
    own = str(getattr(wanted, "__module__", "")).startswith("sentence") and not inspect.isclass(wanted)
    if kind in ("SentenceTransformer", "CrossEncoder") and own:
        assert_arguments(name, found, wanted)
        if name in GIVEN_ON:
            taken = parameters(getattr(ours, GIVEN_ON[name]))
            assert set(parameters(wanted)) - {"pool", "kwargs"} <= {*taken, *parameters(found)}


def test_names_that_nobody_knows() -> None:
    import vicinal
    from vicinal import models, util

    for home in (vicinal, models, util):
        with pytest.raises(AttributeError, match="nobody"):
            _ = home.nobody
    with pytest.raises(NotOffered, match="BM25"):
        from vicinal import SparseEncoder  # noqa: F401


def test_small_members(model: SentenceTransformer) -> None:
    assert model.supports("text")
    assert not model.supports("image")
    assert model.modalities == ["text"]
    assert model.model_type == "SentenceTransformer"
    assert model.is_singular_input("a")
    assert model.is_singular_input({"text": "a"})
    assert not model.is_singular_input(["a"])
    assert model.get_model_kwargs() == []
    assert model.SUPPORTED_SIMILARITY_FN_NAMES == ("cosine", "dot", "euclidean", "manhattan")
    assert np.array_equal(model.preprocess(inputs=["red"])["input_ids"], model.tokenize(["red"])["input_ids"])


def test_collating_for_a_loop_of_ones_own(tmp_path: Path) -> None:
    from vicinal import InputExample

    folder = str(write_bert(tmp_path / "model"))
    found, theirs = SentenceTransformer.load(folder), peer("sentence_transformers").SentenceTransformer(folder)
    examples = [InputExample(texts=["red", "green apple"], label=0.5), InputExample(texts=["tax law", "a"], label=1.0)]
    for (features, labels), (wanted, values) in [
        (found.smart_batching_collate(examples), theirs.smart_batching_collate(examples))
    ]:
        assert labels.tolist() == values.tolist()
        assert [f["input_ids"].tolist() for f in features] == [f["input_ids"].tolist() for f in wanted]
    assert found.processor is found[0].tokenizer


# ---- arguments of loading -------------------------------------------------------------------------------------------

BACKENDS = ("openvino", "onnx", "numpy", "torch")
TAKEN: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "dtype": ("float32", BACKENDS),
    "torch_dtype": ("float32", BACKENDS),
    "attn_implementation": ("eager", ("torch",)),
    "device_map": ("cpu", BACKENDS),
    "provider": ("CPUExecutionProvider", ("onnx",)),
    "ov_config": ({"NUM_STREAMS": "1"}, ("openvino",)),
}
UNKNOWN = ("session_options", "low_cpu_mem_usage", "quantization_config", "use_safetensors", "trust_remote_code", "odd")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_bert(tmp_path_factory.mktemp("surface") / "model"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_key_of_model_kwargs_works_or_is_refused(backend: str, folder: str) -> None:
    plain = SentenceTransformer(folder, backend=backend, dtype="float32").encode("a red apple")
    for key, (value, backends) in TAKEN.items():
        given = {key: value} if "dtype" in key else {key: value, "dtype": "float32"}
        if backend in backends:
            found = SentenceTransformer(folder, backend=backend, model_kwargs=given)
            np.testing.assert_allclose(found.encode("a red apple"), plain, atol=1e-5)
        else:
            with pytest.raises((ValueError, Unavailable), match=key):
                SentenceTransformer(folder, backend=backend, model_kwargs=given)
    for key in UNKNOWN:
        hint = refused.ARGUMENTS.get(key, "")
        with pytest.raises(ValueError, match=key) as error:
            SentenceTransformer(folder, backend=backend, model_kwargs={key: True})
        assert hint in str(error.value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["processor_kwargs", "tokenizer_kwargs"])
def test_every_key_of_processor_kwargs_works_or_is_refused(backend: str, name: str, folder: str) -> None:
    found = SentenceTransformer(folder, backend=backend, **{name: {"model_max_length": 5, "padding_side": "left",
                                "truncation_side": "right", "use_fast": True}})  # type: ignore[arg-type]  # fmt: skip
    assert found.max_seq_length == 5
    for key, value in (("truncation_side", "left"), ("use_fast", False), ("padding_side", "up"), ("odd", 1)):
        with pytest.raises(ValueError, match=key):
            SentenceTransformer(folder, backend=backend, **{name: {key: value}})  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_key_of_config_kwargs_works_or_is_refused(backend: str, folder: str) -> None:
    whole = SentenceTransformer(folder, backend=backend, dtype="float32")
    half = SentenceTransformer(folder, backend=backend, dtype="float32", config_kwargs={"num_hidden_layers": 1})
    assert np.abs(half.encode("a red apple") - whole.encode("a red apple")).max() > 1e-3
    with pytest.raises(ValueError, match="odd_key"):
        SentenceTransformer(folder, backend=backend, config_kwargs={"odd_key": 1})


@pytest.mark.parametrize("name", sorted(name for _, name in NOT_TAKEN))
def test_arguments_that_a_transformer_does_not_take(name: str, folder: str) -> None:
    from vicinal.models import Transformer

    with pytest.raises(TypeError, match=name):
        Transformer(folder, **{name: 1})


def test_arguments_of_calls_that_are_not_taken(model: SentenceTransformer, folder: str) -> None:
    from vicinal import CrossEncoder
    from vicinal.data_collator import SentenceTransformerDataCollator

    with pytest.raises(TypeError, match=r"processing_kwargs.*max_seq_length"):
        model.encode("a", processing_kwargs={"text": {"max_length": 3}})
    with pytest.raises(ValueError, match=r"max_seq_length"):
        SentenceTransformerDataCollator(model.tokenize, max_length=4)
    with pytest.raises(UnsupportedModel, match="keep_in_fp32_modules"):
        CrossEncoder(folder, keep_in_fp32_modules=["0.model"])
