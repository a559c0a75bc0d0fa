"""Tests of `vicinal index`, and of `vicinal search --index` and `--rerank`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.cli.conftest import FAQ
from vicinal import CrossEncoder, Index, SentenceTransformer

Run = Callable[..., Any]


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for number, line in enumerate(FAQ.read_text("utf-8").splitlines()):
        (tmp_path / "docs" / f"{number:02}.md").write_text(line)
    (tmp_path / "docs" / "rows.jsonl").write_text('{"text": "We sell tea.", "year": 2024}\n')
    return tmp_path


def test_build_update_search(run: Run, docs: Path) -> None:
    result = run("index", "build", "docs", "-o", "docs.vicinal")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "0 of them unchanged" in result.stderr
    hits = json.loads(
        run("search", "how long do I have to return an item?", "--index", "docs.vicinal", "--json").stdout
    )
    assert hits["model"] == "vicinal-static-en"
    assert set(hits["hits"][0]) == {"score", "id", "span", "metadata", "text"}
    assert hits["hits"][0]["id"] == "docs/17.md"
    line = run("search", "tea", "--index", "docs.vicinal", "--where", '{"year": 2024}').stdout.split("\t")
    assert line[1:] == ["docs/rows.jsonl#row=1", "We sell tea.\n"]
    assert "nothing is found" in run("search", "tea", "--index", "docs.vicinal", "--where", '{"year": 1}').stderr
    (docs / "docs" / "17.md").unlink()
    result = run("index", "update", "docs.vicinal")
    assert "1 removed" in result.stderr
    again = json.loads(
        run("search", "how long do I have to return an item?", "--index", "docs.vicinal", "--json").stdout
    )
    assert again["hits"][0]["id"] != "docs/17.md"
    assert json.loads(run("index", "info", "docs.vicinal", "--json").stdout)["model"] == "vicinal-static-en"
    assert "model: vicinal-static-en" in run("index", "info", "docs.vicinal").stdout


def test_an_index_of_nothing_is_told(run: Run, docs: Path) -> None:
    (docs / "empty").mkdir()
    result = run("index", "build", "empty", "-o", "a.vicinal")
    assert result.exit_code == 0
    assert "warning: a.vicinal is empty: no file that can be read is in what was given" in result.stderr
    (docs / "empty" / "blank.txt").write_text("\n")
    result = run("index", "build", "empty", "-o", "b.vicinal")
    assert "warning: b.vicinal is empty: there is no text in what was given" in result.stderr
    assert "warning" not in run("index", "build", "docs", "-o", "c.vicinal").stderr


def test_build_removes_nothing_by_other_inputs(run: Run, docs: Path) -> None:
    (docs / "more.txt").write_text("Tea is sold by weight.")
    result = run("index", "build", "nowhere", "-o", "docs.vicinal")
    assert "nowhere is not there" in result.stderr
    assert not (docs / "docs.vicinal").exists()
    run("index", "build", "docs", "-o", "docs.vicinal")
    result = run("index", "build", "more.txt", "-o", "docs.vicinal")
    assert result.exit_code == 1
    assert f"docs.vicinal was built from {docs / 'docs'} too" in result.stderr
    assert "name all inputs, or take another --output" in result.stderr
    assert "0 removed" in run("index", "build", "docs", "more.txt", "-o", "docs.vicinal").stderr
    (docs / "more.txt").unlink()  # what is gone need not be named any more
    assert "1 removed" in run("index", "build", "docs", "-o", "docs.vicinal").stderr


def test_build_goes_on_as_it_was_begun(run: Run, docs: Path) -> None:
    run("index", "build", "docs", "-o", "docs.vicinal", "--chunk-tokens", "40")
    assert run("index", "build", "docs", "-o", "docs.vicinal", "--chunk-tokens", "40").exit_code == 0
    assert run("index", "build", "docs", "-o", "docs.vicinal").exit_code == 0
    result = run("index", "build", "docs", "-o", "docs.vicinal", "--chunk-tokens", "8", "--search", "exact")
    assert result.exit_code == 1
    assert "docs.vicinal was begun with --search auto, --chunk-tokens 40: leave that as it is" in result.stderr


def test_check_mend_copy(run: Run, docs: Path) -> None:
    run("index", "build", "docs", "-o", "docs.vicinal")
    assert run("index", "verify", "docs.vicinal").exit_code == 0
    with Index.open("docs.vicinal") as index, index._database.writing() as transaction:
        transaction.db.execute("UPDATE vector SET data = zeroblob(8) WHERE chunk = 3")
        transaction.changed = True
    result = run("index", "verify", "docs.vicinal")
    assert result.exit_code == 1
    assert "the vector of chunk 3 is not as it was written" in result.stdout
    assert "vicinal index rebuild docs.vicinal mends what can be" in result.stderr
    assert "the vector of chunk 3" in run("index", "rebuild", "docs.vicinal").stdout
    assert run("index", "verify", "docs.vicinal").exit_code == 0
    assert run("index", "compact", "docs.vicinal").exit_code == 0
    assert run("index", "backup", "docs.vicinal", "-o", "copy.vicinal").exit_code == 0
    assert run("index", "verify", "copy.vicinal").exit_code == 0
    assert run("index", "export", "docs.vicinal", "-o", "all.jsonl").exit_code == 0
    with Index.open("docs.vicinal") as index:
        assert len((docs / "all.jsonl").read_text().splitlines()) == len(index)
    assert run("index", "export", "docs.vicinal", "-o", "all.txt").exit_code == 2


def test_another_model(run: Run, docs: Path) -> None:
    other = tiny.write_static(docs / "other")
    run("index", "build", "docs", "-o", "docs.vicinal")
    result = run("index", "build", "docs", "-o", "docs.vicinal", "--model", other)
    assert result.exit_code == 1
    assert f"vicinal index rebuild docs.vicinal --model {other}" in result.stderr
    assert run("search", "tea", "--index", "docs.vicinal", "--model", other).exit_code == 1
    assert run("index", "rebuild", "docs.vicinal", "--model", other).exit_code == 0
    assert run("index", "verify", "docs.vicinal").exit_code == 0


def test_what_cannot_be_read_is_an_exit_code(run: Run, docs: Path) -> None:
    (docs / "docs" / "bad.txt").write_bytes(b"\xff")
    result = run("index", "build", "docs", "-o", "docs.vicinal")
    assert result.exit_code == 1
    assert "error: " in result.stderr
    assert "bad.txt is not utf-8" in result.stderr
    assert "1 files could not be read" in result.stderr
    assert run("search", "tea", "--index", "docs.vicinal").exit_code == 0


def test_reranking(run: Run, docs: Path) -> None:
    model = docs / "reranker"
    tiny.write_bert(model)
    config = json.loads((model / "config.json").read_text())
    config |= {"architectures": ["BertForSequenceClassification"], "num_labels": 1, "id2label": {"0": "LABEL_0"}}
    write_reranker(model, config)
    reranker = CrossEncoder(str(model), dtype="float32")
    lines = [line for line in FAQ.read_text("utf-8").splitlines() if line.strip()]
    out = json.loads(
        run("search", "password", FAQ, "--rerank", model, "--dtype", "float32", "--candidates", 8, "--json").stdout
    )
    first = json.loads(run("search", "password", FAQ, "--top-k", 8, "--json").stdout)["hits"]
    texts = [hit["text"] for hit in first]
    assert set(texts) <= set(lines)
    pairs = [("password", text) for text in texts]
    scores = dict(zip(texts, reranker.predict(pairs, truncation="ignore").tolist(), strict=True))
    assert [hit["text"] for hit in out["hits"]] == sorted(texts, key=lambda text: -scores[text])[:5]
    assert out["reranker"] == str(model)
    weighed = json.loads(
        run("search", "password", FAQ, "--rerank", model, "--dtype", "float32", "--candidates", 8, "--rerank-weight", 0,
            "--json").stdout
    )  # fmt: skip
    assert [hit["text"] for hit in weighed["hits"]] == texts[:5]  # the first stage alone decides
    assert weighed["reranker_weight"] == 0
    refused = run("search", "password", FAQ, "--rerank-weight", 0.5)
    assert refused.exit_code == 2
    assert "needs --rerank MODEL" in refused.stderr
    refused = run("search", "password", FAQ, "--candidates", 8)
    assert refused.exit_code == 2
    assert "needs --rerank MODEL" in refused.stderr
    long = docs / "long.txt"
    long.write_text("password " * 900)
    told = run("search", "password", long, "--rerank", model, "--dtype", "float32")
    assert told.exit_code == 0
    assert "17 tokens and is cut" in told.stderr
    refused = run("search", "password", long, "--rerank", model, "--truncation", "error")
    assert refused.exit_code == 1
    run("index", "build", "docs", "-o", "docs.vicinal")
    found = run("search", "password", "--index", "docs.vicinal", "--rerank", model, "--dtype", "float32", "--json")
    ranked = json.loads(found.stdout)["hits"]
    assert [hit["score"] for hit in ranked] == sorted((hit["score"] for hit in ranked), reverse=True)


def write_reranker(folder: Path, config: dict[str, Any]) -> None:
    """A BERT with a classifier of one label."""
    import numpy as np
    from safetensors.numpy import save_file

    (folder / "modules.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(3)
    tensors = {f"bert.{name}": value for name, value in tiny.bert_tensors().items()}
    for name, shape in (("bert.pooler.dense", (tiny.WIDTH, tiny.WIDTH)), ("classifier", (1, tiny.WIDTH))):
        tensors[f"{name}.weight"] = rng.standard_normal(shape).astype(np.float32)
        tensors[f"{name}.bias"] = rng.standard_normal(shape[0]).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "tea"), "say which files, or --index"),
        (("search", "tea", "x.txt", "--index", "i"), "give files or --index, not both"),
        (("search", "tea", "x.txt", "--where", "{}"), "a filter needs --index"),
        (("search", "tea", "--index", "i", "--where", "{"), "is not JSON"),
    ],
)
def test_wrong_calls(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_goes_on(run: Run, start: Callable[..., Any], docs: Path, number: signal.Signals) -> None:
    lines = "".join(f'{{"text": "apple {i}"}}\n' for i in range(6_000))
    (docs / "docs" / "rows.jsonl").write_text(lines)
    Index.create("docs.vicinal", SentenceTransformer()).close()
    process = start("index", "build", "docs", "-o", "docs.vicinal")
    with Index.open("docs.vicinal") as index:
        while not len(index) and process.poll() is None:
            pass
        process.send_signal(number)
        process.communicate()
        kept = len(index)
    assert kept > 0
    assert run("index", "build", "docs", "-o", "docs.vicinal").exit_code == 0
    with Index.open("docs.vicinal") as index:
        assert len(index) >= 6_000
        assert index.verify() == []
