"""Search in quantized vectors beside sentence-transformers' functions of the same names: recall and time.

usage: python benchmarks/quantized_search.py [--rows 100000] [--dims 384] [--queries 200] [--rounds 7]
       python benchmarks/quantized_search.py --vectors corpus.npy

Runs in an environment that has vicinal[faiss,usearch] and sentence-transformers. Vectors are drawn, or read.
Recall: of the 10 best rows by the float vectors' dot product, how many are found. Both search the same index, in turn.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers.util import quantization as peer

from vicinal import quantize_embeddings, util

_KINDS = [("faiss", "uint8"), ("faiss", "ubinary"), ("usearch", "int8"), ("usearch", "binary")]


def drawn(rows: int, dims: int) -> np.ndarray:
    """Unit vectors as those of texts are: in clusters of very different sizes, and of few dimensions underneath."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(1, rows // 200), 48))
    chosen = np.minimum(rng.zipf(1.3, rows), len(centres)) - 1
    inner = centres[chosen] + 0.5 * rng.normal(size=(rows, 48))
    return util.normalize_embeddings((inner @ rng.normal(size=(48, dims))).astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    vectors = np.load(options.vectors) if options.vectors else drawn(options.rows + options.queries, options.dims)
    picked = np.random.default_rng(1).permutation(len(vectors))
    queries, corpus = vectors[picked[: options.queries]], vectors[picked[options.queries :]]
    best = [{hit["corpus_id"] for hit in hits} for hits in util.semantic_search(queries, corpus)]
    ranges = util.quantization_ranges(corpus)
    print(f"{len(corpus)} vectors of {corpus.shape[1]} dimensions, {len(queries)} queries, medians of {options.rounds}")
    print(f"{'':30}{'recall@10':>10}{'ms/query':>10}{'peer recall':>14}{'peer ms':>10}{'peer / ours':>13}")
    for engine, precision in _KINDS:
        small = quantize_embeddings(corpus, precision, ranges)  # type: ignore[arg-type]
        for exact in (True, False):
            call: dict[str, Any] = {"corpus_precision": precision, "exact": exact, "ranges": ranges}
            searches = [getattr(home, f"semantic_search_{engine}") for home in (util, peer)]
            indexes = [search(queries[:1], small, output_index=True, **call)[2] for search in searches]
            times: list[list[float]] = [[], []]
            recalls = [0.0, 0.0]
            for _ in range(options.rounds):
                for i, search in enumerate(searches):
                    hits, seconds = search(queries, corpus_index=indexes[i], **call)
                    times[i].append(seconds / len(queries) * 1e3)
                    found = [{hit["corpus_id"] for hit in some} for some in hits]
                    recalls[i] = float(np.mean([len(a & b) / len(b) for a, b in zip(found, best, strict=True)]))
            ours, theirs = map(statistics.median, times)
            print(
                f"{engine:8} {precision:8} {'exact' if exact else 'graph':12}{recalls[0]:10.3f}{ours:10.3f}"
                f"{recalls[1]:14.3f}{theirs:10.3f}{theirs / ours:13.2f}"
            )


if __name__ == "__main__":
    main()
