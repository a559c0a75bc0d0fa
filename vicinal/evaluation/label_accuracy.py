"""How often does a classifier on top of the vectors say the right label?"""

from __future__ import annotations

from typing import Any

from vicinal.errors import InvalidData
from vicinal.evaluation.base import BaseEvaluator
from vicinal.extras import require


class LabelAccuracyEvaluator(BaseEvaluator):
    """Accuracy of a classification head, such as that of `SoftmaxLoss`.

    Metrics: `accuracy`.

    Args:
        dataloader: a torch DataLoader of `InputExample`s; it is made to collate as the model does.
        softmax_model: a torch module; `softmax_model(features, labels=None)` gives (anything, logits (n, labels)).
        name, write_csv: see `BaseEvaluator`.

    Raises:
        InvalidData: (when called) the loader gives no rows.
    """

    def __init__(self, dataloader: Any, name: str = "", softmax_model: Any = None, write_csv: bool = True) -> None:
        super().__init__()
        if softmax_model is None:
            raise TypeError("LabelAccuracyEvaluator needs softmax_model: the module that classifies, a SoftmaxLoss")
        self.dataloader, self.softmax_model = dataloader, softmax_model
        self.name = name
        self.write_csv = write_csv
        self.csv_file = f"accuracy_evaluation{f'_{name}' if name else ''}_results.csv"
        self.csv_headers = ["epoch", "steps", "accuracy"]
        self.primary_metric = "accuracy"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The accuracy."""
        torch = require("torch", "LabelAccuracyEvaluator")
        run = self._begin(output_path, epoch, steps)
        self.dataloader.collate_fn = model.smart_batching_collate
        training = self.softmax_model.training
        self.softmax_model.eval()
        right = total = 0
        try:
            with torch.no_grad():
                for columns, labels in self.dataloader:
                    features = [{name: _moved(value, model.device) for name, value in c.items()} for c in columns]
                    logits = self.softmax_model(features, labels=None)[1]
                    right += int((logits.argmax(dim=1) == labels.to(logits.device)).sum())
                    total += len(labels)
        finally:
            self.softmax_model.train(training)
        if total == 0:
            raise InvalidData("the data loader gives no rows: there is nothing to evaluate")
        return self._finish(run, model, {"accuracy": right / total}, [right / total])


def _moved(value: Any, device: Any) -> Any:
    return value.to(device) if hasattr(value, "to") else value
