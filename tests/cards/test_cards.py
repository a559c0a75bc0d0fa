"""Cards read back by huggingface_hub give what was written; saved models have them; a training fills them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

import vicinal
from tests import tiny
from tests.cross_encoder.conftest import write_classifier
from vicinal import CrossEncoder, CrossEncoderModelCardData, SentenceTransformer
from vicinal import SentenceTransformerModelCardData as Data
from vicinal.evaluation import EmbeddingSimilarityEvaluator

TEXTS = ["red apple", "green apple", "the tax law"]


@pytest.fixture
def model(tmp_path: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny.write_bert(tmp_path / "model")), dtype="float32")


def saved(model: Any, folder: Path, **options: Any) -> ModelCard:
    model.save(folder, **options)
    return ModelCard.load(folder / "README.md")


def test_what_an_author_says(model: SentenceTransformer, tmp_path: Path) -> None:
    model.model_card_data = Data(
        language="en",
        license="apache-2.0",
        model_name="A model: of 'mine' | and # yours",
        model_id="me/my-model",
        train_datasets=[{"name": "SNLI", "id": "stanfordnlp/snli"}, {"name": "our own"}],
        tags=["mine", "yes"],
    )
    model.model_card_data.set_base_model("org/base", "abc123")
    card = saved(model, tmp_path / "saved", train_datasets=["other/data"])
    assert card.data.to_dict() == {
        "language": ["en"],
        "license": "apache-2.0",
        "library_name": "sentence-transformers",
        "tags": ["mine", "yes"],
        "datasets": ["stanfordnlp/snli", "other/data"],
        "pipeline_tag": "sentence-similarity",
        "base_model": "org/base",
    }
    assert card.text.strip().startswith("# A model: of 'mine' | and # yours\n")
    for said in (
        "made from [org/base](https://huggingface.co/org/base)",
        "vectors of 22 dimensions",
        "- **Base model:** org/base at abc123",
        "- **Longest input:** 17 tokens",
        "- **Similarity:** cosine",
        "[SNLI](https://huggingface.co/datasets/stanfordnlp/snli), our own",
        'model = SentenceTransformer("me/my-model")',
        f"- vicinal: {vicinal.__version__}",
    ):
        assert said in card.text


def test_results_in_the_hubs_form(model: SentenceTransformer, tmp_path: Path) -> None:
    evaluator = EmbeddingSimilarityEvaluator(TEXTS, TEXTS[::-1], [0.2, 1.0, 0.3], name="sts-dev")
    found = model.evaluate(evaluator)
    card = saved(model, tmp_path / "saved", model_name="me/evaluated")
    results = card.data.eval_results
    assert {f"sts-dev_{r.metric_type}": r.metric_value for r in results} == found
    assert {r.task_type for r in results} == {"semantic-similarity"}
    assert {(r.dataset_type, r.dataset_name) for r in results} == {("sts-dev", "sts dev")}
    assert card.data.model_name == "me/evaluated"
    assert card.data.metrics == [name.removeprefix("sts-dev_") for name in found]
    assert f"| **{evaluator.primary_metric.removeprefix('sts-dev_')}** | **" in card.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", "unknown", None])
def test_what_is_no_number_is_not_published(model: SentenceTransformer, value: Any) -> None:
    evaluator = SimpleNamespace(name="dev", primary_metric="dev_spearman")
    model.model_card_data.set_evaluation_metrics(evaluator, {"dev_spearman": value, "dev_pearson": 0.5})
    (entry,) = model.model_card_data.to_dict()["model-index"][0]["results"]
    assert [(metric["type"], metric["value"]) for metric in entry["metrics"]] == [("pearson", 0.5)]
    assert not model.model_card_data.training_logs  # the metric that counts is unknown


def test_the_card_that_came_with_a_model_stays_until_something_is_said(tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: mit\n---\nits own\n", "utf-8")
    model = SentenceTransformer(str(folder), dtype="float32")
    assert saved(model, tmp_path / "kept").text.strip() == "its own"
    model.model_card_data.set_license("apache-2.0")
    card = saved(model, tmp_path / "new")
    assert card.data.license == "apache-2.0"
    assert "its own" not in card.text


def test_a_scorers_card(tmp_path: Path) -> None:
    own = CrossEncoderModelCardData(license="mit")
    model = CrossEncoder(str(write_classifier(tmp_path / "model", labels=3)), dtype="float32", model_card_data=own)
    assert model.model_card_data is own
    card = saved(model, tmp_path / "saved")
    assert (card.data.pipeline_tag, card.data.license) == ("text-ranking", "mit")
    assert card.data.tags == ["sentence-transformers", "cross-encoder", "reranker", "vicinal"]
    assert "scores pairs of texts (3 scores a pair)" in card.text
    assert "CrossEncoder(" in card.text


class Loss:
    """As much of a loss as a card asks for."""

    citation = "@article{one,\n  title={One}\n}"

    def __init__(self, loss: Any = None) -> None:
        self.loss = loss

    def __call__(self) -> None: ...

    def get_config_dict(self) -> dict[str, Any]:
        return {"scale": 20.0}


class Outer(Loss):
    citation = "@article{two}"


def test_a_training_tells(model: SentenceTransformer, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from vicinal.training.model_card import ModelCardCallback, generate_model_card

    rows = {"anchor": ["red | apple", "tax\nlaw", "the law"], "other": ["green", "tax", "red"], "label": [0, 1, 2]}
    data = datasets.Dataset.from_dict(rows)
    told = ModelCardCallback(model, {"pairs": data}, data, {"pairs": Outer(Loss())}, {"seed": 42, "lr": 1.0})
    arguments = SimpleNamespace(
        to_dict=lambda: {"seed": 42, "lr": 0.5, "output_dir": "/secret/place", "hub_token": "secret"},
        load_best_model_at_end=True,
    )
    state = SimpleNamespace(epoch=0.5, global_step=10, best_global_step=10)
    told.on_train_begin(arguments, state, None)
    told.on_log(arguments, state, None, logs={"loss": 0.75, "learning_rate": 1})
    told.on_log(arguments, state, None, logs={"train_runtime": 3})
    told.on_evaluate(arguments, state, None, metrics={"eval_loss": 0.5, "eval_runtime": 2.0})
    evaluator = EmbeddingSimilarityEvaluator(TEXTS, TEXTS[::-1], [0.2, 1.0, 0.3], name="dev")
    evaluator(model, epoch=0.5, steps=10)
    state.epoch, state.global_step = 1.0, 20
    told.on_log(arguments, state, None, logs={"loss": 0.25})
    told.on_train_end(arguments, state, None)
    text = generate_model_card(model)
    model.save(tmp_path / "saved")
    assert (tmp_path / "saved/README.md").read_text("utf-8") == text
    card = ModelCard(text)
    assert card.data.tags[-3:] == ["generated_from_trainer", "loss:Outer", "loss:Loss"]
    assert card.data.widget[0] == {"source_sentence": "red | apple", "sentences": ["green", "tax", "red"]}
    dev = model.model_card_data.training_logs[0]["dev_spearman_cosine"]
    log = f"| **0.5** | **10** | **0.75** | **0.5** | **{dev:.4f}".rstrip("0").rstrip(".")
    for said in (
        "### Training data: pairs\n\n3 rows of `anchor`, `other`, `label`",
        "| Column | Type | In | Least | Mean | Most |",
        "| label | int | - | 0 | 1 | 2 |",
        "| red \\| apple | green | 0 |",
        "| tax<br>law | tax | 1 |",
        "Loss: `Outer`",
        '"scale": 20.0',
        "- `lr`: 0.5\n\n<details>",
        "| Epoch | Step | Training Loss | Validation Loss | dev_spearman_cosine |",
        log,
        "| 1 | 20 | 0.25 | - | - |",
        "The weights are those of the bold line.",
        "### Loss\n\n```bibtex\n@article{one,",
        "- transformers: ",
    ):
        assert said in text, said
    assert "secret" not in text
    assert str(tmp_path) not in text
    assert card.data.base_model is None  # a folder is no model of the hub's


def test_anything_can_be_told(model: SentenceTransformer) -> None:
    """What a YAML reader could take for something else comes back as it was."""
    for odd in ("no", "1.0", "a: b", "- x", "#", "'", '"', "é中", "a\nb", "null", "2020-01-01", "---"):
        model.model_card_data = Data(license=odd, tags=[odd], language=[odd])
        model.model_card_data.register_model(model)
        matter = yaml.safe_load(model.model_card_data.to_yaml())
        assert (matter["license"], matter["tags"], matter["language"]) == (odd, [odd], [odd])


def test_what_cannot_be(model: SentenceTransformer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model_id must be 'organisation/name', not 'bare'"):
        Data(model_id="bare")
    with pytest.raises(ValueError, match="a data set of a card is a dict with a name or a hub id, not 'snli'"):
        Data(train_datasets=["snli"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="the card knows no model"):
        Data().render()
    model.model_card_data = {"tags": []}
    with pytest.raises(TypeError, match="model_card_data must be a SentenceTransformerModelCardData, not dict"):
        model.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_what_changes_nothing_twice() -> None:
    card = Data(tags=["a"])
    card.add_tags("a")
    card.add_tags(["b", "a"])
    assert card.tags == ["a", "b"]
    card.set_language(["de", "en"])
    assert card.language == ["de", "en"]


def test_what_a_training_started_from(model: SentenceTransformer) -> None:
    pytest.importorskip("datasets")
    from vicinal.training.model_card import ModelCardCallback

    model.name = "org/base"
    ModelCardCallback(model)
    assert model.model_card_data.base_model == "org/base"
    assert model.model_card_data.title == "SentenceTransformer based on org/base"
