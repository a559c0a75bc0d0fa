"""The primitives as ONNX nodes (https://onnx.ai/onnx/operators), and their sessions in ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.base import INPUTS, Arrays, Build, Unary
from vicinal.backends.numpy import Done
from vicinal.errors import Unavailable
from vicinal.extras import require
from vicinal.loading.weights import Tensor
from vicinal.text.batches import padded

ort: Any = require("onnx", 'backend="onnx"')
onnx: Any = require("onnx", 'backend="onnx"', "onnx")

OPSET, _IR = 20, 10
"""Of the operators, the first that has Gelu; of the file format."""
_BLOCK = 64
"""Inputs of a linear layer that share a scale at int8."""
_LARGE = 1 << 20
"""Bytes of a table that is not copied."""
_TYPES: Mapping[str, str] = {
    "F64": "DOUBLE", "F32": "FLOAT", "F16": "FLOAT16", "BF16": "BFLOAT16",
    "I64": "INT64", "I32": "INT32", "I16": "INT16", "I8": "INT8", "U8": "UINT8", "BOOL": "BOOL",
}  # fmt: skip
_CPU = "CPUExecutionProvider"
_UNARY: Mapping[str, str] = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "sqrt": "Sqrt"}


def element(dtype: str) -> int:
    """The format's number for a type of a checkpoint ("F32") or of its own ("FLOAT")."""
    return int(onnx.TensorProto.DataType.Value(_TYPES.get(dtype, dtype)))


@dataclass(eq=False)
class Node:
    """A value of the graph, by its name there."""

    ops: OnnxOps
    name: str

    def __add__(self, other: Node) -> Node:
        return self.ops.node("Add", self, other)

    def __sub__(self, other: Node) -> Node:
        return self.ops.node("Sub", self, other)

    def __mul__(self, other: Node) -> Node:
        return self.ops.node("Mul", self, other)

    def __truediv__(self, other: Node) -> Node:
        return self.ops.node("Div", self, other)


class OnnxOps:
    """See `base.Ops`. Only operators of ONNX itself, but for the products of int8.

    Args:
        int8: keep the weights of linear layers as int8, with a scale for every `_BLOCK` inputs of an output.
    """

    def __init__(self, int8: bool = False) -> None:
        self._int8 = int8
        self._stored: dict[int, Node] = {}
        self.nodes: list[Any] = []
        self.small: list[Any] = []
        """Constants that stand in the graph itself."""
        self.tensors: dict[str, Tensor] = {}
        """Of the checkpoint, by their names in the graph, which has no copy of them."""
        self.folded: set[str] = set()
        """Those of them that are more than tables to look rows up in."""

    def node(self, kind: str, *inputs: Node, domain: str = "", **attributes: Any) -> Node:
        """A node of one output."""
        result = Node(self, f"n{len(self.nodes)}")
        names = [node.name for node in inputs]
        self.nodes.append(onnx.helper.make_node(kind, names, [result.name], domain=domain, **attributes))
        return result

    def _node(self, value: Any) -> Node:
        return self.constant(value) if isinstance(value, Tensor) else value

    def axes(self, axes: int | Sequence[int]) -> Node:
        """Whole numbers, as operators take them."""
        return self.constant(np.asarray(axes, np.int64))

    def constant(self, value: NDArray[Any] | np.generic | Tensor) -> Node:
        if isinstance(value, Tensor):
            node = self._tensor(value)
            self.folded.add(node.name)
            return self._widened(node, value)
        self.small.append(onnx.numpy_helper.from_array(np.asarray(value), f"c{len(self.small)}"))
        return Node(self, self.small[-1].name)

    def _tensor(self, tensor: Tensor) -> Node:
        """A tensor of the checkpoint as it is stored."""
        if id(tensor) not in self._stored:
            self._stored[id(tensor)] = Node(self, f"t{len(self.tensors)}")
            self.tensors[self._stored[id(tensor)].name] = tensor
        return self._stored[id(tensor)]

    def _widened(self, node: Node, tensor: Tensor) -> Node:
        if tensor.dtype in ("F32", "I64", "I32"):
            return node
        return self.node("Cast", node, to=element("F32"))

    def embed(self, table: Any, ids: Node) -> Node:
        if not isinstance(table, Tensor):
            return self.node("Gather", table, ids, axis=0)
        return self._widened(self.node("Gather", self._tensor(table), ids, axis=0), table)  # widen what is read alone

    def _spread(self, x: Node, like: Node) -> Node:
        lead = self.node("Shape", like, start=0, end=-1)
        return self.node("Expand", x, self.concat([lead, self.axes([1])], 0))

    def gather_last(self, x: Any, index: Node) -> Node:
        x = self._node(x)
        return self.node("GatherElements", self._spread(x, index), self._spread(index, x), axis=-1)

    def gather_token(self, x: Node, index: Node) -> Node:
        place = self.node("Cast", self.expand_dims(index, 1), to=element("I64"))
        return self.node("GatherND", x, place, batch_dims=1)

    def linear(self, x: Node, weight: Tensor, bias: Tensor | None = None, spared: bool = False) -> Node:
        y = self._quantised(x, weight) if self._int8 else self.matmul(x, weight, True)
        return y if bias is None else y + self._node(bias)

    def _quantised(self, x: Node, weight: Tensor) -> Node:
        """Weights (out, in) as int8 in blocks of inputs, each with its scale; activations likewise, as they come."""
        values = weight.numeric().astype(np.float32)
        rows, columns = values.shape
        blocks = -(-columns // _BLOCK)
        parts = np.pad(values, ((0, 0), (0, blocks * _BLOCK - columns))).reshape(rows, blocks, _BLOCK)
        scale = np.maximum(np.abs(parts).max(-1) / np.float32(127), np.float32(1e-12))
        small = (np.rint(parts / scale[..., None]) + 128).astype(np.uint8)
        weights = [self._tensor(Tensor.of(weight.name, array)) for array in (small, scale)]
        self.folded.update(node.name for node in weights)
        return self.node(
            "MatMulNBits", x, *weights, domain="com.microsoft", K=columns, N=rows, bits=8, block_size=_BLOCK,
            accuracy_level=4,
        )  # fmt: skip

    def matmul(self, a: Any, b: Any, transpose_b: bool = False) -> Node:
        if not transpose_b:
            return self.node("MatMul", self._node(a), self._node(b))
        if isinstance(b, Tensor):
            return self.node("MatMul", self._node(a), self._turned(b))
        return self.node("Einsum", self._node(a), b, equation="...id,...jd->...ij")

    def _turned(self, weight: Tensor) -> Node:
        """A matrix of the checkpoint, transposed: ONNX Runtime does it once, as it packs it for its kernels."""
        return self.transpose(weight, (1, 0))

    def attention(self, q: Node, k: Node, v: Node, bias: Node | None, scale: float, groups: int = 1) -> Node:
        if groups > 1:
            k, v = self._repeat(k, groups), self._repeat(v, groups)
        scores = self.node("MatMul", q, self.transpose(k, (0, 1, 3, 2))) * self.constant(np.float32(scale))
        if bias is not None:
            scores = scores + bias
        return self.node("MatMul", self.node("Softmax", scores, axis=-1), v)

    def _repeat(self, x: Node, groups: int) -> Node:
        wide = self.node("Expand", self.expand_dims(x, 2), self.axes([1, 1, groups, 1, 1]))
        return self.node("Reshape", wide, self.concat([self.axes([0, -1]), self.node("Shape", x, start=2)], 0))

    def layer_norm(self, x: Node, weight: Tensor, bias: Tensor | None, eps: float) -> Node:
        given = [self._node(tensor) for tensor in (weight, bias) if tensor is not None]
        return self.node("LayerNormalization", x, *given, axis=-1, epsilon=eps)

    def rms_norm(self, x: Node, weight: Tensor, eps: float) -> Node:
        size = self.node("Sqrt", self.reduce("mean", x * x, -1) + self.constant(np.float32(eps)))
        return x / size * self._node(weight)

    def normalize(self, x: Node, eps: float = 1e-12) -> Node:
        length = self.node("Sqrt", self.reduce("sum", x * x, -1))
        return x / self.node("Max", length, self.constant(np.float32(eps)))

    def unary(self, kind: Unary, x: Node) -> Node:
        if kind.startswith("gelu"):
            return self.node("Gelu", x, approximate="tanh" if kind == "gelu_tanh" else "none")
        return x * self.node("Sigmoid", x) if kind == "silu" else self.node(_UNARY[kind], x)

    def where(self, condition: Node, a: Node, b: Node) -> Node:
        return self.node("Where", condition, a, b)

    def less_equal(self, a: Node, b: Node) -> Node:
        return self.node("LessOrEqual", a, b)

    def split_heads(self, x: Node, heads: int) -> Node:
        return self.transpose(self.node("Reshape", x, self.axes([0, 0, heads, -1])), (0, 2, 1, 3))

    def merge_heads(self, x: Node) -> Node:
        return self.node("Reshape", self.transpose(x, (0, 2, 1, 3)), self.axes([0, 0, -1]))

    def transpose(self, x: Any, axes: Sequence[int]) -> Node:
        return self.node("Transpose", self._node(x), perm=axes)

    def expand_dims(self, x: Any, *axes: int) -> Node:
        return self.node("Unsqueeze", self._node(x), self.axes(axes))

    def squeeze(self, x: Node, axis: int) -> Node:
        return self.node("Squeeze", x, self.axes([axis]))

    def slice(self, x: Any, axis: int, start: int, stop: int) -> Node:
        return self.node("Slice", self._node(x), *(self.axes([n]) for n in (start, stop, axis)))

    def concat(self, xs: Sequence[Node], axis: int) -> Node:
        return self.node("Concat", *xs, axis=axis)

    def reduce(self, kind: Literal["sum", "mean", "max"], x: Node, axis: int) -> Node:
        return self.node(f"Reduce{kind.capitalize()}", x, self.axes([axis]), keepdims=1)


class _Inputs(dict[str, Node]):
    """Makes an input of the graph when a network first reads it."""

    def __init__(self, ops: OnnxOps) -> None:
        super().__init__()
        self._ops = ops

    def __missing__(self, name: str) -> Node:
        self[name] = Node(self._ops, name)
        return self[name]

    def described(self) -> list[Any]:
        """Their types, every axis of any length."""
        kinds = {np.int32: "I32", np.bool_: "BOOL"}
        return [
            onnx.helper.make_tensor_value_info(name, element(kinds[INPUTS[name][0]]), [None] * INPUTS[name][1])
            for name in self
        ]


def assemble(ops: OnnxOps, inputs: Sequence[Any], outputs: Mapping[str, Node], tensors: Sequence[Any]) -> Any:
    """The model of a graph whose nodes were made.

    Args:
        inputs: their descriptions.
        outputs: by name.
        tensors: the checkpoint's, as the format has them, with their values or without.
    """
    ends = [onnx.helper.make_node("Identity", [node.name], [name]) for name, node in outputs.items()]
    infos = [onnx.helper.make_tensor_value_info(name, element("F32"), None) for name in outputs]
    nodes, used = _needed([*ops.nodes, *ends])
    constants = [constant for constant in (*ops.small, *tensors) if constant.name in used]
    graph = onnx.helper.make_graph(nodes, "vicinal", inputs, infos, constants)
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="vicinal")


def _needed(nodes: Sequence[Any]) -> tuple[list[Any], set[str]]:
    """Nodes, in order, without those that nothing reads; and the names of all that is read. The last are the ends."""
    used: set[str] = set()
    kept = []
    for node in reversed(nodes):
        if node.op_type == "Identity" or not used.isdisjoint(node.output):
            kept.append(node)
            used.update(node.input)
    return kept[::-1], used


def _elsewhere(name: str, tensor: Tensor) -> Any:
    """A tensor whose values the session is given by itself."""
    proto = onnx.TensorProto(name=name, data_type=element(tensor.dtype), dims=tensor.shape)
    proto.data_location = onnx.TensorProto.EXTERNAL
    proto.external_data.add(key="location", value=name)
    return proto


class OnnxProgram:
    """A session; threads share it.

    Args:
        tables: inputs that are the same for every batch.
        kept: what must live as long as the session, which reads its memory.
    """

    batches = staticmethod(padded)

    def __init__(self, session: Any, tables: dict[str, Any], kept: list[Any], outputs: tuple[str, ...]) -> None:
        self._session, self._tables, self._kept, self._process = session, tables, kept, os.getpid()
        self.inputs, self.outputs = frozenset(entry.name for entry in session.get_inputs()) - set(tables), outputs

    def start(self, feeds: Arrays, wait: bool) -> Done:
        if os.getpid() != self._process:
            raise Unavailable(
                "this model was loaded before the process forked, and its threads are not here: load it in each "
                "worker, or start workers with 'spawn'"
            )
        given = {name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(feeds[name])) for name in self.inputs}
        found = self._session.run_with_ort_values(self.outputs, {**given, **self._tables})
        return Done({name: value.numpy() for name, value in zip(self.outputs, found, strict=True)})


def session_options(threads: int) -> Any:
    """How a session runs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # a plan for every shape ever met would grow without end
    options.log_severity_level = 3  # errors
    return options


def provider_name(wished: str | None) -> str:
    """The execution provider that a wish names; None is the processor's.

    Raises:
        Unavailable: this installation has none of that name; those that it has are listed.
    """
    there = ort.get_available_providers()
    if wished is None:
        return _CPU
    if wished not in there:
        raise Unavailable(
            f"execution provider {wished!r} is not in the installed onnxruntime {ort.__version__}, which has "
            f"{', '.join(there)}. GPUs need another build of it: pip install onnxruntime-gpu in its place."
        )
    return wished


def recipe(dtype: Literal["float32", "bfloat16", "int8"]) -> str:
    """How vectors are computed in a dtype, in words that change when the numbers do."""
    return dtype if dtype != "int8" else f"int8 weights and activations in blocks of {_BLOCK} inputs, the rest float32"


def session(
    ops: OnnxOps,
    inputs: Sequence[Any],
    outputs: Mapping[str, Node],
    threads: int,
    provider: str | None = None,
    provider_options: Mapping[str, Any] | None = None,
) -> OnnxProgram:
    """A session of a graph whose nodes were made.

    Weights are read from the checkpoint's own memory, to be packed. Large tables of embeddings stay there: as inputs,
    since a session copies what it is given as its own.
    """
    tables = {}
    if provider_name(provider) == _CPU:
        tables = {n: t for n, t in ops.tensors.items() if n not in ops.folded and t.array.nbytes >= _LARGE}
    weights = {name: tensor for name, tensor in ops.tensors.items() if name not in tables}
    described = [onnx.helper.make_tensor_value_info(n, element(t.dtype), t.shape) for n, t in tables.items()]
    model = assemble(ops, [*inputs, *described], outputs, [_elsewhere(*item) for item in weights.items()])
    options = session_options(threads)
    values = {name: _value(tensor) for name, tensor in weights.items()}
    options.add_external_initializers(list(values), list(values.values()))
    made = opened(model.SerializeToString(), options, provider, provider_options or {})
    return OnnxProgram(made, {n: _value(t) for n, t in tables.items()}, [values, ops.tensors], tuple(outputs))


def opened(model: str | bytes, options: Any, provider: str | None, provider_options: Mapping[str, Any]) -> Any:
    """A session on the provider that is wished, with the processor's for what it cannot run.

    Raises:
        Unavailable: ONNX Runtime left the provider out, as it does where a library of its own is missing.
    """
    name = provider_name(provider)
    made = ort.InferenceSession(
        model, options, providers=[(name, dict(provider_options)), *([] if name == _CPU else [_CPU])]
    )
    if name not in (there := made.get_providers()):
        raise Unavailable(
            f"execution provider {name!r} could not be loaded (its libraries are missing, or fit no device here: see "
            f"what onnxruntime says above); the session would run on {', '.join(there)}"
        )
    return made


def compile_graph(
    build: Build,
    dtype: Literal["float32", "bfloat16", "int8"],
    threads: int,
    provider: str | None = None,
    provider_options: Mapping[str, Any] | None = None,
) -> OnnxProgram:
    """Lower a graph to ONNX and make a session of it.

    Args:
        dtype: float32, or int8 for the products of linear layers.
        threads: processor threads to use.
        provider: execution provider, by name; what it cannot run falls to the processor, as ONNX Runtime has it.
        provider_options: its own.
    """
    ops = OnnxOps(int8=dtype == "int8")
    inputs = _Inputs(ops)
    outputs = build(ops, inputs)
    return session(ops, inputs.described(), outputs, threads, provider, provider_options)


def _value(tensor: Tensor) -> Any:
    """A tensor as sessions take it, over its own memory."""
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(tensor.array), element(tensor.dtype))
