"""The primitives one by one: NumPy against plain Python, OpenVINO against NumPy."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import numpy as np
import openvino as ov
import openvino.opset13 as op
import pytest
from numpy.typing import NDArray

from vicinal.backends import onnx as onnx_backend
from vicinal.backends import openvino as backend
from vicinal.backends.base import Ops, Unary
from vicinal.backends.numpy import NumpyOps
from vicinal.loading.weights import Tensor

Array = NDArray[Any]
rng = np.random.default_rng(11)


def normal(*shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape).astype(np.float32)


def weight(*shape: int) -> Tensor:
    return Tensor.of("w", normal(*shape))


def bfloat16(array: Array) -> Tensor:
    return Tensor("w", "BF16", (array.view(np.uint32) >> 16).astype(np.uint16))


# B texts, T tokens, D width, H heads, d head width: primes, all different.
B, T, D, H, d = 3, 7, 11, 5, 2
X, Y = normal(B, T, D), normal(B, T, D)
HEADS = normal(B, T, H * d)
EXTREME = np.array([-300, -88.9, -20, -5, -1, -1e-6, 0, 1e-6, 1, 5, 20, 88.9, 300], np.float32)
POSITIVE = np.array([0, 1e-30, 0.25, 2, 3e7], np.float32)
Q, K, V = normal(B, 6, T, d), normal(B, 2, T, d), normal(B, 2, T, d)
IDS = rng.integers(0, 13, (B, T)).astype(np.int32)
TABLE, WEIGHT, BIAS, WIDE = weight(13, D), weight(17, D), weight(17), weight(D)
HALF, BRAIN = Tensor.of("h", normal(13, D).astype(np.float16)), bfloat16(normal(13, D))
BYTES = Tensor.of("b", rng.integers(-128, 128, (13, D)).astype(np.int8))
BASE, INDEX = normal(1, 1, 19), rng.integers(0, 19, (B, T, 23)).astype(np.int32)
PLACES = np.array([6, 0, 3], np.int32)
SEEN = np.arange(T) < np.array([[7], [1], [4]])
MASK = np.where(SEEN, 0, -1e30).astype(np.float32)[:, None, None]
BLIND = np.full((B, 1, 1, T), -1e30, np.float32)
DUMB = np.zeros((B, T, D), np.float32)


def value(tensor: Tensor) -> Array:
    """A tensor in float64, bfloat16 from its bits."""
    if tensor.dtype == "BF16":
        bits = [int(n) << 16 for n in tensor.array.ravel()]
        return np.array(bits, np.uint32).view(np.float32).astype(np.float64).reshape(tensor.shape)
    return tensor.array.astype(np.float64)


def pointwise(function: Callable[[float], float]) -> Callable[..., Array]:
    return lambda x: np.array([function(float(v)) for v in x.ravel()]).reshape(x.shape)


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v))


def rows(function: Callable[[list[float]], list[float]]) -> Callable[..., Array]:
    """A function of lists of floats along the last axis."""
    return lambda x: np.array([function(r.tolist()) for r in x.reshape(-1, x.shape[-1])]).reshape(x.shape)


def layer_norm(eps: float, shift: bool = True) -> Callable[[list[float]], list[float]]:
    def of(row: list[float]) -> list[float]:
        mean = sum(row) / len(row)
        variance = sum((v - mean) ** 2 for v in row) / len(row)
        w, b = value(WIDE), value(WIDE) if shift else np.zeros(D)
        return [(v - mean) / math.sqrt(variance + eps) * w[i] + b[i] for i, v in enumerate(row)]

    return of


def rms_norm(row: list[float]) -> list[float]:
    size = math.sqrt(sum(v * v for v in row) / len(row) + 0.1)
    return [v / size * w for v, w in zip(row, value(WIDE), strict=True)]


def unit(row: list[float]) -> list[float]:
    length = max(math.sqrt(sum(v * v for v in row)), 1e-12)
    return [v / length for v in row]


def attention(q: Array, k: Array, v: Array, bias: Array | None, scale: float, groups: int) -> Array:
    result = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h, i in np.ndindex(q.shape[:3]):
        keys, values = k[b, h // groups].astype(float), v[b, h // groups].astype(float)
        scores = [float(q[b, h, i].astype(float) @ key) * scale for key in keys]
        if bias is not None:
            seen = np.broadcast_to(bias, (*q.shape[:3], len(keys)))[b, h, i]
            scores = [s + float(a) for s, a in zip(scores, seen, strict=True)]
        weights = [math.exp(s - max(scores)) for s in scores]
        result[b, h, i] = sum(w * row for w, row in zip(weights, values, strict=True)) / sum(weights)
    return result


class Case(NamedTuple):
    """`build(ops, *arrays)` must be `expected(*arrays)`; `primitive` is the one that is tested."""

    primitive: str
    what: str
    build: Callable[..., Any]
    arrays: tuple[Array, ...]
    expected: Callable[..., Array]
    tolerance: float = 2e-6


CASES = [
    Case("constant", "array", lambda o, x: x + o.constant(Y), (X,), lambda x: x + Y),
    Case("constant", "number", lambda o, x: x * o.constant(np.float32(3)), (X,), lambda x: x * 3),
    Case("constant", "float32 tensor", lambda o, x: x + o.constant(WIDE), (X,), lambda x: x + value(WIDE)),
    Case("constant", "float16 tensor", lambda o, x: o.concat([x, o.constant(HALF)], 0), (X[0],),
         lambda x: np.concatenate([x, value(HALF)])),
    Case("constant", "bfloat16 tensor", lambda o, x: o.concat([x, o.constant(BRAIN)], 0), (X[0],),
         lambda x: np.concatenate([x, value(BRAIN)])),
    Case("embed", "tensor", lambda o, i: o.embed(TABLE, i), (IDS,), lambda i: value(TABLE)[i]),
    Case("embed", "float16", lambda o, i: o.embed(HALF, i), (IDS,), lambda i: value(HALF)[i]),
    Case("embed", "bfloat16", lambda o, i: o.embed(BRAIN, i), (IDS,), lambda i: value(BRAIN)[i]),
    Case("embed", "int8, scaled", lambda o, i: o.embed(BYTES, i) * o.constant(np.float32(0.5)), (IDS,),
         lambda i: value(BYTES)[i] * 0.5),
    Case("embed", "handle, one axis", lambda o, t, i: o.embed(t, i), (X[0], PLACES), lambda t, i: t[i]),
    Case("embed", "constant", lambda o, i: o.embed(o.constant(Y), i), (IDS % B,), lambda i: Y[i]),
    Case("gather_last", "x broadcasts", lambda o, x, i: o.gather_last(x, i), (BASE, INDEX),
         lambda x, i: np.array([x[0, 0, n] for n in i.ravel()]).reshape(i.shape)),
    Case("gather_last", "index broadcasts", lambda o, x, i: o.gather_last(x, i), (X, INDEX[:1, :1] % D),
         lambda x, i: x[..., i[0, 0]]),
    Case("gather_last", "tensor", lambda o, i: o.gather_last(WIDE, i), (INDEX[0, 0] % D,), lambda i: value(WIDE)[i]),
    Case("gather_token", "", lambda o, x, i: o.gather_token(x, i), (X, PLACES),
         lambda x, i: np.stack([x[0, 6], x[1, 0], x[2, 3]])),
    Case("linear", "bias", lambda o, x: o.linear(x, WEIGHT, BIAS), (X,), lambda x: x @ value(WEIGHT).T + value(BIAS)),
    Case("linear", "no bias", lambda o, x: o.linear(x, WEIGHT), (X[0],), lambda x: x @ value(WEIGHT).T),
    Case("linear", "float16", lambda o, x: o.linear(x, HALF), (X,), lambda x: x @ value(HALF).T),
    Case("linear", "bfloat16", lambda o, x: o.linear(x, BRAIN), (X,), lambda x: x @ value(BRAIN).T),
    Case("matmul", "", lambda o, x, y: o.matmul(x, o.transpose(y, (0, 2, 1))), (X, Y),
         lambda x, y: np.einsum("bid,bjd->bij", x, y)),
    Case("matmul", "transposed", lambda o, x, y: o.matmul(x, y, True), (X, Y),
         lambda x, y: np.einsum("bid,bjd->bij", x, y)),
    Case("matmul", "tensor", lambda o, x: o.matmul(x, WEIGHT, True), (X,), lambda x: x @ value(WEIGHT).T),
    Case("attention", "no bias", lambda o, q: o.attention(q, q, q, None, 0.7), (Q,),
         lambda q: attention(q, q, q, None, 0.7, 1)),
    Case("attention", "masked", lambda o, q, m: o.attention(q, q, q, m, 0.7), (Q, MASK),
         lambda q, m: attention(q, q, q, m, 0.7, 1)),
    Case("attention", "groups", lambda o, q, k, v, m: o.attention(q, k, v, m, 0.7, 3), (Q, K, V, MASK),
         lambda q, k, v, m: attention(q, k, v, m, 0.7, 3)),
    Case("attention", "fully masked", lambda o, q, m: o.attention(q, q, q, m, 0.7), (Q, BLIND),
         lambda q, m: attention(q, q, q, m, 0.7, 1)),
    Case("attention", "scores of ±300", lambda o, q, v: o.attention(q, q, v, None, 300.0), (np.sign(Q), Q),
         lambda q, v: attention(q, q, v, None, 300.0, 1)),
    Case("layer_norm", "", lambda o, x: o.layer_norm(x, WIDE, WIDE, 0.1), (X,), rows(layer_norm(0.1))),
    Case("layer_norm", "no bias", lambda o, x: o.layer_norm(x, WIDE, None, 1e-12), (X,),
         rows(layer_norm(1e-12, False))),
    Case("layer_norm", "a row of one value", lambda o, x: o.layer_norm(x, WIDE, WIDE, 1e-5), (DUMB + 3,),
         lambda x: np.broadcast_to(value(WIDE), x.shape)),
    Case("layer_norm", "far from zero", lambda o, x: o.layer_norm(x, WIDE, WIDE, 1e-12), (X * 300 + 300,),
         rows(layer_norm(1e-12)), 2e-5),
    Case("rms_norm", "", lambda o, x: o.rms_norm(x, WIDE, 0.1), (X,), rows(rms_norm)),
    Case("rms_norm", "zeros", lambda o, x: o.rms_norm(x, WIDE, 1e-6), (DUMB,), lambda x: x),
    Case("normalize", "", lambda o, x: o.normalize(x), (X,), rows(unit)),
    Case("normalize", "zeros", lambda o, x: o.normalize(x), (DUMB,), lambda x: x),
    Case("normalize", "large", lambda o, x: o.normalize(x), (X * 1e15,), rows(unit)),
    Case("unary", "gelu", lambda o, x: o.unary("gelu", x), (EXTREME,),
         pointwise(lambda v: v / 2 * math.erfc(-v / math.sqrt(2)))),
    Case("unary", "gelu_tanh", lambda o, x: o.unary("gelu_tanh", x), (EXTREME,),
         pointwise(lambda v: v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))))),
    Case("unary", "relu", lambda o, x: o.unary("relu", x), (EXTREME,), pointwise(lambda v: max(v, 0.0))),
    Case("unary", "silu", lambda o, x: o.unary("silu", x), (EXTREME,), pointwise(lambda v: v * sigmoid(v))),
    Case("unary", "tanh", lambda o, x: o.unary("tanh", x), (EXTREME,), pointwise(math.tanh)),
    Case("unary", "sigmoid", lambda o, x: o.unary("sigmoid", x), (EXTREME,), pointwise(sigmoid)),
    Case("unary", "sqrt", lambda o, x: o.unary("sqrt", x), (POSITIVE,), pointwise(math.sqrt)),
    Case("where", "broadcasts", lambda o, c, x: o.where(c, x, o.constant(np.float32(-5))), (SEEN[..., None], X),
         lambda c, x: np.array([[x[b, t] if c[b, t, 0] else [-5.0] * D for t in range(T)] for b in range(B)])),
    Case("less_equal", "", lambda o, x: o.where(o.less_equal(x, o.constant(np.float32(1))), x, x * x), (EXTREME,),
         pointwise(lambda v: v if v <= 1 else v * v)),
    Case("less_equal", "integers", lambda o, i: o.where(o.less_equal(i, o.constant(np.int32(3))), o.constant(X[0, 0]),
         o.constant(X[0, 1])), (np.arange(D, dtype=np.int32),), lambda i: np.where(np.arange(D) < 4, X[0, 0], X[0, 1])),
    Case("split_heads", "", lambda o, x: o.split_heads(x, H), (HEADS,),
         lambda x: np.array([[[x[b, t, h * d : h * d + d] for t in range(T)] for h in range(H)] for b in range(B)])),
    Case("merge_heads", "", lambda o, x: o.merge_heads(x), (Q,),
         lambda x: np.array([[np.concatenate([x[b, h, t] for h in range(6)]) for t in range(T)] for b in range(B)])),
    Case("transpose", "", lambda o, x: o.transpose(x, (2, 0, 1)), (X,), lambda x: np.einsum("btd->dbt", x)),
    Case("transpose", "tensor", lambda o, x: x + o.transpose(WEIGHT, (1, 0)), (normal(D, 17),),
         lambda x: x + value(WEIGHT).T),
    Case("expand_dims", "one", lambda o, x: o.expand_dims(x, 1), (X,), lambda x: x.reshape(B, 1, T, D)),
    Case("expand_dims", "last", lambda o, x: o.expand_dims(x, -1), (X,), lambda x: x.reshape(B, T, D, 1)),
    Case("expand_dims", "neighbours", lambda o, x: o.expand_dims(x, 1, 2), (X,), lambda x: x.reshape(B, 1, 1, T, D)),
    Case("expand_dims", "apart", lambda o, x: o.expand_dims(x, 0, 2), (X,), lambda x: x.reshape(1, B, 1, T, D)),
    Case("expand_dims", "any order", lambda o, x: o.expand_dims(x, 4, 0), (X,), lambda x: x.reshape(1, B, T, D, 1)),
    Case("expand_dims", "from both ends", lambda o, x: o.expand_dims(x, -1, 0), (X,),
         lambda x: x.reshape(1, B, T, D, 1)),
    Case("expand_dims", "tensor", lambda o, x: x + o.expand_dims(WIDE, 0, 1), (X,), lambda x: x + value(WIDE)),
    Case("squeeze", "", lambda o, x: o.squeeze(x, 1), (X[:, :1],), lambda x: x.reshape(B, D)),
    Case("squeeze", "last", lambda o, x: o.squeeze(x, -1), (X[..., :1],), lambda x: x.reshape(B, T)),
    Case("slice", "middle", lambda o, x: o.slice(x, 1, 2, 5), (X,), lambda x: np.stack([x[:, 2], x[:, 3], x[:, 4]], 1)),
    Case("slice", "last axis", lambda o, x: o.slice(x, -1, 0, 3), (X,), lambda x: x[:, :, :3]),
    Case("slice", "from the end", lambda o, x: o.slice(x, 1, -3, -1), (X,), lambda x: np.stack([x[:, 4], x[:, 5]], 1)),
    Case("slice", "beyond the end", lambda o, x: o.slice(x, 1, 5, 100), (X,), lambda x: x[:, 5:]),
    Case("slice", "tensor", lambda o, i: o.embed(o.slice(TABLE, 0, 3, 8), i), (PLACES % 5,),
         lambda i: value(TABLE)[3:8][i]),
    Case("concat", "first", lambda o, x, y: o.concat([x, y], 0), (X, Y), lambda x, y: np.array([*x, *y])),
    Case("concat", "last", lambda o, x, y: o.concat([x, y], -1), (X, Y[..., :2]),
         lambda x, y: np.array([[[*x[b, t], *y[b, t]] for t in range(T)] for b in range(B)])),
    Case("reduce", "sum", lambda o, x: o.reduce("sum", x, 1), (X,), lambda x: sum(x[:, t : t + 1] for t in range(T))),
    Case("reduce", "mean", lambda o, x: o.reduce("mean", x, -1), (X,),
         lambda x: np.array([[[sum(x[b, t].tolist()) / D] for t in range(T)] for b in range(B)])),
    Case("reduce", "max", lambda o, x: o.reduce("max", x, 0), (X - 5,),
         lambda x: np.array([[[max(x[:, t, i].tolist()) for i in range(D)] for t in range(T)]])),
]  # fmt: skip
IDS_OF_CASES = [f"{case.primitive} {case.what}".strip() for case in CASES]
_KINDS = {"f": ov.Type.f32, "i": ov.Type.i32, "b": ov.Type.boolean}


def on_openvino(build: Callable[..., Any], *arrays: Array, precision: str = "f32") -> Array:
    """The graph compiled for inputs whose every axis is dynamic, as those of networks are."""
    ops = backend.OpenVinoOps()
    inputs = [op.parameter(ov.PartialShape([-1] * a.ndim), _KINDS[a.dtype.kind]) for a in arrays]
    model = ov.Model([op.result(build(ops, *inputs))], inputs, "primitive")
    compiled = backend.core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    result = compiled([np.ascontiguousarray(a) for a in arrays])[0]
    return np.array(result)


def on_onnx(build: Callable[..., Any], *arrays: Array) -> Array:
    """The same in ONNX Runtime."""
    kinds = {"f": "F32", "i": "I32", "b": "BOOL"}
    ops = onnx_backend.OnnxOps()
    names = [f"x{i}" for i in range(len(arrays))]
    inputs = [
        onnx_backend.onnx.helper.make_tensor_value_info(
            name, onnx_backend.element(kinds[a.dtype.kind]), [None] * a.ndim
        )
        for name, a in zip(names, arrays, strict=True)
    ]
    output = build(ops, *(onnx_backend.Node(ops, name) for name in names))
    program = onnx_backend.session(ops, inputs, {"y": output}, 1)
    return program.start(dict(zip(names, arrays, strict=True)), True).result()["y"]


def assert_close(found: Array, wanted: Array, tolerance: float) -> None:
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * max(1, float(np.abs(wanted).max())))


@pytest.mark.parametrize("case", CASES, ids=IDS_OF_CASES)
def test_numpy_is_what_the_contract_says(case: Case) -> None:
    assert_close(case.build(NumpyOps(), *case.arrays), case.expected(*case.arrays), case.tolerance)


@pytest.mark.parametrize("case", CASES, ids=IDS_OF_CASES)
def test_openvino_is_numpy(case: Case) -> None:
    with np.errstate(all="ignore"):
        wanted = case.build(NumpyOps(), *case.arrays)
    assert_close(on_openvino(case.build, *case.arrays), wanted, case.tolerance)


@pytest.mark.parametrize("case", CASES, ids=IDS_OF_CASES)
def test_onnx_is_numpy(case: Case) -> None:
    with np.errstate(all="ignore"):
        wanted = case.build(NumpyOps(), *case.arrays)
    assert_close(on_onnx(case.build, *case.arrays), wanted, case.tolerance)


class Recorder:
    """Hands primitives on and remembers which were asked for."""

    def __init__(self, ops: Any) -> None:
        self.ops, self.called = ops, set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self.ops, name)


def primitives() -> set[str]:
    return {name for name, member in vars(Ops).items() if callable(member) and not name.startswith("_")}


def test_every_primitive_has_a_case() -> None:
    assert {case.primitive for case in CASES} == primitives()


@pytest.mark.parametrize("case", CASES, ids=IDS_OF_CASES)
def test_a_case_uses_its_primitive(case: Case) -> None:
    recorder = Recorder(NumpyOps())
    with np.errstate(all="ignore"):
        case.build(recorder, *case.arrays)
    assert case.primitive in recorder.called


def test_every_activation_has_a_case() -> None:
    assert {case.what for case in CASES if case.primitive == "unary"} == set(get_args(Unary))


@pytest.mark.parametrize("ops", [NumpyOps, backend.OpenVinoOps, onnx_backend.OnnxOps])
def test_backends_have_every_primitive_with_the_same_parameters(ops: type[Any]) -> None:
    for name in primitives():
        wanted = inspect.signature(getattr(Ops, name)).parameters
        found = inspect.signature(getattr(ops, name)).parameters
        assert [(p.name, p.default, p.kind) for p in found.values()] == [
            (p.name, p.default, p.kind) for p in wanted.values()
        ], name


def test_arithmetic_between_handles() -> None:
    def build(o: Any, x: Any, y: Any) -> Any:
        return (x + y) * x / (y - x)

    wanted = np.array(
        [(a + b) * a / (b - a) for a, b in zip(X.astype(float).ravel(), Y.astype(float).ravel(), strict=True)]
    ).reshape(X.shape)
    assert_close(build(NumpyOps(), X, Y), wanted, 1e-5)
    assert_close(on_openvino(build, X, Y), wanted, 1e-5)
    assert_close(on_onnx(build, X, Y), wanted, 1e-5)


def test_a_tensor_is_one_constant_over_its_own_memory() -> None:
    ops = backend.OpenVinoOps()
    assert ops.constant(TABLE) is ops.constant(TABLE)
    assert ops.kept[0] is TABLE
    assert np.shares_memory(ops.constant(TABLE).data, TABLE.array)


def test_int8_weights_have_a_scale_for_each_group() -> None:
    """A huge weight costs precision among the 128 inputs that share its scale, and nowhere else."""
    values = normal(17, 256)
    values[:, 0] = 1000
    x = normal(5, 256)
    x[:, 0] = 0
    ops = backend.OpenVinoOps(int8=True)

    def off(inputs: Array) -> float:
        found = on_openvino(lambda _, h: ops.linear(h, Tensor.of("w", values)), inputs)
        return float(np.abs(found - inputs @ values.T).max())

    near, far = x.copy(), x.copy()
    near[:, 128:], far[:, :128] = 0, 0
    assert off(near) > 1
    assert 1e-4 < off(far) < 0.3


def test_a_layer_that_is_spared_is_not_rounded_to_int8() -> None:
    values, x = normal(17, 256), normal(5, 256)
    ops = backend.OpenVinoOps(int8=True)

    def off(spared: bool) -> float:
        found = on_openvino(lambda _, h: ops.linear(h, Tensor.of("w", values), spared=spared), x)
        return float(np.abs(found - x @ values.T).max())

    assert off(False) > 1e-3
    assert off(True) < 1e-4
