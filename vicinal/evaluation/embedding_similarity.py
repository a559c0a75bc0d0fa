"""Does similarity rank pairs of texts as people do?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal import report
from vicinal.errors import EvaluationWarning
from vicinal.evaluation import metrics as m
from vicinal.evaluation.base import EncodingEvaluator, check_lengths
from vicinal.evaluation.similarities import checked, names_for, pair_scores
from vicinal.similarity import SimilarityFunction


class EmbeddingSimilarityEvaluator(EncodingEvaluator):
    """Correlation of the similarity of two texts with a score that people gave them.

    Metrics: `pearson_{similarity}`, `spearman_{similarity}`, and with several similarities their `pearson_max` and
    `spearman_max`. The primary one is Spearman's: of the main similarity, else of the only one, else the highest.

    Args:
        sentences1, sentences2: texts; row i of both is a pair.
        scores: of each pair, on any scale that rises with likeness.
        batch_size: texts in a batch, at most.
        main_similarity: "cosine", "dot", "euclidean" or "manhattan"; None for the model's own.
        similarity_fn_names: several of these.
        name, show_progress_bar, write_csv: see `BaseEvaluator`, `SentenceTransformer.encode`.
        precision: quantize the vectors: "int8", "uint8", "binary" or "ubinary".
        truncate_dim: use so many leading dimensions.

    Raises:
        InvalidData: the columns differ in length, or are empty.
    """

    def __init__(
        self,
        sentences1: Sequence[str],
        sentences2: Sequence[str],
        scores: Sequence[float],
        batch_size: int = 16,
        main_similarity: str | SimilarityFunction | None = None,
        similarity_fn_names: Sequence[str] | None = None,
        name: str = "",
        show_progress_bar: bool | None = False,
        write_csv: bool = True,
        precision: str | None = None,
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__()
        check_lengths(sentences1=sentences1, sentences2=sentences2, scores=scores)
        self.sentences1, self.sentences2, self.scores = sentences1, sentences2, scores
        self.batch_size = batch_size
        self.main_similarity = SimilarityFunction(main_similarity) if main_similarity else None
        self.similarity_fn_names = checked(similarity_fn_names, main_similarity)
        self.name = name
        self.show_progress_bar = show_progress_bar
        self.write_csv = write_csv
        self.precision = precision
        self.truncate_dim = truncate_dim
        suffix = "".join(f"_{part}" for part in (name, precision) if part)
        self.csv_file = f"similarity_evaluation{suffix}_results.csv"
        self.csv_headers = self._headers(self.similarity_fn_names)

    @staticmethod
    def _headers(names: Iterable[str]) -> list[str]:
        return ["epoch", "steps", *(f"{name}_{metric}" for name in names for metric in ("pearson", "spearman"))]

    @classmethod
    def from_input_examples(cls, examples: Iterable[Any], **options: Any) -> EmbeddingSimilarityEvaluator:
        """From `InputExample`s of two texts, their label the score."""
        rows = list(examples)
        first, second = [row.texts[0] for row in rows], [row.texts[1] for row in rows]
        return cls(first, second, [row.label for row in rows], **options)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The correlations."""
        names = names_for(model, self.similarity_fn_names)
        self.csv_headers = self._headers(names)
        run = self._begin(output_path, epoch, steps)
        found: dict[str, float] = {}
        for name, scores in self.predicted_scores(model).items():
            found[f"pearson_{name}"] = m.pearson(self.scores, scores)
            found[f"spearman_{name}"] = m.spearman(self.scores, scores)
        if any(map(math.isnan, found.values())):
            report.warn(
                "a correlation is not defined (nan), because the scores or all similarities are equal",
                EvaluationWarning,
            )
        row = list(found.values())
        if len(names) > 1:
            for metric in ("pearson", "spearman"):
                found[f"{metric}_max"] = max(found[f"{metric}_{name}"] for name in names)
        main = self.main_similarity.value if self.main_similarity else names[0] if len(names) == 1 else "max"
        self.primary_metric = f"spearman_{main}"
        return self._finish(run, model, found, row)

    def predicted_scores(self, model: Any) -> dict[str, NDArray[np.float64]]:
        """The model's own score of each pair, (pairs,), by similarity."""
        n = len(self.sentences1)
        vectors = np.asarray(self.embed_inputs(model, [*self.sentences1, *self.sentences2]))
        if self.precision in ("binary", "ubinary"):
            bits = vectors.view(np.uint8) ^ (0x80 if self.precision == "binary" else 0)
            vectors = np.unpackbits(bits.astype(np.uint8), axis=1)
        if self.precision is not None:
            vectors = vectors.astype(np.float32)
        return {
            name: pair_scores(name, vectors[:n], vectors[n:]) for name in names_for(model, self.similarity_fn_names)
        }

    def embed_inputs(self, model: Any, sentences: Any, encode_fn_name: str | None = None, **options: Any) -> Any:
        """As every evaluator's, and quantized where `precision` says so."""
        wishes = {"precision": self.precision or "float32", "normalize_embeddings": bool(self.precision)}
        return super().embed_inputs(model, sentences, encode_fn_name, **{**wishes, **options})

    @property
    def description(self) -> str:
        """ "Semantic Similarity"."""
        return "Semantic Similarity"

    def get_config_dict(self) -> dict[str, Any]:
        """truncate_dim and precision, where they are set."""
        return super().get_config_dict() | ({} if self.precision is None else {"precision": self.precision})
