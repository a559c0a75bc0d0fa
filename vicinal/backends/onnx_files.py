"""Complete models as ONNX files: token ids and masks as `transformers` has them in, features out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vicinal.backends.base import Build
from vicinal.backends.onnx import Node, OnnxOps, assemble, element, onnx, ort, session_options
from vicinal.loading.weights import Tensor

_INSIDE = 1 << 30
"""Bytes of weights that a file holds itself: beyond lies the limit of the format, 2 GB."""
_ALIGNED = 4096
PUBLIC = ("input_ids", "attention_mask", "token_type_ids")
"""Inputs of a file, (batch, tokens) int64 each; it has those that its network reads."""


class _FromPublic(dict[str, Node]):
    """The inputs that networks read (`base.INPUTS`), made of a file's own when they are first read.

    Networks have their padding on the right; a batch may have it on the left, so texts are moved within their rows.

    Args:
        uncounted: the token that positions leave out, None where there is none.
    """

    def __init__(self, ops: OnnxOps, uncounted: int | None) -> None:
        super().__init__()
        self._ops, self._uncounted = ops, uncounted
        self.public: dict[str, Node] = {}

    def __missing__(self, name: str) -> Node:
        self[name] = getattr(self, f"_{name}")()
        return self[name]

    def _given(self, name: str, dtype: str) -> Node:
        moved = self._ops.node("GatherElements", self._public(name), self["place"], axis=1)
        return self._ops.node("Cast", moved, to=element(dtype))

    def _public(self, name: str) -> Node:
        return self.public.setdefault(name, Node(self._ops, name))

    def _length(self) -> Node:
        return self._ops.squeeze(self._ops.node("Shape", self._public("input_ids"), start=1, end=2), 0)

    def _shift(self) -> Node:
        """(B, 1) where each text begins."""
        return self._ops.node("ArgMax", self._public("attention_mask"), axis=1, keepdims=1)

    def _count(self) -> Node:
        start, step = (self._ops.constant(np.int64(n)) for n in (0, 1))
        return self._ops.expand_dims(self._ops.node("Range", start, self["length"], step), 0)

    def _place(self) -> Node:
        return self._ops.node("Mod", self["count"] + self["shift"], self["length"])

    def back(self, states: Node) -> Node:
        """(B, T, D) where the texts stood when they were given."""
        place = self._ops.node("Mod", self["count"] - self["shift"], self["length"])
        return self._ops.node("GatherND", states, self._ops.expand_dims(place, 2), batch_dims=1)

    def _ids(self) -> Node:
        return self._given("input_ids", "I32")

    def _types(self) -> Node:
        return self._given("token_type_ids", "I32")

    def _mask(self) -> Node:
        return self._given("attention_mask", "BOOL")

    def _pool(self) -> Node:
        return self["mask"]

    def _index(self) -> Node:
        return self._ops.node("Cast", self._ops.squeeze(self["count"], 0), to=element("I32"))

    def _positions(self) -> Node:
        counted = self["mask"]
        if self._uncounted is not None:
            other = self._ops.node("Equal", self["ids"], self._ops.constant(np.int32(self._uncounted)))
            counted = self._ops.node("And", counted, self._ops.node("Not", other))
        numbers = self._ops.node("Cast", counted, to=element("I32"))
        return self._ops.node("CumSum", numbers, self._ops.constant(np.int64(1))) * numbers

    def _first(self) -> Node:
        return self._end(last=0)

    def _last(self) -> Node:
        return self._end(last=1)

    def _end(self, last: int) -> Node:
        mask = self._ops.node("Cast", self["mask"], to=element("I32"))
        found = self._ops.node("ArgMax", mask, axis=1, keepdims=0, select_last_index=last)
        return self._ops.node("Cast", found, to=element("I32"))


def write_model(
    path: Path,
    build: Build,
    dtype: Literal["float32", "int8"],
    uncounted: int | None,
    names: Mapping[str, str],
    width: int | None = None,
) -> None:
    """Write a graph as a file that ONNX Runtime runs; the weights are streamed from where they are mapped.

    Beyond 1 GB they are put into a second file beside it, `{name}_data`. Files that are there are replaced when the new
    ones are whole.

    Args:
        uncounted: the token that positions leave out.
        names: of the outputs, by what they are called in the graph.
        width: leading dimensions to keep of a text's vector, None all.
    """
    ops = OnnxOps(int8=dtype == "int8")
    feeds = _FromPublic(ops, uncounted)
    found = build(ops, feeds)
    if width is not None and "sentence_embedding" in found:
        found["sentence_embedding"] = ops.slice(found["sentence_embedding"], 1, 0, width)
    if "token_embeddings" in found:
        found["token_embeddings"] = feeds.back(found["token_embeddings"])
    outputs = {names[name]: node for name, node in found.items()}
    inputs = [
        onnx.helper.make_tensor_value_info(name, element("I64"), ["batch", "tokens"])
        for name in PUBLIC
        if name in feeds.public
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        made, data = Path(beside, path.name), Path(beside, f"{path.name}_data")
        outside = sum(tensor.array.nbytes for tensor in ops.tensors.values()) > _INSIDE
        tensors = _outside(data, ops.tensors) if outside else [_inside(*item) for item in ops.tensors.items()]
        made.write_bytes(assemble(ops, inputs, outputs, tensors).SerializeToString())
        if outside:
            path.unlink(missing_ok=True)  # never an old graph over new weights
            data.replace(path.with_name(data.name))
        made.replace(path)


def _inside(name: str, tensor: Tensor) -> Any:
    array = np.ascontiguousarray(tensor.array)
    return onnx.TensorProto(
        name=name, data_type=element(tensor.dtype), dims=tensor.shape, raw_data=array.data.tobytes()
    )


def _outside(path: Path, tensors: Mapping[str, Tensor]) -> list[Any]:
    """Write the tensors one after the other, and say where each lies."""
    protos = []
    with path.open("wb") as file:
        for name, tensor in tensors.items():
            file.seek(-(-file.tell() // _ALIGNED) * _ALIGNED)
            proto = onnx.TensorProto(name=name, data_type=element(tensor.dtype), dims=tensor.shape)
            proto.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", path.name), ("offset", file.tell()), ("length", tensor.array.nbytes)):
                proto.external_data.add(key=key, value=str(value))
            file.write(np.ascontiguousarray(tensor.array).data)
            protos.append(proto)
        file.flush()
        os.fsync(file.fileno())
    return protos


def optimise(source: Path, path: Path, level: Literal["O1", "O2", "O3"]) -> None:
    """Let ONNX Runtime rewrite a model's file for speed, and keep what it makes.

    Args:
        level: O1 folds and merges; O2 also fuses attention's and norms' operators into its own; O3 also takes a GELU
            that is near the exact one.
    """
    options = session_options(1)
    extended = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC if level == "O1" else extended
    if level == "O3":
        options.add_session_config_entry("optimization.enable_gelu_approximation", "1")
    if source.stat().st_size > _INSIDE or source.with_name(f"{source.name}_data").exists():
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{path.name}_data")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        options.optimized_model_filepath = str(Path(beside, path.name))
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        files = sorted(Path(beside).iterdir(), reverse=True)  # the weights first, where they lie outside
        if len(files) > 1:
            path.unlink(missing_ok=True)
        for file in files:
            file.replace(path.with_name(file.name))
