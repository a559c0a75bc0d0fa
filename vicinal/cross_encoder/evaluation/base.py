"""What the evaluators of pair scorers share: how they ask the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import InvalidData
from vicinal.evaluation.base import BaseEvaluator


class PredictingEvaluator(BaseEvaluator):
    """An evaluator that asks a model for the scores of pairs.

    Attributes:
        prompt_name, batch_size, show_progress_bar: given to the model's `predict`.
    """

    prompt_name: str | None = None
    batch_size: int = 32
    show_progress_bar: bool | None = None

    def predictions(self, model: Any, pairs: Sequence[Any], labels: int = 1) -> NDArray[Any]:
        """The model's scores, (pairs,), or (pairs, labels) where it has several.

        Raises:
            InvalidData: the model gives something of another shape.
        """
        scores = np.asarray(
            model.predict(
                pairs,
                prompt_name=self.prompt_name,
                batch_size=self.batch_size,
                convert_to_numpy=True,
                show_progress_bar=self.show_progress_bar,
            )
        )
        wanted = (len(pairs),) if labels == 1 else (len(pairs), labels)
        if scores.shape != wanted:
            raise InvalidData(
                f"{type(self).__name__} needs scores of shape {wanted} for {len(pairs)} pairs, but the model's predict "
                f"gave shape {scores.shape}"
            )
        return scores
