"""Models as files for ONNX Runtime, which then runs them without vicinal."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from vicinal.errors import Unavailable, UnsupportedModel
from vicinal.loading.exported import Exported
from vicinal.loading.spec import Route, Transformer
from vicinal.loading.weights import Scope
from vicinal.networks.heads import graph

if TYPE_CHECKING:
    from vicinal.model import Model

_QUANTISED = {
    "arm64": "qint8_arm64", "avx2": "quint8_avx2", "avx512": "qint8_avx512", "avx512_vnni": "qint8_avx512_vnni",
}  # fmt: skip
"""What users know these files as."""


def export_onnx(
    model: Model,
    path: str | os.PathLike[str],
    *,
    dtype: Literal["float32", "int8"] = "float32",
    task: str | None = None,
) -> None:
    """Write a whole model as one ONNX file, pooling and normalisation inside.

    Inputs are `input_ids`, `attention_mask` and, where the network reads them, `token_type_ids`: (batch, tokens) int64,
    padded on either side. Outputs are `sentence_embedding` (batch, dims), with the model's `truncate_dim`, and
    `token_embeddings` (batch, tokens, width); of a cross-encoder `logits` (batch, labels). Prompts and tokenization are
    the caller's. Weights of more than 1 GB are put into a second file beside it, `{name}_data`.

    Args:
        model: a SentenceTransformer or CrossEncoder, on whichever backend.
        path: of the file; one that is there is replaced.
        dtype: "int8" keeps the weights of linear layers in blocks of int8, as `dtype="int8"` of the onnx backend does;
            such a file needs ONNX Runtime 1.22 or later.
        task: the route of a model that has several.

    Raises:
        UnsupportedModel: pooling leaves the prompt's tokens out, which a file cannot know; or torch alone can run a
            module.
        MissingExtra: onnx or onnxruntime is not installed.
    """
    if dtype not in ("float32", "int8"):
        raise ValueError(f'dtype must be "float32" or "int8", not {dtype!r}')
    route = model.spec.route(task)
    if route.excludes_prompt:
        raise UnsupportedModel(
            f"{model.name} leaves its prompt's tokens out of pooling, and a file cannot know which those are: "
            "model.set_pooling_include_prompt(True) makes another model that can be exported"
        )
    own = ("sentence_embedding", "token_embeddings")
    names = {"scores": "logits"} if route.output == "scores" else dict(zip(own, own, strict=True))
    _write(model, Path(path), route, names, dtype)


def export_optimized_onnx_model(
    model: Model,
    optimization_config: Any,
    model_name_or_path: str | os.PathLike[str],
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str | None = None,
) -> None:
    """Write a model's network as `onnx/model_O2.onnx` below a folder, rewritten for speed by ONNX Runtime.

    The file gives token states (`last_hidden_state`; `logits` of a cross-encoder): it is what
    `model_kwargs={"file_name": "onnx/model_O2.onnx"}` loads, pooling comes after it.

    Args:
        optimization_config: "O1" (folding), "O2" (and fused operators) or "O3" (and a GELU near the exact one).
        model_name_or_path: the model's folder.
        file_suffix: in place of the level's name.

    Raises:
        Unavailable: "O4" is half precision for GPUs; push_to_hub and create_pr are not to be had here.
    """
    _stay_here(push_to_hub, create_pr)
    if optimization_config == "O4":
        raise Unavailable(
            'optimization_config="O4" is half precision, which ONNX Runtime computes on GPUs alone: "O1", "O2" and '
            '"O3" are for processors'
        )
    if optimization_config not in ("O1", "O2", "O3"):
        raise ValueError(f'optimization_config must be "O1", "O2" or "O3", not {optimization_config!r}')
    target = _target(model_name_or_path, file_suffix or optimization_config)
    from vicinal.backends.onnx_files import optimise

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "model.onnx")
        _write_network(model, plain, "float32")
        optimise(plain, target, cast(Literal["O1", "O2", "O3"], optimization_config))


def export_dynamic_quantized_onnx_model(
    model: Model,
    quantization_config: Any,
    model_name_or_path: str | os.PathLike[str],
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str | None = None,
) -> None:
    """Write a model's network as `onnx/model_qint8_avx512_vnni.onnx` below a folder: int8 products, float32 the rest.

    Weights and activations have a scale for each 64 inputs (docs/backends.md has what that does to vectors). The file
    is the same whichever processor is named: ONNX Runtime, 1.22 or later, takes the kernels of the one that it runs on.

    Args:
        quantization_config: "arm64", "avx2", "avx512" or "avx512_vnni": how the file is called.
        model_name_or_path: the model's folder.
        file_suffix: in place of that name ("qint8_avx512_vnni").

    Raises:
        Unavailable: push_to_hub and create_pr are not to be had here.
    """
    _stay_here(push_to_hub, create_pr)
    if quantization_config not in _QUANTISED:
        raise ValueError(
            f"quantization_config must be one of {', '.join(map(repr, _QUANTISED))}, not {quantization_config!r}"
        )
    _write_network(model, _target(model_name_or_path, file_suffix or _QUANTISED[quantization_config]), "int8")


def export_static_quantized_openvino_model(
    model: Model,
    quantization_config: Any,
    model_name_or_path: str | os.PathLike[str],
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    dataset_split: str | None = None,
    column_name: str | None = None,
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str = "qint8_quantized",
) -> None:
    """Refused: OpenVINO needs no file of int8 here, and one with fixed ranges is less faithful.

    Raises:
        Unavailable: always; it says what to do instead.
    """
    raise Unavailable(
        "ranges that are fixed beforehand lose more of the vectors than those that are taken as texts come "
        '(docs/backends.md): SentenceTransformer(..., backend="openvino", dtype="int8") needs no calibration'
    )


def _stay_here(push_to_hub: bool, create_pr: bool) -> None:
    if push_to_hub or create_pr:
        raise Unavailable(
            "push_to_hub and create_pr are not to be had here: export into a folder, then send it with "
            "huggingface_hub.upload_file(path_or_fileobj=..., path_in_repo='onnx/...', repo_id=..., create_pr=...)"
        )


def _target(folder: str | os.PathLike[str], suffix: str) -> Path:
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; give the model's folder, the file goes into its onnx/")
    return path / "onnx" / f"model_{suffix}.onnx"


def _write_network(model: Model, path: Path, dtype: Literal["float32", "int8"]) -> None:
    """The file of a network alone: token states, or a cross-encoder's scores."""
    route = model.spec.route(None)
    if not isinstance(route.modules[0], Transformer):
        raise UnsupportedModel(f"{model.name} has no transformer that could be exported: export_onnx takes it whole")
    if route.output == "scores":
        _write(model, path, route, {"scores": "logits"}, dtype)
    else:
        alone = Route(route.modules[:1], route.folders[:1], route.max_length)
        _write(model, path, alone, {"token_embeddings": "last_hidden_state"}, dtype)


def _write(model: Model, path: Path, route: Route, names: dict[str, str], dtype: Literal["float32", "int8"]) -> None:
    from vicinal.backends.onnx_files import write_model

    first = route.modules[0]
    if isinstance(first, Exported):
        raise UnsupportedModel(f"{model.name} computes with {first.file}: load it without file_name to export it anew")
    if why := route.needs_torch:
        raise UnsupportedModel(f"{model.name} cannot be exported: {why}")
    uncounted = first.uncounted if isinstance(first, Transformer) else None
    build = graph(route, Scope(model._engine.saved_parts().tensors), tuple(names))
    write_model(path, build, dtype, uncounted, names, model.spec.truncate_dim)
