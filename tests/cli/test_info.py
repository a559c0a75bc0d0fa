"""Tests of `vicinal info`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vicinal import SentenceTransformer

Run = Callable[..., Any]


def test_bundled_model(run: Run) -> None:
    result = run("info", "--threads", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    for expected in (
        ["model", "vicinal-static-en"],
        ["dimensions", "256"],
        ["similarity", "cosine"],
        ["fingerprint", SentenceTransformer().fingerprint],
    ):
        assert expected in lines
    assert "runs on      numpy, float32, 1 thread\n" in result.stdout
    assert "max tokens   no limit\n" in result.stdout


def test_json(run: Run, small: Path) -> None:
    found = json.loads(run("info", small, "--json", "--backend", "numpy", "--threads", 1).stdout)
    model = SentenceTransformer(small, backend="numpy")
    needed = ("config.json", "config_sentence_transformers.json", "model.safetensors", "modules.json")
    needed += ("sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json")
    assert found == {
        "model": str(small), "source": "folder", "folder": str(small), "revision": None,
        "bytes": sum((small / name).stat().st_size for name in needed),
        "routes": [
            {
                "task": None,
                "modules": [
                    {"type": "Transformer", "architecture": "bert"},
                    {"type": "Pooling", "width": 35, "modes": ["mean"], "include_prompt": True},
                ],
                "dims": 35, "max_tokens": 40,
            }
        ],
        "dims": 35, "similarity": "cosine", "prompts": {"document": "", "query": ""}, "default_prompt": None,
        "backend": "numpy", "dtype": "float32", "threads": 1, "fingerprint": model.fingerprint,
    }  # fmt: skip


def test_prompts_and_routes_for_people(run: Run, fixtures: Path, tiny_folder: Callable[[dict[str, Any]], Path]) -> None:
    cases = {case["name"]: case for case in json.loads((fixtures / "tiny/cases.json").read_text("utf-8"))["cases"]}
    shown = run("info", tiny_folder(cases["prompt-default"]), "--backend", "numpy").stdout
    assert "prompt       king: 'the old king is ' (default)\n" in shown
    assert "prompt       query: 'query: '\n" in shown
    shown = run("info", tiny_folder(cases["router"]), "--backend", "numpy").stdout
    assert "for          query\nmodules      StaticEmbedding(" in shown
    assert "for          document\nmodules      Transformer(architecture='bert'" in shown
