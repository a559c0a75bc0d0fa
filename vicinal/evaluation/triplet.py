"""Is an anchor nearer to its positive than to its negative?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.evaluation.base import EncodingEvaluator, check_lengths
from vicinal.evaluation.similarities import checked, names_for, pair_scores
from vicinal.similarity import SimilarityFunction


class TripletEvaluator(EncodingEvaluator):
    """Share of triplets whose anchor is more like the positive than like the negative, by more than a margin.

    Metrics: `{similarity}_accuracy`, and with several similarities `max_accuracy`. The primary one is that of the main
    similarity, else of the only one, else the highest. Anchors are encoded as queries, the others as documents.

    Args:
        anchors, positives, negatives: texts; row i of the three is a triplet.
        main_similarity_function: "cosine", "dot", "euclidean" or "manhattan"; None for the model's own.
            `main_distance_function` is its older name.
        margin: by how much; one number for every similarity, or a number for each by name.
        name, batch_size, show_progress_bar, write_csv, truncate_dim: as in `EmbeddingSimilarityEvaluator`.
        similarity_fn_names: several of these.

    Raises:
        InvalidData: the columns differ in length or are empty. ValueError: a margin for a similarity that there is not.
    """

    def __init__(
        self,
        anchors: Sequence[str],
        positives: Sequence[str],
        negatives: Sequence[str],
        main_similarity_function: str | SimilarityFunction | None = None,
        margin: float | Mapping[str, float] | None = None,
        name: str = "",
        batch_size: int = 16,
        show_progress_bar: bool | None = False,
        write_csv: bool = True,
        truncate_dim: int | None = None,
        similarity_fn_names: Sequence[str] | None = None,
        main_distance_function: str | SimilarityFunction | None = "deprecated",
    ) -> None:
        super().__init__()
        check_lengths(anchors=anchors, positives=positives, negatives=negatives)
        self.anchors, self.positives, self.negatives = anchors, positives, negatives
        if main_similarity_function is None and main_distance_function != "deprecated":
            main_similarity_function = main_distance_function
        self.main_similarity_function = (
            SimilarityFunction(main_similarity_function) if main_similarity_function else None
        )
        self.similarity_fn_names = checked(similarity_fn_names, main_similarity_function)
        self.margin = _margins(margin)
        self.name = name
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.write_csv = write_csv
        self.truncate_dim = truncate_dim
        self.csv_file = f"triplet_evaluation{f'_{name}' if name else ''}_results.csv"
        self.csv_headers = self._headers(self.similarity_fn_names)

    @staticmethod
    def _headers(names: Iterable[str]) -> list[str]:
        return ["epoch", "steps", *(f"accuracy_{name}" for name in names)]

    @classmethod
    def from_input_examples(cls, examples: Iterable[Any], **options: Any) -> TripletEvaluator:
        """From `InputExample`s of three texts."""
        rows = list(examples)
        anchors, positives, negatives = ([row.texts[i] for row in rows] for i in range(3))
        return cls(anchors, positives, negatives, **options)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The accuracies."""
        names = names_for(model, self.similarity_fn_names)
        self.csv_headers = self._headers(names)
        run = self._begin(output_path, epoch, steps)
        found = {f"{name}_accuracy": float(np.mean(hits)) for name, hits in self.hits(model).items()}
        row = list(found.values())
        if len(names) > 1:
            found["max_accuracy"] = max(row)
        main = self.main_similarity_function
        self.primary_metric = f"{main.value if main else names[0] if len(names) == 1 else 'max'}_accuracy"
        return self._finish(run, model, found, row)

    def hits(self, model: Any) -> dict[str, NDArray[np.bool_]]:
        """Whether each triplet is right, (triplets,), by similarity."""
        n = len(self.positives)
        anchors = np.asarray(self.embed_inputs(model, self.anchors, encode_fn_name="query"))
        others = np.asarray(self.embed_inputs(model, [*self.positives, *self.negatives], encode_fn_name="document"))
        found = {}
        for name in names_for(model, self.similarity_fn_names):
            near, far = pair_scores(name, anchors, others[:n]), pair_scores(name, anchors, others[n:])
            found[name] = near > far + self.margin[name]
        return found

    def get_config_dict(self) -> dict[str, Any]:
        """margin and truncate_dim, where they are set."""
        return ({"margin": self.margin} if any(self.margin.values()) else {}) | super().get_config_dict()


def _margins(margin: float | Mapping[str, float] | None) -> dict[str, float]:
    """A margin for each similarity."""
    names = SimilarityFunction.possible_values()
    if isinstance(margin, Mapping):
        if unknown := sorted(set(margin) - set(names)):
            raise ValueError(f"margin is given for {', '.join(map(repr, unknown))}; similarities are {names}")
        return {**dict.fromkeys(names, 0.0), **margin}
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, (int, float, np.number))):
        raise ValueError(f"margin must be a number, or a number for each of {names}, not {margin!r}")
    return dict.fromkeys(names, 0.0 if margin is None else float(margin))
