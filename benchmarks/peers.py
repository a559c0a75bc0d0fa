"""Encoders in processes of their own, each with its own Python, that wait for work: so rounds can take turns.

A worker prints one JSON line for each it is sent. Used by the benchmarks beside it; no imports outside the standard
library until a worker loads its encoder.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PEER = "sentence-transformers"
EXPORTS = "exported"
"""In a model's folder here: what `export` has made of it."""

Encode = Callable[[Any], Any]


class Worker:
    """One encoder, by a name of LOADERS: "sentence-transformers:float32", "vicinal-onnx:int8", ..."""

    def __init__(self, name: str, python: str, model: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [python, __file__, name, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: object) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.process.wait()}; see its messages above")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


# ---- the encoders: each is loaded from a folder at a dtype -----------------------------------------------------------


def _transformers(model: str, dtype: str) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    kwargs = {} if dtype == "float32" else {"model_kwargs": {"dtype": getattr(torch, dtype)}}
    return SentenceTransformer(model, device="cpu", **kwargs).encode


def _transformers_file(backend: str, model: str, dtype: str) -> Encode:
    """Its ONNX and OpenVINO backends on the files of `export`; OpenVINO takes the dtype that suits the machine."""
    from sentence_transformers import SentenceTransformer

    files = {"float32": "model.onnx", "int8": "model_qint8_avx512_vnni.onnx", "auto": "openvino_model.xml"}
    kwargs = {"file_name": f"{backend}/{files[dtype]}"}
    return SentenceTransformer(f"{model}/{EXPORTS}", backend=backend, model_kwargs=kwargs, device="cpu").encode


def _fastembed(model: str, dtype: str) -> Encode:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    width = json.loads(Path(model, "config.json").read_text())["hidden_size"]
    TextEmbedding.add_custom_model(
        "local/model", PoolingType.MEAN, True, ModelSource(hf="local/model"), width, "onnx/model.onnx"
    )
    loaded = TextEmbedding("local/model", specific_model_path=f"{model}/{EXPORTS}")
    return lambda texts: list(loaded.embed(texts))


def _infinity(engine: str, model: str, dtype: str) -> Encode:
    from infinity_emb import EngineArgs, SyncEngineArray

    given = {"model_name_or_path": model, "engine": engine, "device": "cpu", "dtype": dtype, "model_warmup": False}
    loaded = SyncEngineArray.from_args([EngineArgs(**given)])

    def encode(texts: Any) -> Any:
        one = isinstance(texts, str)
        vectors, _ = loaded.embed(model=model, sentences=[texts] if one else texts).result()
        return vectors[0] if one else vectors

    return encode


def _vicinal(backend: str, model: str, dtype: str) -> Encode:
    from vicinal import SentenceTransformer

    loaded = SentenceTransformer(model, backend=backend, dtype=dtype)
    return lambda texts: loaded.encode(texts, truncation="ignore")


def _bundled(model: str, dtype: str) -> Encode:
    from vicinal import SentenceTransformer

    loaded = SentenceTransformer()
    return lambda texts: loaded.encode(texts, truncation="ignore")


LOADERS: Mapping[str, Callable[[str, str], Encode]] = {
    PEER: _transformers,
    f"{PEER}-onnx": functools.partial(_transformers_file, "onnx"),
    f"{PEER}-openvino": functools.partial(_transformers_file, "openvino"),
    "fastembed": _fastembed,
    "infinity-torch": functools.partial(_infinity, "torch"),
    "vicinal": functools.partial(_vicinal, "openvino"),
    "vicinal-onnx": functools.partial(_vicinal, "onnx"),
    "vicinal-torch": functools.partial(_vicinal, "torch"),
    "vicinal-bundled": _bundled,
}


def load_reranker(library: str, model: str, dtype: str) -> Encode:
    """A function of [(query, candidates), ...] that gives the scores of each query's candidates, call by call."""
    backend = library.removeprefix(PEER).removeprefix("vicinal").lstrip("-")
    options: dict = {}
    if library.startswith(PEER):
        import torch
        from sentence_transformers import CrossEncoder

        kwargs = {"dtype": getattr(torch, dtype)} if not backend and dtype != "float32" else {}
        scorer = CrossEncoder(model, device="cpu", backend=backend or "torch", model_kwargs=kwargs)
    else:
        from vicinal import CrossEncoder

        scorer = CrossEncoder(model, backend=backend or "auto", dtype=dtype)
        options = {"truncation": "ignore"}

    def score(jobs: Any) -> Any:
        return [scorer.predict([(query, text) for text in texts], **options) for query, texts in jobs]

    return score


def load(name: str, model: str) -> Encode:
    """The encode function of a name, "library:dtype"; of "rerank/..." one that scores, of "bi/..." its counterpart,
    both for lists of a query and its candidates."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    kind, _, rest = name.rpartition("/")
    library, _, dtype = rest.partition(":")
    if kind == "rerank":
        return load_reranker(library, model, dtype)
    encode = LOADERS[library](model, dtype or "float32")
    return (lambda jobs: [encode(texts) for _, texts in jobs]) if kind == "bi" else encode


def export(model: str) -> None:
    """Make sentence-transformers' own ONNX and OpenVINO files of a model, below the model's folder."""
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    for backend in ("onnx", "openvino"):
        loaded = SentenceTransformer(model, backend=backend, model_kwargs={"export": True}, device="cpu")
        loaded.save_pretrained(f"{model}/{EXPORTS}")
        if backend == "onnx":
            export_dynamic_quantized_onnx_model(loaded, "avx512_vnni", f"{model}/{EXPORTS}")
    path = Path(model, EXPORTS, "tokenizer_config.json")  # what fastembed cuts texts by: 128 otherwise
    limit = json.loads(Path(model, "sentence_bert_config.json").read_text())["max_seq_length"]
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_length": limit}))


# ---- a worker --------------------------------------------------------------------------------------------------------


def serve(name: str, model: str) -> None:
    """Answer requests: {"texts": [...]} or {"file": ..., "repeat": n} with seconds, optionally the vectors' file."""
    encode = load(name, model)
    encode([["a query", ["the first text"]]] if "/" in name else "the first text")
    texts: list[str] = []
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, object] = {}
        if "file" in request:
            texts = json.loads(Path(request["file"]).read_text())
        if "repeat" in request:  # one text at a time
            times = []
            for i in range(request["repeat"]):
                begin = time.perf_counter()
                encode(texts[i % len(texts)])
                times.append(time.perf_counter() - begin)
            answer["seconds"] = sorted(times)[len(times) // 2]
        elif request.get("run"):
            begin = time.perf_counter()
            vectors = encode(texts)
            answer["seconds"] = time.perf_counter() - begin
            if "save" in request:
                import numpy

                numpy.save(request["save"], numpy.asarray(vectors, dtype="float32"))
        answer["peak"] = peak_memory()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "export":
        export(sys.argv[2])
    else:
        serve(sys.argv[1], sys.argv[2])
