"""The primitives as OpenVINO nodes, and compiled graphs on the CPU (https://docs.openvino.ai)."""

from __future__ import annotations

import os
import queue
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.base import INPUTS, Arrays, Build, Unary
from vicinal.backends.silent import import_openvino
from vicinal.errors import Unavailable
from vicinal.loading.weights import Tensor
from vicinal.text.batches import padded

ov = import_openvino()
op = ov.opset13

Node = Any

_TYPES: Mapping[type[Any], Any] = {np.int32: ov.Type.i32, np.bool_: ov.Type.boolean}
_GROUP = 128
"""Inputs of a linear layer that share a scale at int8."""


class OpenVinoOps:
    """See `base.Ops`. Handles are nodes of one output; arithmetic is theirs.

    Args:
        int8: keep the weights of linear layers that are not spared as int8, with a scale for every `_GROUP` inputs of
            an output.
    """

    def __init__(self, int8: bool = False) -> None:
        self._int8 = int8
        self._nodes: dict[int, Node] = {}
        self.kept: list[Any] = []
        """Arrays whose memory the graph shares: they must live as long as it does."""

    def _node(self, value: Any) -> Node:
        return self.constant(value) if isinstance(value, Tensor) else value

    def _axes(self, axes: int | Sequence[int]) -> Node:
        return op.constant(np.asarray(axes, np.int64))

    def constant(self, value: NDArray[Any] | np.generic | Tensor) -> Node:
        if not isinstance(value, Tensor):
            return op.constant(np.asarray(value))
        if id(value) not in self._nodes:
            self._nodes[id(value)] = self._widened(self._stored(value), value)
        return self._nodes[id(value)]

    def _stored(self, tensor: Tensor) -> Node:
        """A constant over the checkpoint's own memory, of its own type."""
        self.kept.append(tensor)
        if tensor.dtype != "BF16":
            return ov.op.Constant(tensor.array, shared_memory=True)
        bits = ov.Tensor(tensor.array, list(tensor.shape), ov.Type.bf16)
        self.kept.append(bits)
        return ov.op.Constant(bits, shared_memory=True)

    def _widened(self, node: Node, tensor: Tensor) -> Node:
        if tensor.dtype in ("F32", "I64", "I32"):
            return node
        node = op.convert(node, "f32")
        if tensor.dtype in ("BF16", "F16") and len(tensor.shape) > 1:
            # Marked as what undoes a compression, so that the plugin leaves the constant as it is and makes no float32
            # copy of it: a checkpoint's two bytes a number then have only the kernels' own layout beside them.
            node.get_rt_info()["decompression_0"] = True
        return node

    def embed(self, table: Any, ids: Node) -> Node:
        if not isinstance(table, Tensor):
            return op.gather(table, ids, self._axes(0))
        return self._widened(op.gather(self._stored(table), ids, self._axes(0)), table)  # widen what is read alone

    def _spread(self, x: Node, like: Node) -> Node:
        lead = op.slice(op.shape_of(like), self._axes([0]), self._axes([-1]), self._axes([1]))
        return op.broadcast(x, op.concat([lead, self._axes([1])], 0), broadcast_spec="BIDIRECTIONAL")

    def gather_last(self, x: Any, index: Node) -> Node:
        x = self._node(x)
        return op.gather_elements(self._spread(x, index), self._spread(index, x), -1)

    def gather_token(self, x: Node, index: Node) -> Node:
        picked = op.gather(x, op.unsqueeze(index, self._axes(1)), self._axes(1), 1)
        return op.squeeze(picked, self._axes(1))

    def linear(self, x: Node, weight: Tensor, bias: Tensor | None = None, spared: bool = False) -> Node:
        y = op.matmul(x, self._small(weight) if self._int8 and not spared else self._node(weight), False, True)
        return y if bias is None else y + self._node(bias)

    def _small(self, weight: Tensor) -> Node:
        """A weight (out, in) as int8 in groups of inputs, each with its scale: what the int8 kernels look for."""
        values = weight.numeric()
        rows, columns = values.shape
        group = _GROUP if columns % _GROUP == 0 else columns
        parts = values.reshape(rows, -1, group)
        scale = np.maximum(np.abs(parts).max(-1, keepdims=True) / 127, np.float32(1e-12)).astype(np.float32)
        small = op.constant(np.rint(parts / scale).astype(np.int8))
        wide = op.convert(small, "f32") * op.constant(scale)
        return op.reshape(wide, self._axes([rows, columns]), False)

    def matmul(self, a: Any, b: Any, transpose_b: bool = False) -> Node:
        return op.matmul(self._node(a), self._node(b), False, transpose_b)

    def attention(self, q: Node, k: Node, v: Node, bias: Node | None, scale: float, groups: int = 1) -> Node:
        if groups > 1:
            k, v = self._repeat(k, groups), self._repeat(v, groups)
        if bias is None:
            bias = op.constant(np.float32(0))
        return op.scaled_dot_product_attention(q, k, v, bias, op.constant(np.float32(scale)))

    def _repeat(self, x: Node, groups: int) -> Node:
        wide = op.unsqueeze(x, self._axes(2))
        wide = op.broadcast(wide, self._axes([1, 1, groups, 1, 1]), broadcast_spec="BIDIRECTIONAL")
        tail = op.slice(op.shape_of(x), self._axes([2]), self._axes([4]), self._axes([1]))
        return op.reshape(wide, op.concat([self._axes([0, -1]), tail], 0), True)

    def layer_norm(self, x: Node, weight: Tensor, bias: Tensor | None, eps: float) -> Node:
        y = op.mvn(x, self._axes([-1]), True, eps, "INSIDE_SQRT") * self._node(weight)
        return y if bias is None else y + self._node(bias)

    def rms_norm(self, x: Node, weight: Tensor, eps: float) -> Node:
        mean = op.reduce_mean(x * x, self._axes([-1]), True)
        return x / op.sqrt(mean + op.constant(np.float32(eps))) * self._node(weight)

    def normalize(self, x: Node, eps: float = 1e-12) -> Node:
        length = op.sqrt(op.reduce_sum(x * x, self._axes([-1]), True))
        return x / op.maximum(length, op.constant(np.float32(eps)))

    def unary(self, kind: Unary, x: Node) -> Node:
        if kind.startswith("gelu"):
            return op.gelu(x, "TANH" if kind == "gelu_tanh" else "ERF")
        return op.swish(x) if kind == "silu" else getattr(op, kind)(x)

    def where(self, condition: Node, a: Node, b: Node) -> Node:
        return op.select(condition, a, b)

    def less_equal(self, a: Node, b: Node) -> Node:
        return op.less_equal(a, b)

    def split_heads(self, x: Node, heads: int) -> Node:
        return self.transpose(op.reshape(x, self._axes([0, 0, heads, -1]), True), (0, 2, 1, 3))

    def merge_heads(self, x: Node) -> Node:
        return op.reshape(self.transpose(x, (0, 2, 1, 3)), self._axes([0, 0, -1]), True)

    def transpose(self, x: Any, axes: Sequence[int]) -> Node:
        return op.transpose(self._node(x), self._axes(axes))

    def expand_dims(self, x: Any, *axes: int) -> Node:
        return op.unsqueeze(self._node(x), self._axes(sorted(axes)))

    def squeeze(self, x: Node, axis: int) -> Node:
        return op.squeeze(x, self._axes(axis))

    def slice(self, x: Any, axis: int, start: int, stop: int) -> Node:
        ends = (self._axes([n]) for n in (start, stop, 1, axis))
        return op.slice(self._node(x), *ends)

    def concat(self, xs: Sequence[Node], axis: int) -> Node:
        return op.concat(list(xs), axis)

    def reduce(self, kind: Literal["sum", "mean", "max"], x: Node, axis: int) -> Node:
        return getattr(op, f"reduce_{kind}")(x, self._axes([axis]), True)


class _Inputs(dict[str, Node]):
    """Makes an input of the graph when a network first reads it."""

    def __missing__(self, name: str) -> Node:
        kind, axes = INPUTS[name]
        node = op.parameter(ov.PartialShape([-1] * axes), _TYPES[kind], name)
        node.output(0).get_tensor().set_names({name})
        self[name] = node
        return node


_core: Any = None


def core() -> Any:
    """The process's one OpenVINO runtime."""
    global _core
    if _core is None:
        _core = ov.Core()
    return _core


def has_bfloat16() -> bool:
    """Whether the processor computes with bfloat16 in hardware (AVX-512 BF16, AMX)."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def recipe(dtype: Literal["float32", "bfloat16", "int8"]) -> str:
    """How vectors are computed in a dtype, in words that change when the numbers do."""
    if dtype != "int8":
        return dtype
    rest = "bfloat16" if has_bfloat16() else "float32"
    return f"int8 weights and activations in groups of {_GROUP} inputs where a layer is not spared, the rest {rest}"


class OpenVinoProgram:
    """A compiled graph with a few requests that callers take in turn."""

    batches = staticmethod(padded)

    def __init__(self, model: Any, kept: list[Any], inputs: frozenset[str], outputs: tuple[str, ...]) -> None:
        self.inputs, self.outputs, self._kept = inputs, outputs, kept
        self._model, self._process = model, os.getpid()
        # One request computes a stream's batch while the next is being prepared.
        requests = model.get_property("NUM_STREAMS") + 1
        self.free: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(requests):
            self.free.put(model.create_infer_request())

    def start(self, feeds: Arrays, wait: bool) -> _Running | None:
        if os.getpid() != self._process:
            raise Unavailable(
                "this model was loaded before the process forked, and its threads are not here: load it in each "
                "worker, or start workers with 'spawn'"
            )
        try:
            request = self.free.get(block=wait)
        except queue.Empty:
            return None
        try:
            request.start_async({name: feeds[name] for name in self.inputs}, share_inputs=True)
        except BaseException:
            self.free.put(request)
            raise
        return _Running(self, request, feeds)


@dataclass(eq=False)
class _Running:
    """A batch in a request; holds on to the arrays that it reads."""

    program: OpenVinoProgram
    request: Any
    feeds: Arrays

    def result(self) -> Arrays:
        try:
            self.request.wait()
            return {
                name: self.request.get_output_tensor(i).data.astype(np.float32, copy=True)
                for i, name in enumerate(self.program.outputs)
            }
        finally:
            self.program.free.put(self.request)

    def abandon(self) -> None:
        with suppress(RuntimeError):
            self.result()


def configuration(dtype: str, threads: int, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """OpenVINO's settings for a dtype.

    Args:
        own: the user's, which go before.

    Raises:
        Unavailable: the processor has no bfloat16, or OpenVINO does not know one of the user's settings.
    """
    if dtype == "bfloat16" and not has_bfloat16():
        name = core().get_property("CPU", "FULL_DEVICE_NAME")
        raise Unavailable(
            f'dtype="bfloat16" needs a processor that computes with it (AVX-512 BF16 or AMX); {name} does not. '
            'Use dtype="float32", or "auto".'
        )
    known = core().get_property("CPU", "SUPPORTED_PROPERTIES")
    if unknown := [name for name in own or {} if known.get(name) != "RW"]:
        settable = ", ".join(sorted(name for name, access in known.items() if access == "RW"))
        raise Unavailable(f"ov_config: OpenVINO lets nobody set {', '.join(unknown)} here, but {settable}")
    half = dtype == "bfloat16" or (dtype == "int8" and has_bfloat16())
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": max(1, threads // 8),
        "ENABLE_CPU_PINNING": False,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP if dtype == "int8" else 0,
        **(own or {}),
    }


def compile_graph(
    build: Build,
    dtype: Literal["float32", "bfloat16", "int8"],
    threads: int,
    ov_config: Mapping[str, Any] | None = None,
) -> OpenVinoProgram:
    """Lower a graph to OpenVINO and compile it for the CPU.

    Args:
        dtype: of the products; inputs, outputs and sums of products are float32 everywhere. int8 keeps the weights in
            int8 and quantises the activations as they come, the rest in bfloat16 where the processor has it.
        threads: processor threads to use.
        ov_config: settings of OpenVINO's own, by name.

    Raises:
        Unavailable: the processor has no bfloat16, or a setting is not known.
    """
    config = configuration(dtype, threads, ov_config)
    ops = OpenVinoOps(int8=dtype == "int8")
    inputs = _Inputs()
    outputs = build(ops, inputs)
    results = [op.result(node) for node in outputs.values()]
    model = ov.Model(results, list(inputs.values()), "vicinal")
    compiled = core().compile_model(model, "CPU", config)
    return OpenVinoProgram(compiled, ops.kept, frozenset(inputs), cast(tuple[str, ...], tuple(outputs)))
