"""Evaluation results as plain data, and in the hub's model-index form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """What one evaluator found.

    Attributes:
        class_name: of the evaluator.
        description: the kind of evaluation, in words.
        name: of the data; "" if it has none.
        metrics: by their short names; numbers only.
        primary: the full name of the metric that counts, if it is among them.
        config: settings of the evaluator.
    """

    class_name: str
    description: str
    name: str
    metrics: dict[str, float]
    primary: str | None
    config: dict[str, Any]

    def short(self, name: str) -> str:
        """A metric's name without that of the data."""
        return name.removeprefix(f"{self.name}_") if self.name else name


def result_of(evaluator: Any, metrics: Mapping[str, Any]) -> Result:
    """Take down a result; values that are no numbers are left out, and so are nan and infinity, which the hub's JSON
    cannot hold."""
    name = str(getattr(evaluator, "name", "") or "")
    lead = f"{name}_" if name and all(key.startswith(f"{name}_") for key in metrics) else ""
    numbers = {key: number for key, value in metrics.items() if (number := _number(value)) is not None}
    primary = getattr(evaluator, "primary_metric", None)
    kind = type(evaluator).__name__
    config = evaluator.get_config_dict() if hasattr(evaluator, "get_config_dict") else {}
    return Result(
        kind,
        str(getattr(evaluator, "description", kind)),
        name,
        {key.removeprefix(lead): value for key, value in numbers.items()},
        primary if primary in numbers else None,
        dict(config),
    )


def _number(value: Any) -> float | None:
    """A finite number, also in front of a text such as "0.62 (+0.01)"."""
    if isinstance(value, str):
        value = value.split()[0] if value.split() else ""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def index(model_name: str, results: Sequence[Result]) -> list[dict[str, Any]]:
    """The hub's model-index: of each kind of evaluation and data, its metrics."""
    entries = [
        {
            "task": {"type": found.description.lower().replace(" ", "-"), "name": found.description},
            "dataset": {
                "name": found.name.replace("_", " ").replace("-", " ") or "Unknown",
                "type": found.name or "unknown",
            },
            "metrics": [
                {"type": key, "value": value, "name": key.replace("_", " ").title()}
                for key, value in found.metrics.items()
            ],
        }
        for found in results
        if found.metrics
    ]
    return [{"name": model_name, "results": entries}] if entries else []
