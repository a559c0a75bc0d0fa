"""Mining hard negatives, as a user calls it: read, search, choose, lay out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from vicinal import report
from vicinal.errors import TrainingWarning
from vicinal.extras import require
from vicinal.training.mining.layouts import FORMATS, Mined, lay_out
from vicinal.training.mining.limits import Limits, Strategy, choose
from vicinal.training.mining.pairs import Pairs, columns_of, read_pairs, texts_of
from vicinal.training.mining.search import rescore, search
from vicinal.training.mining.statistics import describe, say
from vicinal.training.mining.vectors import Side, embed

OutputFormat = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list", "n-tuple-scores"]


def mine_hard_negatives(
    dataset: Any,
    model: Any,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: Iterable[str] | None = None,
    cross_encoder: Any = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Strategy = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: OutputFormat = "triplet",
    output_scores: bool = False,
    batch_size: int = 32,
    faiss_batch_size: int = 16384,
    use_faiss: bool = False,
    use_multi_process: Sequence[str] | bool = False,
    verbose: bool = True,
    cache_folder: str | os.PathLike[str] | None = None,
    as_triplets: bool | None = None,
    margin: float | None = None,
) -> Any:
    """Give pairs of a query and its document negatives: documents that the model finds near and that are not its own.

    Rows with the same query are taken as all the documents that belong to it. Equal texts are encoded once; the search
    is exact and goes tile by tile, so that memory grows with queries and candidates, not with queries and documents.

    Args:
        dataset: a `datasets.Dataset` of pairs.
        model: a `SentenceTransformer`, whose `encode_query` and `encode_document` are used.
        anchor_column_name, positive_column_name: of queries and documents; the first and second column by default.
        corpus: further documents to take negatives from.
        cross_encoder: scores the candidates again, where a margin, `max_score` or `min_score` is set.
        range_min, range_max: ranks of candidates that count, from 0: range_min..range_max. By default range_max leaves
            room for num_negatives, tenfold where candidates may be removed.
        max_score, min_score: bounds of a negative's score.
        absolute_margin: how far a negative's score must be below that of the query's lowest positive.
        relative_margin: the same as a part of the positive's score (Moreira et al. 2024, arXiv:2407.15831, 0.05).
        num_negatives: of each query.
        sampling_strategy: "top" takes the nearest, "random" any that are left (seeded by `random.seed`).
        query_prompt_name, query_prompt, corpus_prompt_name, corpus_prompt: given to `encode_query`, `encode_document`.
        include_positives: positives may be among the negatives, in their rank; always "n-tuple".
        output_format: "triplet" (query, document, negative), a row a negative; "n-tuple" (query, document,
            negative_1, ...), where all were found; "labeled-pair" (query, document, label 0 or 1); "labeled-list"
            (query, list of documents, list of labels).
        output_scores: with scores; they replace labels.
        batch_size: at most so many texts in a batch.
        faiss_batch_size: queries to search for at a time, at most.
        use_faiss: search with FAISS (`pip install 'vicinal[faiss]'`), as exact.
        use_multi_process: encode in processes, of these devices if it is a list.
        verbose: show progress and, at the end, a table, on standard error.
        cache_folder: keep vectors there, and look them up; they are named after model, prompts and texts.
        as_triplets, margin: older names: output_format "triplet" or "n-tuple"; absolute_margin.

    Returns:
        A `datasets.Dataset`.

    Raises:
        InvalidData: rows or columns are not as they must be. ValueError: an argument is none of its values, or leaves
            no candidates. MissingExtra: `datasets` or FAISS is not installed.
    """
    library = require("train", "mine_hard_negatives")
    if as_triplets is not None:
        _renamed("as_triplets", "output_format='triplet' or 'n-tuple'")
        output_format = "triplet" if as_triplets else "n-tuple"
    if margin is not None:
        _renamed("margin", "absolute_margin")
        absolute_margin = margin
    if output_format == "n-tuple-scores":
        _renamed("output_format='n-tuple-scores'", "output_format='n-tuple', output_scores=True")
        output_format, output_scores = "n-tuple", True
    if output_format not in FORMATS:
        raise ValueError(f"output_format must be one of {', '.join(map(repr, FORMATS))}, not {output_format!r}")
    if type(faiss_batch_size) is not int or faiss_batch_size < 1:
        raise ValueError(f"faiss_batch_size must be a positive integer, not {faiss_batch_size!r}")
    if use_faiss:
        require("faiss", "use_faiss=True")

    names = columns_of(dataset, anchor_column_name, positive_column_name)
    pairs = read_pairs(
        texts_of(dataset[names[0]], f"column {names[0]!r}"),
        texts_of(dataset[names[1]], f"column {names[1]!r}"),
        None if corpus is None else texts_of(corpus, "corpus"),
    )
    if range_max is None:
        removing = (absolute_margin, relative_margin, max_score, None if cross_encoder is None else min_score)
        plenty = 10 if any(value is not None for value in removing) else 1
        range_max = range_min + num_negatives * plenty + pairs.most
    limits = Limits(
        range_min, range_max, max_score, min_score, absolute_margin, relative_margin, num_negatives, sampling_strategy
    )
    if include_positives:
        output_format = "n-tuple"
        _warn_of_lost_positives(limits)
    if cross_encoder is not None and not limits.thresholds:
        report.warn(
            "cross_encoder is not used: it scores candidates where absolute_margin, relative_margin, max_score or "
            "min_score is set, and none is",
            TrainingWarning,
        )

    sides = (
        Side("document", pairs.documents, corpus_prompt_name, corpus_prompt),
        Side("query", pairs.queries, query_prompt_name, query_prompt),
    )
    documents, queries = embed(model, sides, batch_size, use_multi_process, cache_folder, verbose)
    wanted = range_max + pairs.most  # its own documents are among the nearest of a query
    found = search(queries, documents, pairs, wanted, model.similarity_fn_name, faiss_batch_size, use_faiss)
    if cross_encoder is not None and limits.thresholds:
        found = rescore(found, pairs, cross_encoder, batch_size, verbose)
    chosen = choose(found, pairs.owner, pairs.positive, limits, include_positives)
    table = lay_out(Mined(pairs, chosen, found.positive_scores), output_format, names, output_scores)
    mined = library.Dataset.from_dict(table.columns)
    if verbose:
        say(_head(pairs, limits))
        say(describe(found.positive_scores, table, chosen.skipped, limits, len(mined)))
    return mined


def _head(pairs: Pairs, limits: Limits) -> str:
    return (
        f"{len(pairs.queries):,} queries with {len(pairs.owner):,} pairs, {len(pairs.documents):,} documents, "
        f"ranks {limits.range_min} to {limits.range_max}:"
    )


def _warn_of_lost_positives(limits: Limits) -> None:
    if limits.thresholds or limits.range_min or limits.sampling_strategy != "top":
        report.warn(
            "include_positives=True keeps positives among the candidates, but ranks, thresholds or random sampling may "
            "remove them again",
            TrainingWarning,
        )


def _renamed(old: str, new: str) -> None:
    report.warn(f"mine_hard_negatives: {old} is an older name; give {new}", DeprecationWarning)
