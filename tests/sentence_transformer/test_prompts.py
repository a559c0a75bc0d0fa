"""Prompts: of the model, of its family, of the user."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.sentence_transformer.texts import assert_near, load
from vicinal import SentenceTransformer
from vicinal.errors import (
    PromptWarning,
)

PROMPTS = {"query": "query: ", "list": "- "}
RESOLVED = [
    # method, settings of the model, arguments, what stands in front
    ("encode", {}, {}, ""),
    ("encode", {}, {"prompt_name": "query"}, "query: "),
    ("encode", {}, {"prompt": "the "}, "the "),
    ("encode", {}, {"prompt": ""}, ""),
    ("encode", {"default": "list"}, {}, "- "),
    ("encode", {"default": "list"}, {"prompt": ""}, ""),
    ("encode", {"default": "list"}, {"prompt_name": "query"}, "query: "),
    ("encode", {"default": "list"}, {"prompt_name": "document"}, ""),
    ("encode_query", {}, {}, "query: "),
    ("encode_query", {"default": "list"}, {}, "query: "),
    ("encode_query", {}, {"prompt": ""}, ""),
    ("encode_query", {}, {"prompt_name": "list"}, "- "),
    ("encode_query", {"prompts": {"query": ""}, "default": None}, {}, ""),
    ("encode_document", {}, {}, ""),
    ("encode_document", {"default": "list"}, {}, ""),
    ("encode_document", {"prompts": {"document": "the ", "passage": "a "}}, {}, "the "),
    ("encode_document", {"prompts": {"passage": "a ", "corpus": "b "}}, {}, "a "),
    ("encode_document", {"prompts": {"corpus": "b "}}, {}, "b "),
    ("encode_document", {"prompts": {"passage": "a "}}, {"prompt": ""}, ""),
    ("encode_iter", {}, {}, ""),
    ("encode_iter", {"default": "list"}, {}, "- "),
    ("encode_iter", {"default": "list"}, {"prompt": ""}, ""),
    ("encode_iter", {}, {"prompt_name": "query"}, "query: "),
]


@pytest.mark.parametrize(("method", "setting", "arguments", "front"), RESOLVED)
def test_prompts(
    method: str, setting: dict[str, Any], arguments: dict[str, Any], front: str, folder: Path, shared: Any
) -> None:
    """A prompt is as if the text began with it."""
    options = {"prompts": setting.get("prompts", PROMPTS), "default_prompt_name": setting.get("default")}
    model = load(folder, **options) if setting else shared
    found = np.stack(list(getattr(model, method)(["red apple", "tax"], **arguments)))
    assert_near(found, shared.encode([f"{front}red apple", f"{front}tax"]))


def test_the_constructors_prompts_are_put_over_the_models(folder: Path) -> None:
    model = load(folder, prompts={"query": "", "mine": "the ", "none": None})
    assert model.prompts == {"query": "", "document": "", "list": "- ", "mine": "the ", "none": ""}
    with pytest.raises(ValueError, match="default_prompt_name='nope' is none of this model's prompts"):
        load(folder, default_prompt_name="nope")


def test_prompt_wins_over_its_name(shared: SentenceTransformer) -> None:
    with pytest.warns(PromptWarning, match="both prompt and prompt_name='query' given: prompt is used") as caught:
        found = shared.encode("red", prompt_name="query", prompt="- ")
    assert caught[0].filename == __file__
    assert_near(found, shared.encode("- red"))


def test_a_familys_prompts_are_supplied_and_said_once(tmp_path: Path) -> None:
    """e5 models were trained with prompts that their files do not state."""
    folder = tiny.write_bert(tmp_path / "e5-small-v2")
    model = load(folder)
    with pytest.warns(PromptWarning, match="was trained with the prompt 'query: ' for every query") as caught:
        found = model.encode_query("red apple")
    assert caught[0].filename == __file__
    with pytest.warns(PromptWarning, match="'passage: ' for every document"):
        model.encode_document("red")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_near(model.encode_query("red apple"), found)
        assert_near(model.encode("query: red apple"), found)
        assert_near(load(folder, prompts={"query": ""}).encode_query("red apple"), model.encode("red apple"))
    stated = tiny.write_bert(tmp_path / "org/e5-small-v2", settings={"prompts": {"query": "- "}})
    assert load(stated).prompts["query"] == "- "


def test_pooling_may_leave_the_prompt_out(model: SentenceTransformer) -> None:
    """The prompt's tokens and [CLS] are seen, and not counted."""
    states = model.encode("query: red apple", output_value="token_embeddings").astype(float)
    prompt = len(model.encode("query: ", output_value="token_embeddings")) - 1
    model.set_pooling_include_prompt(False)
    wanted = states[prompt:].mean(0)
    found = model.encode("red apple", prompt="query: ")
    assert_near(found, wanted / np.linalg.norm(wanted))
    assert_near(model.encode(["red apple", "tax"], prompt_name="query")[0], found)
    assert_near(next(iter(model.encode_iter(["red apple"], prompt_name="query"))), found)
    assert np.abs(found - model.encode("query: red apple")).max() > 0.01
