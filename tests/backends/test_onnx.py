"""ONNX Runtime behind a whole model: what it is given, what it refuses, and that it keeps no copies."""

from __future__ import annotations

import gzip
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from vicinal import SentenceTransformer
from vicinal.backends import Choice, choose, numerics, onnx
from vicinal.backends.base import Arrays
from vicinal.backends.numpy import NumpyOps
from vicinal.errors import MissingExtra, Unavailable
from vicinal.loading.weights import Tensor
from vicinal.parallel import WorkerPool

TEXTS = ["red apple", "tax law of the apple", "the", "", "green green red tax law tax law"] * 3
rng = np.random.default_rng(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_bert(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(folder, backend="onnx")


def session_of(model: SentenceTransformer) -> Any:
    (program,) = model._engine._programs.values()
    return program._session  # type: ignore[attr-defined]


def test_what_it_says_of_itself(model: SentenceTransformer) -> None:
    assert (model.backend, model.dtype, model.device) == ("onnx", "float32", "cpu")
    assert "backend='onnx', dtype='float32'" in repr(model)
    assert session_of(model).get_providers() == ["CPUExecutionProvider"]


def test_it_has_the_threads_that_are_asked_for(folder: Path) -> None:
    options = session_of(SentenceTransformer(folder, backend="onnx", threads=3)).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)


def test_alone_and_together_many_threads_at_once(model: SentenceTransformer) -> None:
    wanted = np.stack([model.encode(text, deterministic=True) for text in TEXTS])
    assert np.array_equal(model.encode(TEXTS, deterministic=True), wanted)
    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(lambda _: model.encode(TEXTS), range(24)):
            np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_pool_of_processes(folder: Path) -> None:
    model = SentenceTransformer(folder, backend="onnx", dtype="int8", model_kwargs={"provider": "CPUExecutionProvider"})
    with WorkerPool(model, ["cpu", "cpu"]) as pool:
        found = model.encode(TEXTS, pool=pool, chunk_size=4)
    assert (found * model.encode(TEXTS)).sum(1).min() > 0.999


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="fork warns where there are threads")
def test_a_fork_is_told(model: SentenceTransformer) -> None:
    child = os.fork()
    if child == 0:
        try:
            model.encode("red")
        except Unavailable as error:
            os._exit(7 if "before the process forked" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_closed_model(folder: Path) -> None:
    with SentenceTransformer(folder, backend="onnx") as model:
        model.encode("red")
    with pytest.raises(ValueError, match="this model is closed"):
        model.encode("red")


def test_a_provider_that_is_not_there(folder: Path) -> None:
    with pytest.raises(Unavailable, match=r"provider 'CUDAExecution' is not in .*, which has .*CPUExec"):
        SentenceTransformer(folder, backend="onnx", model_kwargs={"provider": "CUDAExecution"})
    with pytest.raises(ValueError, match="provider_options are given without the provider"):
        SentenceTransformer(folder, backend="onnx", model_kwargs={"provider_options": {"a": 1}})


def test_a_provider_has_its_options(folder: Path) -> None:
    kwargs = {"provider": "CPUExecutionProvider", "provider_options": {"arena_extend_strategy": "kSameAsRequested"}}
    model = SentenceTransformer(folder, backend="onnx", model_kwargs=kwargs)
    assert dict(model._engine.choice.settings) == kwargs
    model.encode("red")


def test_without_onnxruntime(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "vicinal.backends.onnx")
    with pytest.raises(MissingExtra, match=r"backend=\"onnx\" needs onnxruntime, .* pip install 'vicinal\[onnx\]'"):
        SentenceTransformer(folder, backend="onnx")


def test_auto_stays_with_openvino(model: SentenceTransformer) -> None:
    assert choose(model.spec, "auto", "auto", 1).backend == "openvino"


def test_what_may_be_swapped_for_what() -> None:
    ways = [Choice(backend, dtype, 1) for backend in ("openvino", "onnx") for dtype in ("float32", "int8")]  # type: ignore[arg-type]
    exact, small, same, other = map(numerics, ways)
    assert exact == same
    assert len({exact, small, other}) == 3


# ---- weights -------------------------------------------------------------------------------------------------------


def run(ops: onnx.OnnxOps, output: Any, x: Any) -> Any:
    inputs = [onnx.onnx.helper.make_tensor_value_info("x", onnx.element("F32"), [None] * x.ndim)]
    return onnx.session(ops, inputs, {"y": output}, 1).start({"x": x}, True).result()["y"]


def test_the_graph_has_no_copy_of_the_weights() -> None:
    ops = onnx.OnnxOps()
    weight = Tensor.of("w", rng.standard_normal((300, 300)).astype(np.float32))
    x = onnx.Node(ops, "x")
    output = ops.linear(ops.linear(x, weight), weight)
    assert list(ops.tensors.values()) == [weight]
    assert sum(constant.ByteSize() for constant in ops.small) < 1000
    value = onnx._value(weight)
    assert np.shares_memory(value.numpy(), weight.array) or value.data_ptr() == weight.array.ctypes.data
    inputs = rng.standard_normal((2, 300)).astype(np.float32)
    np.testing.assert_allclose(run(ops, output, inputs), inputs @ weight.array.T @ weight.array.T, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_large_tables_are_looked_up_where_they_lie(dtype: str) -> None:
    rows = rng.standard_normal((70000, 8)).astype(np.float32)
    stored = {"F32": rows, "F16": rows.astype(np.float16), "BF16": (rows.view(np.uint32) >> 16).astype(np.uint16)}
    table, ops = Tensor("t", dtype, stored[dtype]), onnx.OnnxOps()
    inputs = [onnx.onnx.helper.make_tensor_value_info("ids", onnx.element("I32"), [None, None])]
    program = onnx.session(ops, inputs, {"y": ops.embed(table, onnx.Node(ops, "ids"))}, 1)
    assert program.inputs == {"ids"}
    ids = rng.integers(0, 70000, (3, 5)).astype(np.int32)
    before = program.start({"ids": ids}, True).result()["y"]
    np.testing.assert_array_equal(before, table.rows(ids))
    stored[dtype][ids[0, 0]] = 0
    assert not program.start({"ids": ids}, True).result()["y"][0, 0].any()  # there is no copy
    tied = onnx.OnnxOps()
    tied.embed(table, onnx.Node(tied, "ids"))
    tied.linear(onnx.Node(tied, "x"), table)
    assert tied.folded == set(tied.tensors)


def test_int8_weights_and_activations_have_a_scale_for_each_block() -> None:
    """A huge number costs precision among the inputs that share its scale, and nowhere else."""
    values = rng.standard_normal((17, 150)).astype(np.float32)
    values[:, 0] = 1000
    x = rng.standard_normal((5, 150)).astype(np.float32)
    x[:, 0] = 0

    def off(inputs: Any) -> float:
        ops = onnx.OnnxOps(int8=True)
        found = run(ops, ops.linear(onnx.Node(ops, "x"), Tensor.of("w", values)), inputs)
        return float(np.abs(found - inputs @ values.T).max())

    near, far = x.copy(), x.copy()
    near[:, 64:], far[:, :64] = 0, 0
    assert off(near) > 1
    assert 1e-4 < off(far) < 0.3
    loud = far.copy()
    loud[0] *= 1000
    assert np.abs(off(loud[1:]) - off(far[1:])) < 1e-6


def test_int8_of_minilm(minilm_folder: Path) -> None:
    """On sentences, mean and least cosine to float32 are .9995 and .9992; quantised by tensor, .99 and .81."""
    path = Path(__file__).parent.parent / "fixtures" / "texts.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = [row["text"] for row in rows if isinstance(row["text"], str) and 20 < len(row["text"]) < 400][:60]
    assert len(texts) == 60
    exact = SentenceTransformer(minilm_folder, backend="onnx").encode(texts, truncation="ignore")
    found = SentenceTransformer(minilm_folder, backend="onnx", dtype="int8").encode(texts, truncation="ignore")
    cosine = (exact * found).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1)
    assert cosine.mean() > 0.9990
    assert cosine.min() > 0.997


def test_feeds_are_read_where_they_lie(model: SentenceTransformer) -> None:
    """What a graph does not read is not asked for."""
    (program,) = model._engine._programs.values()
    assert program.inputs <= {"ids", "mask", "pool", "types", "index", "first", "last", "positions"}
    ops = onnx.OnnxOps()
    feeds: Arrays = {"x": np.ones((2, 3), np.float32), "unread": np.zeros(1)}
    inputs = [onnx.onnx.helper.make_tensor_value_info("x", onnx.element("F32"), [None, None])]
    done = onnx.session(ops, inputs, {"y": ops.normalize(onnx.Node(ops, "x"))}, 1).start(feeds, True)
    done.abandon()
    np.testing.assert_allclose(done.result()["y"], NumpyOps().normalize(feeds["x"]), rtol=1e-6)
