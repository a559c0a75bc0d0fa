"""Data of one's own as tasks of the package `mteb`, which it runs and whose results it writes like those of its own."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from vicinal.errors import InvalidData
from vicinal.evaluation.files import PairSet, RetrievalSet, read_beir, read_pairs
from vicinal.extras import require


def local_task(path: str | os.PathLike[str], *, split: str | None = None, quotes: bool = True) -> Any:
    """A folder in BEIR form as a Retrieval task, or a table of pairs with a score as an STS task.

    Args:
        path: of the folder, or of the .tsv or .csv file with the columns sentence1, sentence2 and score.
        split: which qrels of the folder; None takes "test", or the only one.
        quotes: fields of a table may be in quotation marks.

    Returns:
        An `mteb.AbsTask`; its name is that of the folder, of a table with that of the file ("stsb-test"). Of what
        mteb wants to know of a task, its language is said to be English.

    Raises:
        MissingExtra: mteb is not installed.
        DataNotFound, InvalidData: see `read_beir` and `read_pairs`; or mteb cannot score by these judgments.
    """
    require("mteb", "tasks of mteb")
    at = Path(path)
    return _retrieval(read_beir(at, split)) if at.is_dir() else _similarity(at, read_pairs(at, quotes=quotes))


def _retrieval(found: RetrievalSet) -> Any:
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval

    name, _, split = found.name.rpartition("/")
    judged = [(query, document, grade) for query, of in found.relevant.items() for document, grade in of.items()]
    if odd := next((row for row in judged if row[2] != int(row[2])), None):
        raise InvalidData(f"mteb takes whole numbers as grades, but {found.name} has {odd[2]} for query {odd[0]!r} and "
                          f"document {odd[1]!r}")  # fmt: skip

    class Local(AbsTaskRetrieval):  # type: ignore[misc,unused-ignore]
        metadata = _metadata(name, "Retrieval", split, "ndcg_at_10")

        def load_data(self, *_: Any, **__: Any) -> None:
            def table(texts: dict[str, str]) -> Dataset:
                return Dataset.from_dict({"id": list(texts), "text": list(texts.values())})

            grades = {q: {d: int(grade) for d, grade in judged.items()} for q, judged in found.relevant.items()}
            part = {"queries": table(found.queries), "corpus": table(found.corpus), "relevant_docs": grades}
            self.dataset = {"default": {split: {**part, "top_ranked": None}}}
            self.data_loaded = True

    return Local()


def _similarity(at: Path, found: PairSet) -> Any:
    from datasets import Dataset
    from mteb.abstasks import AbsTaskSTS

    if len(set(found.scores)) < 2:
        raise InvalidData(f"{at} has no two scores that differ, so that nothing can be measured by them")

    class Local(AbsTaskSTS):  # type: ignore[misc,unused-ignore]
        metadata = _metadata(f"{at.resolve().parent.name}-{found.name}", "STS", "test", "cosine_spearman")
        min_score, max_score = min(found.scores), max(found.scores)

        def load_data(self, *_: Any, **__: Any) -> None:
            columns = {"sentence1": found.sentences1, "sentence2": found.sentences2, "score": found.scores}
            self.dataset = {"test": Dataset.from_dict(columns)}
            self.data_loaded = True

    return Local()


def _metadata(name: str, kind: str, split: str, score: str) -> Any:
    from mteb import TaskMetadata

    return TaskMetadata(
        name=re.sub(r"[^\w.-]+", "-", name), type=kind, category="t2t", main_score=score, eval_splits=[split],
        eval_langs=["eng-Latn"], dataset={"path": f"local/{name}", "revision": "local"},
        description=f"{name}, from files on this machine", is_public=False,
    )  # fmt: skip
