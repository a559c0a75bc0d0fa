"""Several evaluators as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from vicinal import report
from vicinal.errors import EvaluationWarning
from vicinal.evaluation.base import BaseEvaluator


def last(scores: list[float]) -> float:
    """The last evaluator's score."""
    return scores[-1]


class SequentialEvaluator(BaseEvaluator):
    """Runs evaluators one after the other; their metrics together, and one number of all of them.

    Metrics: all of theirs, `evaluator_{i}` for one that gives a number alone, and `sequential_score` (primary).

    Args:
        evaluators: evaluators, of this package or your own.
        main_score_function: from the list of their primary metrics to the one number; the last of them by default.

    Warns:
        EvaluationWarning: two evaluators give a metric of the same name, and the later one's is kept: name them.
    """

    def __init__(
        self, evaluators: Iterable[BaseEvaluator], main_score_function: Callable[[list[float]], float] = last
    ) -> None:
        super().__init__()
        self.evaluators = list(evaluators)
        self.main_score_function = main_score_function
        self.primary_metric = "sequential_score"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The metrics of all."""
        results: dict[str, float] = {}
        scores: list[float] = []
        for i, evaluator in enumerate(self.evaluators):
            found = evaluator(model, output_path, epoch, steps)
            if not isinstance(found, dict):
                found = {f"evaluator_{i}": found}
            if twice := sorted(set(found) & set(results)):
                report.warn(
                    f"evaluator {i} ({type(evaluator).__name__}) gives {', '.join(twice)}, as one before it does, "
                    "whose result is lost: give the evaluators different names",
                    EvaluationWarning,
                )
            primary = getattr(evaluator, "primary_metric", None)
            scores.append(found[primary] if primary in found else next(iter(found.values())))
            results |= found
        return results | {"sequential_score": self.main_score_function(scores) if scores else 0.0}
