"""What goes in front of texts."""

from __future__ import annotations

from vicinal.recipes.instructions import model_prompts, training_prompts


def test_by_data_set_and_column() -> None:
    told = {"retrieval": {"document": "d: "}, "nli": "n: "}
    tasks = {"faq": "retrieval", "pairs": "nli", "plain": None, "other": "similarity"}
    columns = {"faq": ["q", "a", "b"], "pairs": ["x", "y"], "plain": ["t"], "other": ["u", "v"]}
    assert training_prompts(told, tasks, columns) == {
        "faq": {"a": "d: ", "b": "d: "},
        "pairs": {"x": "n: ", "y": "n: "},
    }
    assert training_prompts({}, tasks, columns) is None
    assert model_prompts(told) == {"document": "d: ", "nli": "n: "}
