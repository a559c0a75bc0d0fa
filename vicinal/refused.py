"""What sentence-transformers has and this project has not: each name is refused, with what to use instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from vicinal.errors import NotOffered

_SPARSE = "sparse models are not handled here; a Retriever joins BM25's lexical search with vectors (vicinal.Retriever)"
_MANY = (
    "models of many vectors a text are not handled here; a CrossEncoder reranks the first hits (vicinal.CrossEncoder)"
)
_LATE = "it compares many vectors a text, which are not handled here; use cos_sim or dot_score"
_DIST = "use torch.distributed; losses gather by gather_across_devices=True"
_LOGS = 'use logging.getLogger("vicinal").setLevel(...)'
_IMAGES = "models of images are not handled here; it runs in sentence-transformers"


def _family(reason: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


NAMES: Mapping[str, Mapping[str, str]] = {
    "vicinal": {
        **_family(_SPARSE, "SparseEncoder SparseEncoderTrainer SparseEncoderTrainingArguments "
                  "SparseEncoderModelCardData sparse_encoder"),
        **_family(_MANY, "MultiVectorEncoder MultiVectorEncoderTrainer MultiVectorEncoderTrainingArguments "
                  "MultiVectorEncoderModelCardData multi_vector_encoder"),
    },
    "vicinal.util": {
        **_family(_LATE, "maxsim maxsim_pairwise mean_maxsim mean_maxsim_pairwise"),
        **_family(_SPARSE, "compute_count_vector to_scipy_coo select_max_active_dims"),
        **_family(_DIST, "all_gather all_gather_with_grad all_gather_padded get_rank get_world_size "
                  "is_dist_initialized distributed_evaluation"),
        **_family(_LOGS, "disable_logging install_logger"),
        "disabled_tqdm": "say show_progress_bar=False",
        "disable_datasets_caching": "use datasets.disable_caching()",
        "stack_padded_token_embeddings": "use torch.nn.utils.rnn.pad_sequence",
        "cat_padded_token_embeddings": "use torch.nn.utils.rnn.pad_sequence",
        "repad_flattened_features": "features are padded here",
        "import_module_class": "use importlib; a model's own modules load with trust_remote_code=True",
        "load_file_path": "use vicinal.models.Module.load_file_path",
        "load_dir_path": "use vicinal.models.Module.load_dir_path",
        "similarity_fct_name": "use SimilarityFunction",
        "append_to_last_row": "use the csv module",
        "check_package_availability": "use importlib.util.find_spec",
        "check_version_requirements": "use importlib.metadata.version",
        "check_teacher_targets": "losses check what they are given",
        "save_to_hub_args_decorator": "save_to_hub takes the older names itself",
    },
    "vicinal.models": {
        "CLIPModel": _IMAGES,
        **_family(_SPARSE, "MLMTransformer SpladePooling SparseAutoEncoder SparseStaticEmbedding"),
    },
    "vicinal.backend": {
        **_family("a model loads its own file: SentenceTransformer(..., backend=..., model_kwargs={'file_name': ...})",
                  "load_onnx_model load_openvino_model"),
        **_family("nothing is exported to run here; vicinal.export_onnx writes a file",
                  "backend_should_export backend_warn_to_save save_or_push_to_hub_model"),
    },
}  # fmt: skip
"""By the module that is asked for them."""

MEMBERS: Mapping[str, str] = {
    "merge": "average the weights of state_dict()s, and give them to load_state_dict(); refresh() builds the fast form",
    "clear_placement_cache": "nothing is remembered of where modules are",
    "set_keep_in_fp32_modules": 'load the model with dtype="float32"',
}  # fmt: skip
"""Of models."""

ARGUMENTS: Mapping[str, str] = {
    "processing_kwargs": "set model.max_seq_length, or say truncation=",
    "session_options": "threads= says how many processor threads",
    "trust_remote_code": "it is an argument of the model itself",
    "quantization_config": 'dtype="int8" quantizes',
    "load_in_8bit": 'dtype="int8" quantizes',
    "use_safetensors": "they are always preferred",
    "cache_dir": "cache_folder= says where",
    "revision": "it is an argument of the model itself",
    "token": "it is an argument of the model itself",
    "local_files_only": "it is an argument of the model itself",
    "long": "encode_document takes it",
    "chunk_tokens": 'it goes with encode_document(..., long="chunk-mean"), "chunks" or "late"',
    "chunk_overlap": 'it goes with encode_document(..., long="chunk-mean"), "chunks" or "late"',
    "low_cpu_mem_usage": "weights are always mapped, not copied",
}
"""Of calls and `model_kwargs`."""


def module_name(home: str, name: str) -> NoReturn:
    """Refuse what is asked of a module.

    Raises:
        NotOffered: a name of sentence-transformers; what to use. AttributeError: any other.
    """
    reason = NAMES.get(home, {}).get(name)
    if reason is None:
        raise AttributeError(f"module {home!r} has no attribute {name!r}")
    raise NotOffered(f"{home} has no {name}: {reason}")


def member(model: Any, name: str) -> AttributeError:
    """The error for what a model has not."""
    kind = type(model).__name__
    if name in MEMBERS:
        return AttributeError(f"a {kind} has no {name} here: {MEMBERS[name]}")
    return AttributeError(f"{kind!r} object has no attribute {name!r}")


def hints(names: Iterable[str]) -> str:
    """What to use instead of arguments, "" where nothing is known of them."""
    return "".join(f"; {name}: {ARGUMENTS[name]}" for name in names if name in ARGUMENTS)
