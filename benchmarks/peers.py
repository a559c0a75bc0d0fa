"""Encoders in processes of their own, each with its own Python, that wait for work: so rounds can take turns.

A worker prints one JSON line for each it is sent. Used by the benchmarks beside it; no imports outside the standard
library until a worker loads its encoder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

PEER = "sentence-transformers"


class Worker:
    """One encoder: "sentence-transformers:float32", "vicinal:bfloat16", "vicinal-bundled", ..."""

    def __init__(self, name: str, python: str, model: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [python, __file__, name, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: object) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.process.wait()}; see its messages above")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def load(name: str, model: str):
    """The encode function of a worker's library; of "rerank/..." one that scores, of "bi/..." its counterpart, both for
    lists of a query and its candidates."""
    if name.startswith("rerank/"):
        return load_reranker(name.removeprefix("rerank/"), model)
    if name.startswith("bi/"):
        encode = load(name.removeprefix("bi/"), model)
        return lambda jobs: [encode(texts) for _, texts in jobs]
    library, _, dtype = name.partition(":")
    if library == PEER:
        import torch
        from sentence_transformers import SentenceTransformer

        kwargs = {} if dtype in ("", "float32") else {"model_kwargs": {"dtype": getattr(torch, dtype)}}
        return SentenceTransformer(model, device="cpu", **kwargs).encode
    from vicinal import SentenceTransformer

    if library == "vicinal-bundled":
        loaded = SentenceTransformer()
    else:
        loaded = SentenceTransformer(model, dtype=dtype)
    return lambda texts: loaded.encode(texts, truncation="ignore")


def load_reranker(name: str, model: str):
    """A function of [(query, candidates), ...] that gives the scores of each query's candidates, call by call."""
    library, _, dtype = name.partition(":")
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

    def score(jobs):
        return [scorer.predict([(query, text) for text in texts], **options) for query, texts in jobs]

    return score


def serve(name: str, model: str) -> None:
    """Answer requests: {"texts": [...]} or {"file": ..., "repeat": n} with seconds, optionally the vectors' file."""
    start = time.perf_counter()
    encode = load(name, model)
    encode([["a query", ["the first text"]]] if "/" in name else "the first text")
    started = time.perf_counter() - start
    texts: list[str] = []
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, object] = {"started": started}
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
    serve(sys.argv[1], sys.argv[2])
