"""The NanoBEIR collection: 13 retrieval sets of 50 queries each, from the hub or a folder of the same form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vicinal.errors import DataNotFound, InvalidData
from vicinal.extras import require

SETS = {
    "climatefever": "ClimateFEVER",
    "dbpedia": "DBPedia",
    "fever": "FEVER",
    "fiqa2018": "FiQA2018",
    "hotpotqa": "HotpotQA",
    "msmarco": "MSMARCO",
    "nfcorpus": "NFCorpus",
    "nq": "NQ",
    "quoraretrieval": "QuoraRetrieval",
    "scidocs": "SCIDOCS",
    "arguana": "ArguAna",
    "scifact": "SciFact",
    "touche2020": "Touche2020",
}
"""By the names that evaluators take, the collection's own."""


@dataclass(frozen=True)
class NanoSet:
    """One set.

    Attributes:
        queries, corpus: texts by id, empty ones left out.
        relevant: for each query, the ids of its relevant documents.
        first_stage: for each query, ids of documents by falling BM25 score; None where they were not asked for.
    """

    queries: dict[str, str]
    corpus: dict[str, str]
    relevant: dict[str, set[str]]
    first_stage: dict[str, list[str]] | None = None


def check_names(names: Sequence[str]) -> None:
    """Names of sets are ones that there are.

    Raises:
        ValueError: they are not; all names are listed.
    """
    if not names:
        raise ValueError("dataset_names is empty: None takes all sets")
    if unknown := [name for name in names if name.lower() not in SETS]:
        raise ValueError(f"{', '.join(map(repr, unknown))}: no such set of NanoBEIR; there are {', '.join(SETS)}")


def load(dataset_id: str, name: str, first_stage: bool = False) -> NanoSet:
    """Read a set.

    Args:
        dataset_id: of a collection on the hub, or a folder that `datasets.load_dataset` reads as one.
        name: a key of `SETS`, in upper or lower case.
        first_stage: read the BM25 ranking too.

    Raises:
        MissingExtra: the package datasets is not installed. DataNotFound: the collection cannot be had.
        InvalidData: it lacks a column.
    """
    split = f"Nano{SETS[name.lower()]}"
    corpus = _texts(_rows(dataset_id, "corpus", split, ("_id", "text")))
    queries = _texts(_rows(dataset_id, "queries", split, ("_id", "text")))
    relevant: dict[str, set[str]] = {}
    for row in _rows(dataset_id, "qrels", split, ("query-id", "corpus-id")):
        ids = row["corpus-id"]
        relevant.setdefault(row["query-id"], set()).update(ids if isinstance(ids, list) else [ids])
    if not first_stage:
        return NanoSet(queries, corpus, relevant)
    ranked = _rows(dataset_id, "bm25", split, ("query-id", "corpus-ids"))
    return NanoSet(queries, corpus, relevant, {row["query-id"]: row["corpus-ids"] for row in ranked})


def _texts(rows: Any) -> dict[str, str]:
    return {row["_id"]: row["text"] for row in rows if row["text"]}


def _rows(dataset_id: str, subset: str, split: str, columns: Sequence[str]) -> Any:
    datasets = require("train", "NanoBEIR")
    try:
        data = datasets.load_dataset(dataset_id, subset, split=split)
    except Exception as error:
        raise DataNotFound(
            f"{dataset_id} (subset {subset!r}, split {split!r}) cannot be loaded: {error}. Without the hub, give "
            "dataset_id the path of a folder with a copy"
        ) from error
    if missing := sorted(set(columns) - set(data.column_names)):
        raise InvalidData(
            f"{dataset_id}, subset {subset!r}, split {split!r} lacks {', '.join(missing)}; "
            f"it has {', '.join(data.column_names)}"
        )
    return data


def aggregated(per_set: Mapping[str, Mapping[str, float]], aggregate: Any) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of all sets by full name, and each metric's aggregate over the sets.

    Args:
        per_set: metrics `{name}_{metric}` by the name of their set.
    """
    full: dict[str, float] = {}
    lists: dict[str, list[float]] = {}
    for name, metrics in per_set.items():
        full |= metrics
        for key, value in metrics.items():
            lists.setdefault(key.removeprefix(f"{name}_"), []).append(value)
    return full, {metric: float(aggregate(values)) for metric, values in lists.items()}
