"""The text of a card below its front matter: one function a section, each gives its lines or none."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import vicinal

if TYPE_CHECKING:
    from vicinal.cards.data import Facts, ModelCardData

_LONG = 100
"""Lines of a log that are shown without a click."""


def body(card: ModelCardData) -> str:
    """Everything below the front matter."""
    sections = (_head, _description, _usage, _evaluation, _data, _hyperparameters, _logs, _versions, _citations)
    return "\n\n".join(text for section in sections if (text := "\n".join(section(card)).strip())) + "\n"


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of rows; columns in the order in which they are met, `-` where a row has none."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names), *([_cell(row.get(name, "-")) for name in names] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(value: Any) -> str:
    text = f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\r", " ").replace("\n", "<br>")


def _facts(card: ModelCardData) -> Facts:
    assert card.facts is not None  # `render` has seen to it
    return card.facts


def _link(dataset: Mapping[str, Any]) -> str:
    name = dataset.get("name") or dataset["id"]
    return f"[{name}](https://huggingface.co/datasets/{dataset['id']})" if dataset.get("id") else str(name)


def _head(card: ModelCardData) -> list[str]:
    facts = _facts(card)
    made = f", made from [{card.base_model}](https://huggingface.co/{card.base_model})" if card.base_model else ""
    if facts.similarity:
        does = f"It turns texts into vectors of {facts.dims} dimensions"
    else:
        does = f"It scores pairs of texts ({facts.dims} score{'s' * (facts.dims != 1)} a pair)"
    return [f"# {card.title}", "", f"A {card.kind} model{made}. {does}, for {card.task_name}."]


def _description(card: ModelCardData) -> list[str]:
    facts = _facts(card)
    lines = ["## Model", ""]
    if card.base_model:
        revision = f" at {card.base_model_revision}" if card.base_model_revision else ""
        lines.append(f"- **Base model:** {card.base_model}{revision}")
    limit = "none" if facts.max_seq_length is None else f"{facts.max_seq_length} tokens"
    lines += [f"- **Longest input:** {limit}", f"- **Output:** {facts.dims} dimensions"]
    if facts.similarity:
        lines.append(f"- **Similarity:** {facts.similarity}")
    if card.train_datasets:
        lines.append(f"- **Training data:** {', '.join(map(_link, card.train_datasets))}")
    if card.language:
        lines.append(f"- **Language:** {', '.join(card.language)}")
    if card.license:
        lines.append(f"- **License:** {card.license}")
    return [*lines, "", "```", *facts.modules, "```"]


def _usage(card: ModelCardData) -> list[str]:
    # Not the name that the model was loaded by: its weights may have been trained since.
    name = json.dumps(card.model_id or "path/to/this/folder", ensure_ascii=False)
    if _facts(card).similarity:
        code = [
            f"model = SentenceTransformer({name})",
            'vectors = model.encode(["A text.", "Another one."])',
            "print(model.similarity(vectors, vectors))",
        ]
    else:
        code = [
            f"model = CrossEncoder({name})",
            'print(model.predict([("a query", "a document"), ("a query", "another one")]))',
        ]
    return ["## Usage", "", "```python", f"from vicinal import {card.kind}  # or from sentence_transformers", "",
            *code, "```"]  # fmt: skip


def _evaluation(card: ModelCardData) -> list[str]:
    lines: list[str] = []
    for found in card.results.values():
        of = f" on {found.name}" if found.name else ""
        lines += ["", f"### {found.description}{of}", "", f"By `{found.class_name}`."]
        if found.config:
            lines += ["", *_code(found.config)]
        rows = []
        for key, value in found.metrics.items():
            bold = "**" if found.primary is not None and found.short(found.primary) == key else ""
            rows.append({"Metric": f"{bold}{key}{bold}", "Value": f"{bold}{_cell(value)}{bold}"})
        lines += ["", *table(rows)]
    return ["## Evaluation", *lines] if lines else []


def _data(card: ModelCardData) -> list[str]:
    lines: list[str] = []
    for what, datasets in (("Training", card.train_datasets), ("Evaluation", card.eval_datasets)):
        for dataset in datasets:
            if "columns" in dataset:
                lines += ["", f"### {what} data: {_link(dataset)}", *_dataset(dataset)]
    return ["## Data", *lines] if lines else []


def _dataset(dataset: Mapping[str, Any]) -> list[str]:
    size = f"{dataset['size']:,} rows of " if dataset.get("size") is not None else "Columns: "
    revision = f" (revision {dataset['revision']})" if dataset.get("revision") else ""
    lines = ["", f"{size}{', '.join(f'`{name}`' for name in dataset['columns'])}{revision}"]
    if dataset.get("stats"):
        rows = [{"Column": name, **values} for name, values in dataset["stats"].items()]
        lines += ["", f"Of the first {dataset['counted']} rows:", "", *table(rows)]
    if dataset.get("samples"):
        lines += ["", "Samples:", "", *table(dataset["samples"])]
    if loss := dataset.get("loss"):
        lines += ["", f"Loss: `{loss['name']}`"]
        if loss.get("config"):
            lines += ["", *_code(loss["config"])]
    return lines


def _hyperparameters(card: ModelCardData) -> list[str]:
    if not card.all_hyperparameters and not card.non_default_hyperparameters:
        return []
    lines = ["## Hyperparameters", ""]
    lines += [f"- `{name}`: {value}" for name, value in card.non_default_hyperparameters.items()]
    if card.all_hyperparameters:
        lines += ["", "<details><summary>All of them</summary>", ""]
        lines += [f"- `{name}`: {value}" for name, value in card.all_hyperparameters.items()]
        lines += ["", "</details>"]
    return lines


def _logs(card: ModelCardData) -> list[str]:
    lines = []
    if card.training_logs:
        order = ("Epoch", "Step", "Training Loss", "Validation Loss")
        names = list(dict.fromkeys([*order, *(name for row in card.training_logs for name in row)]))
        names = [name for name in names if any(name in row for row in card.training_logs)]
        rows = []
        for row in card.training_logs:
            bold = "**" if row["Step"] == card.best_model_step else ""
            rows.append({name: f"{bold}{_cell(row.get(name, '-'))}{bold}" for name in names})
        lines = table(rows)
        if len(lines) > _LONG:
            lines = ["<details><summary>Every step that was logged</summary>", "", *lines, "", "</details>"]
        if any(row["Step"] == card.best_model_step for row in card.training_logs):
            lines += ["", "The weights are those of the bold line."]
    if card.training_seconds is not None:
        lines = [*lines, "", f"Training took {_duration(card.training_seconds)}."]
    return ["## Training", "", *lines] if lines else []


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def _versions(card: ModelCardData) -> list[str]:
    versions = card.versions or {"Python": platform.python_version(), "vicinal": vicinal.__version__}
    return ["## Versions", "", *(f"- {name}: {version}" for name, version in versions.items())]


def _citations(card: ModelCardData) -> list[str]:
    lines: list[str] = []
    for name, citation in card.citations.items():
        lines += ["", f"### {name}", "", "```bibtex", citation, "```"]
    return ["## Citation", *lines] if lines else []


def _code(config: Mapping[str, Any]) -> list[str]:
    return ["```json", *json.dumps(config, indent=2, default=str, ensure_ascii=False).splitlines(), "```"]
