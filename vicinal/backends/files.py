"""Runs a network that another program exported; what comes after it is computed in NumPy."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.base import Arrays, Build
from vicinal.backends.numpy import Done, NumpyOps, inputs_read
from vicinal.errors import DamagedModel, Unavailable, UnsupportedModel
from vicinal.loading.exported import Exported
from vicinal.text.batches import padded

_STATES = ("last_hidden_state", "token_embeddings")
_QUANTISED = {"MatMulInteger", "MatMulNBits", "QLinearMatMul", "DynamicQuantizeMatMul", "DequantizeLinear", "QGemm",
              "MatMulIntegerToFloat"}  # fmt: skip
Run = Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]]


def _public(feeds: Arrays) -> Mapping[str, Callable[[], NDArray[Any]]]:
    """A file's inputs, by the names that exporters give them."""
    return {
        "input_ids": lambda: feeds["ids"],
        "attention_mask": lambda: feeds["mask"],
        "token_type_ids": lambda: feeds["types"],
        "position_ids": lambda: np.maximum(feeds["positions"] - 1, 0),
    }


_NEEDS = {"input_ids": "ids", "attention_mask": "mask", "token_type_ids": "types", "position_ids": "positions"}


class FileProgram:
    """A file's token states, and the rest of a model's graph on them.

    Args:
        run: gives the token states (B, T, width).
        types: of the file's inputs, by name.
        build: the graph, which reads the input "states".
        width: of a token state.
    """

    batches = staticmethod(padded)

    def __init__(self, run: Run, types: Mapping[str, Any], build: Build, width: int) -> None:
        self._run, self._types, self._build, self._ops = run, types, build, NumpyOps()
        read = inputs_read(build, states=np.zeros((1, 1, width), np.float32))
        self.inputs = (read | {_NEEDS[name] for name in types}) - {"states"}

    def start(self, feeds: Arrays, wait: bool) -> Done:
        given = _public(feeds)
        states = self._run({name: given[name]().astype(kind) for name, kind in self._types.items()})
        return Done(self._build(self._ops, {**feeds, "states": np.asarray(states, np.float32)}))


def compile_file(module: Exported, build: Build, dtype: str, threads: int, settings: Mapping[str, Any]) -> FileProgram:
    """The program of a model whose network is a file.

    Raises:
        UnsupportedModel: the file asks for inputs that are not known, or gives no token states.
        DamagedModel: it cannot be read, or its states have another width than the configuration says.
    """
    load = _openvino if module.kind == "openvino" else _onnx
    run, types = load(module.file, dtype, threads, settings)
    if strange := [name for name in types if name not in _NEEDS]:
        raise UnsupportedModel(f"{module.file} asks for {', '.join(strange)}; given are {', '.join(_NEEDS)}")
    width = module.network.hidden_size
    one = run({name: np.ones((1, 1), kind) for name, kind in types.items()})
    if one.shape != (1, 1, width):
        raise DamagedModel(f"{module.file} makes {one.shape} of one token; the configuration says (1, 1, {width})")
    return FileProgram(run, types, build, width)


def _states(path: Path, outputs: Mapping[str, int | None]) -> str:
    """The output that has the token states, of outputs with so many axes."""
    for name in (*_STATES, *(name for name, axes in outputs.items() if axes == 3)):
        if name in outputs:
            return name
    raise UnsupportedModel(f"{path} gives {', '.join(outputs)}: none is token states ({' or '.join(_STATES)})")


def _onnx(path: Path, dtype: str, threads: int, settings: Mapping[str, Any]) -> tuple[Run, dict[str, Any]]:
    from vicinal.backends.onnx import opened, session_options

    wish = settings.get("provider"), settings.get("provider_options") or {}
    try:
        session = opened(str(path), session_options(threads), *wish)
    except Unavailable:
        raise
    except Exception as error:  # its errors have no base of their own
        raise DamagedModel(f"{path} cannot be loaded: {error}") from error
    kinds = {
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
        "tensor(bool)": np.bool_,
        "tensor(float)": np.float32,
        "tensor(float16)": np.float16,
    }
    if strange := [f"{entry.name}: {entry.type}" for entry in session.get_inputs() if entry.type not in kinds]:
        raise UnsupportedModel(f"{path} asks for {', '.join(strange)}; given can be {', '.join(kinds)}")
    types = {entry.name: kinds[entry.type] for entry in session.get_inputs()}
    axes = {entry.name: len(entry.shape) if entry.shape else None for entry in session.get_outputs()}
    name = _states(path, axes)
    return lambda feeds: session.run([name], dict(feeds))[0], types


def _openvino(path: Path, dtype: str, threads: int, settings: Mapping[str, Any]) -> tuple[Run, dict[str, Any]]:
    from vicinal.backends.openvino import configuration, core

    try:
        model = core().read_model(path)
    except RuntimeError as error:
        raise DamagedModel(f"{path} cannot be loaded: {error}") from error
    ports = {name: port for port in model.outputs for name in port.get_names()}
    axes = {
        name: port.get_partial_shape().rank.get_length() if port.get_partial_shape().rank.is_static else None
        for name, port in ports.items()
    }
    wished = configuration(dtype, threads, settings.get("ov_config"))
    compiled = core().compile_model(model, "CPU", wished)
    port = compiled.output(_states(path, axes))
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run(feeds: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        try:
            request = free.get_nowait()
        except queue.Empty:
            request = compiled.create_infer_request()
        states = np.array(request.infer(dict(feeds))[port], np.float32)
        free.put(request)
        return states

    return run, {entry.get_any_name(): entry.get_element_type().to_dtype().type for entry in model.inputs}


def stored_dtype(path: Path) -> Literal["float32", "float16", "int8"]:
    """What a file's products are of: int8 where some are; for ONNX, float16 where most weights are.

    OpenVINO's files keep weights in float16 that it computes with in the dtype that it is told.

    Raises:
        DamagedModel: it cannot be read.
    """
    if path.suffix == ".onnx":
        from vicinal.backends.onnx import onnx

        try:
            model = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # whatever protobuf says of bytes that are none of its own
            raise DamagedModel(f"{path} cannot be read: {error}") from error
        if _QUANTISED & {node.op_type for node in model.graph.node}:
            return "int8"
        half = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
        products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
        return "float16" if any(half.intersection(node.input) for node in products) else "float32"
    from vicinal.backends.openvino import core

    try:
        operations = core().read_model(path).get_ops()
    except RuntimeError as error:
        raise DamagedModel(f"{path} cannot be read: {error}") from error
    small = {"i8", "u8", "i4", "u4"}
    kinds = {op.get_element_type().get_type_name() for op in operations if op.get_type_name() == "Constant"}
    return "int8" if small & kinds or "FakeQuantize" in {op.get_type_name() for op in operations} else "float32"
