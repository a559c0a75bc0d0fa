"""What every evaluator has: how it is called, how its metrics are named, where its results are written."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from vicinal.errors import InvalidData

logger = logging.getLogger("vicinal.evaluation")


class Run(NamedTuple):
    """One evaluation: where its row is written (None: nowhere), and when in training it takes place."""

    folder: str | None
    epoch: int
    steps: int


class BaseEvaluator:
    """A callable that says how good a model is. Derive from it and define `__call__` for one of your own.

    Attributes:
        name: stands before every metric's name: "dev" gives "dev_spearman_cosine".
        primary_metric: which metric of a dict counts, where one must be chosen; set by the call.
        greater_is_better: whether more of it is better.
        csv_file, csv_headers: the file that a call with `output_path` appends a row to, and its columns.
    """

    name: str = ""
    primary_metric: str | None = None
    greater_is_better: bool = True
    write_csv: bool = True
    csv_file: str = ""
    csv_headers: Sequence[str] = ()

    def __init__(self) -> None:
        self.greater_is_better = True
        self.primary_metric = None

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> float | dict[str, float]:
        """Evaluate.

        Args:
            model: what is evaluated.
            output_path: a folder for files, made where it is not there; None writes none.
            epoch, steps: how far training is, for the files; -1 outside training.

        Returns:
            A number, or metrics by name.
        """
        raise NotImplementedError(f"{type(self).__name__} must define __call__(model, output_path, epoch, steps)")

    @property
    def description(self) -> str:
        """The kind of evaluation in words: "Information Retrieval" of InformationRetrievalEvaluator."""
        name = re.sub("^CE(?=[A-Z])", "CrossEncoder", type(self).__name__)
        return re.sub(r"([a-z])([A-Z])", r"\1 \2", name.partition("Evaluator")[0])

    def get_config_dict(self) -> dict[str, Any]:
        """What of the settings belongs into a model card."""
        return {}

    def prefix_name_to_metrics(self, metrics: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Metrics as Python floats under `{name}_{metric}`; `primary_metric` is renamed with them."""
        primary = self.primary_metric
        if name and primary is not None and (primary in metrics or not primary.startswith(f"{name}_")):
            self.primary_metric = f"{name}_{primary}"
        lead = f"{name}_" if name else ""
        return {f"{lead}{key}": value if isinstance(value, str) else float(value) for key, value in metrics.items()}

    def store_metrics_in_model_card_data(
        self, model: Any, metrics: dict[str, Any], epoch: int = 0, step: int = 0
    ) -> None:
        """Tell the model's card of a result, where the model has one."""
        card = getattr(model, "model_card_data", None)
        if card is not None:
            card.set_evaluation_metrics(self, metrics, epoch, step)

    # ---- for the evaluators of this package ----------------------------------------------------------------------

    def _begin(self, output_path: str | None, epoch: int, steps: int) -> Run:
        """Log what begins, and find out before any work whether its results can be written.

        Returns:
            What `_finish` is to be given.

        Raises:
            InvalidData: the file is there and has other columns.
        """
        when = "" if epoch == -1 else f" after epoch {epoch}" if steps == -1 else f" in epoch {epoch}, step {steps}"
        data = f" on {self.name}" if self.name else ""
        logger.info("%s%s%s", type(self).__name__, data, when)
        if output_path is None or not self.write_csv:
            return Run(None, epoch, steps)
        path = os.path.join(output_path, self.csv_file)
        if os.path.isfile(path):
            with open(path, newline="", encoding="utf-8") as file:
                found = next(csv.reader(file), None)
            if found not in (None, list(self.csv_headers)):
                raise InvalidData(
                    f"{path} has the columns {', '.join(found)}; this evaluation writes {', '.join(self.csv_headers)}. "
                    "Move the file away, or give the evaluator another name"
                )
        return Run(output_path, epoch, steps)

    def _finish(self, run: Run, model: Any, metrics: Mapping[str, Any], row: Iterable[Any]) -> dict[str, float]:
        """Log, write the row and tell the card.

        Args:
            metrics: by their short names.
            row: what stands in the file's columns after epoch and steps.

        Returns:
            The metrics by their full names.
        """
        self._write(run, row)
        for key, value in metrics.items():
            logger.info("%s: %.4f", key, value)
        named = self.prefix_name_to_metrics(metrics, self.name)
        self.store_metrics_in_model_card_data(model, named, run.epoch, run.steps)
        return named

    def _write(self, run: Run, row: Iterable[Any]) -> None:
        """Append a row to the file, under a header if it is new."""
        if run.folder is None:
            return
        os.makedirs(run.folder, exist_ok=True)
        path = os.path.join(run.folder, self.csv_file)
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(self.csv_headers)
            writer.writerow([run.epoch, run.steps, *map(_plain, row)])


def _plain(value: Any) -> Any:
    """A NumPy number as Python's own, which prints the same everywhere."""
    return value.item() if hasattr(value, "item") else value


SentenceEvaluator = BaseEvaluator
"""The older name."""


class EncodingEvaluator(BaseEvaluator):
    """An evaluator that encodes texts, in one way wherever it does.

    Attributes:
        batch_size, show_progress_bar, truncate_dim: given to every call of the model's `encode`.
        encode_options: more that is given to it; set it for what only some models take, such as `batch_tokens`.
    """

    batch_size: int = 32
    show_progress_bar: bool | None = False
    truncate_dim: int | None = None
    encode_options: Mapping[str, Any] = MappingProxyType({})

    def embed_inputs(self, model: Any, sentences: Any, encode_fn_name: str | None = None, **options: Any) -> Any:
        """Vectors of texts, (n, dims).

        Args:
            model: what has `encode`, and `encode_query` and `encode_document` where these are asked for.
            encode_fn_name: "query" or "document"; None for plain `encode`.
            options: more arguments of `encode`.
        """
        encode = model.encode if encode_fn_name is None else getattr(model, f"encode_{encode_fn_name}")
        wishes = {
            "batch_size": self.batch_size,
            "show_progress_bar": self.show_progress_bar,
            "convert_to_numpy": True,
            "truncate_dim": self.truncate_dim,
        }
        return encode(sentences, **{**wishes, **self.encode_options, **options})

    def get_config_dict(self) -> dict[str, Any]:
        """truncate_dim, where it is set."""
        return {} if self.truncate_dim is None else {"truncate_dim": self.truncate_dim}


def check_lengths(**columns: Sequence[Any]) -> None:
    """Columns of one table have one length, and at least one row.

    Raises:
        InvalidData: they have not; each length is named.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InvalidData(f"row i of each belongs together, so that all need as many rows: {said}")
    if not all(lengths.values()):
        raise InvalidData(f"there is nothing to evaluate: {', '.join(lengths)} have no rows")
