"""Tests of `vicinal encode`."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import FAQ
from vicinal import SentenceTransformer
from vicinal.store.vectors.reading import load_vectors

Run = Callable[..., Any]
TEXTS = ["first text", "", "a third one: naïve", "first text"]


@pytest.fixture(scope="module")
def bundled() -> SentenceTransformer:
    return SentenceTransformer()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in.txt").write_text("\n".join(TEXTS) + "\n", "utf-8")
    return tmp_path / "in.txt"


def test_rows_are_the_lines(run: Run, source: Path, tmp_path: Path, bundled: SentenceTransformer) -> None:
    result = run("encode", source, "-o", tmp_path / "out.npy")
    assert result.exit_code == 0
    assert result.stdout == ""
    warning, summary = result.stderr.splitlines()
    assert warning.startswith(f"warning: the vector of {source}:2 is all zero")
    assert summary.startswith(f"4 vectors of 256 dimensions in {tmp_path}/out.npy, by vicinal-static-en in ")
    found = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(found[[0, 2, 3]], bundled.encode([TEXTS[0], TEXTS[2], TEXTS[3]]), atol=1e-6)
    assert not found[1].any()


def test_many_portions_are_one_output(run: Run, tmp_path: Path, bundled: SentenceTransformer) -> None:
    texts = [f"text number {i}" for i in range(2500)]
    (tmp_path / "a.txt").write_text("\n".join(texts[:1500]))
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts[1500:]))
    for suffix in (".npy", ".jsonl"):
        assert run("encode", tmp_path / "a.txt", tmp_path / "b.jsonl", "-o", tmp_path / f"out{suffix}").exit_code == 0
    found = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(found, bundled.encode(texts), atol=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == texts
    np.testing.assert_array_equal(np.array([line["embedding"] for line in lines], np.float32), found)


def test_options_reach_the_model(run: Run, source: Path, tmp_path: Path, bundled: SentenceTransformer) -> None:
    out = tmp_path / "out.npy"
    result = run("encode", source, "-o", out, "--truncate-dim", 20, "--normalize", "--prompt", "note: ", "--threads", 1)
    assert result.exit_code == 0
    expected = bundled.encode(TEXTS, prompt="note: ", truncate_dim=20, normalize_embeddings=True)
    np.testing.assert_allclose(np.load(out), expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(np.load(out), axis=1), 1, atol=1e-6)


def test_summary_as_json(run: Run, tmp_path: Path, bundled: SentenceTransformer) -> None:
    result = run("encode", FAQ, "-o", tmp_path / "out.npy", "--json", "--as", "document", "--prompt-name", "query")
    assert result.stderr == ""
    summary = json.loads(result.stdout)
    assert summary.pop("seconds") > 0
    assert summary == {
        "output": str(tmp_path / "out.npy"), "rows": 42, "dims": 256, "model": "vicinal-static-en",
        "fingerprint": bundled.fingerprint, "dtype": "float32", "backend": "numpy", "as": "document",
        "prompt_name": "query", "prompt": None, "normalized": False,
    }  # fmt: skip


def test_standard_input_and_columns(run: Run, tmp_path: Path, bundled: SentenceTransformer) -> None:
    out = tmp_path / "out.npy"
    content = 'id,body\n1,"two\nlines"\n2,last\n'
    result = run("encode", "-", "-o", out, "--format", "csv", "--column", "body", input=content)
    assert result.exit_code == 0
    np.testing.assert_array_equal(np.load(out), bundled.encode(["two\nlines", "last"]))
    assert run("encode", "-", "-o", out, input="a\nb").exit_code == 0
    np.testing.assert_array_equal(np.load(out), bundled.encode(["a", "b"]))


def test_parquet_both_ways(run: Run, tmp_path: Path, bundled: SentenceTransformer) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the parquet extra")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the parquet extra")
    parquet.write_table(arrow.table({"body": ["one text", "another"]}), tmp_path / "in.parquet")
    result = run("encode", tmp_path / "in.parquet", "--column", "body", "-o", tmp_path / "out.parquet")
    assert result.exit_code == 0
    table = parquet.read_table(tmp_path / "out.parquet")
    found = np.array(table.column("embedding").to_pylist(), np.float32)
    np.testing.assert_array_equal(found, bundled.encode(["one text", "another"]))
    assert json.loads(table.schema.metadata[b"vicinal.fingerprint"]) == bundled.fingerprint


def test_no_texts_give_no_rows(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").touch()
    for suffix in (".npy", ".jsonl"):
        assert run("encode", tmp_path / "in.txt", "-o", tmp_path / f"out{suffix}").exit_code == 0
    assert np.load(tmp_path / "out.npy").shape == (0, 256)
    assert (tmp_path / "out.jsonl").read_bytes() == b""


@pytest.mark.parametrize("wrong", [("-o", "out.txt"), ("-o", "none/out.npy"), ("-o", "out.npy", "--format", "csv")])
def test_wrong_calls_fail_before_a_model_is_loaded(
    run: Run, source: Path, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, ...]
) -> None:
    monkeypatch.chdir(source.parent)
    monkeypatch.setattr("vicinal.cli.options.ModelOptions.load", lambda self: pytest.fail("loaded"))
    assert run("encode", source, *wrong).exit_code in (1, 2)


def test_a_failure_on_the_way_keeps_the_older_output(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"good\n" * 2000 + b"\xff\n")
    (tmp_path / "out.npy").write_bytes(b"before")
    result = run("encode", tmp_path / "in.txt", "-o", tmp_path / "out.npy")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path}/in.txt:2001 is not utf-8 (byte 0xff)")
    assert (tmp_path / "out.npy").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 2


def test_truncation(run: Run, tmp_path: Path, small: Path) -> None:
    (tmp_path / "in.txt").write_text("short\n" * 1500 + "king " * 100 + "\n")
    call = ("encode", tmp_path / "in.txt", "-o", tmp_path / "out.npy", "--model", small, "--backend", "numpy")
    warned = run(*call)
    assert warned.exit_code == 0
    assert f"{tmp_path}/in.txt:1501 (102 tokens)" in warned.stderr.splitlines()[0]
    assert run(*call, "--truncation", "ignore").stderr.startswith("1501 vectors")
    failed = run(*call, "--truncation", "error")
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: 1 text is longer")
    assert f"{tmp_path}/in.txt:1501 (102 tokens)" in failed.stderr


def test_wishes_that_the_model_cannot_meet(run: Run, source: Path, tmp_path: Path) -> None:
    call = ("encode", source, "-o", tmp_path / "out.npy")
    for options, message in [
        (("--truncate-dim", 257), "vicinal-static-en has 256 dimensions, not 257"),
        (("--prompt-name", "poem"), "vicinal-static-en has no prompt named 'poem'; it has: 'query', 'document'"),
        (("--prompt-name", "query", "--prompt", "x"), "give --prompt or --prompt-name, not both"),
        (("--batch-tokens", 0), "--batch-tokens"),
    ]:
        result = run(*call, *options)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(("role", "call"), [("query", 0), ("document", 1)])
def test_queries_and_documents_go_their_own_ways(
    run: Run,
    tmp_path: Path,
    fixtures: Path,
    tiny_folder: Callable[[dict[str, Any]], Path],
    tiny_expected: dict[str, np.ndarray],
    role: str,
    call: int,
) -> None:
    data = json.loads((fixtures / "tiny" / "cases.json").read_text("utf-8"))
    folder = tiny_folder(next(case for case in data["cases"] if case["name"] == "router"))
    lines = [json.dumps(text) for text in data["inputs"]["texts"]]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out.npy"
    result = run("encode", tmp_path / "in.jsonl", "-o", out, "--as", role, "--model", folder, "--dtype", "float32")
    assert result.exit_code == 0
    np.testing.assert_allclose(np.load(out), tiny_expected[f"router/{call}"], atol=1e-4)


def test_a_role_is_asked_for_where_there_is_no_default(
    run: Run, source: Path, tmp_path: Path, fixtures: Path, tiny_folder: Callable[[dict[str, Any]], Path]
) -> None:
    cases = json.loads((fixtures / "tiny" / "cases.json").read_text("utf-8"))["cases"]
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder(next(case for case in cases if case["name"] == "router")), folder)
    config = json.loads((folder / "router_config.json").read_text())
    config["parameters"] = {**config["parameters"], "default_route": None, "allow_empty_key": False}
    (folder / "router_config.json").write_text(json.dumps(config))
    for call in (("encode", source, "-o", tmp_path / "out.npy"), ("similarity", "a", "b")):
        result = run(*call, "--model", folder, "--dtype", "float32")
        assert result.exit_code == 2
        assert "treats queries and documents differently: say which" in " ".join(result.stderr.split())


def test_memory_does_not_grow_with_the_input(run: Run, tmp_path: Path) -> None:
    peaks = []
    for lines in (4_000, 40_000):  # 4 and 40 MB of vectors
        (tmp_path / "in.txt").write_text("a text\n" * lines)
        tracemalloc.start()
        assert run("encode", tmp_path / "in.txt", "-o", tmp_path / "out.npy").exit_code == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 4e6


def test_a_folder(run: Run, tmp_path: Path, bundled: SentenceTransformer) -> None:
    texts = [f"text number {i}" for i in range(2500)]
    (tmp_path / "in.txt").write_text("\n".join(texts) + "\n")
    for name, options in (("vectors", ()), ("with.texts", ("--shards", "parquet"))):
        out = tmp_path / name
        if "." in name:
            out.mkdir()
        for _ in range(2):  # the second time nothing is to do
            result = run("encode", tmp_path / "in.txt", "-o", out, *options, "--as", "query")
            assert result.exit_code == 0
            assert result.stderr.startswith(f"2500 vectors of 256 dimensions in {out}, by vicinal-static-en in ")
        found = load_vectors(out, bundled)
        np.testing.assert_allclose(np.asarray(found), bundled.encode_query(texts), atol=1e-6)
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["source"] == [str(tmp_path / "in.txt")]
        assert (manifest["task"], manifest["prompt"]) == ("query", "")
        before = {path: path.read_bytes() for path in out.iterdir()}
        bundled.encode_to(out, texts, task="query", format=manifest["format"])  # the same, from Python
        assert {path: path.read_bytes() for path in out.iterdir()} == before
    summary = json.loads(
        run("encode", tmp_path / "in.txt", "-o", tmp_path / "vectors", "--as", "query", "--json").stdout
    )
    assert (summary["rows"], summary["dims"], summary["as"]) == (2500, 256, "query")


@pytest.mark.parametrize("output", ["out.npy", "out"])
def test_no_text_is_told(run: Run, tmp_path: Path, output: str) -> None:
    (tmp_path / "in.txt").touch()
    result = run("encode", tmp_path / "in.txt", "-o", tmp_path / output)
    assert result.exit_code == 0
    assert f"warning: there is no text in {tmp_path / 'in.txt'}\n" in result.stderr
    assert "0 vectors of 256 dimensions" in result.stderr


def test_a_folder_of_other_texts(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a text\n" * 10)
    assert run("encode", tmp_path / "in.txt", "-o", tmp_path / "out").exit_code == 0
    (tmp_path / "in.txt").write_text("another text\n" * 10)
    result = run("encode", tmp_path / "in.txt", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: rows 0 to 9 are not the texts")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    result = run("encode", tmp_path / "in.txt", "-o", tmp_path / "other")
    assert (
        result.stderr
        == f"error: {tmp_path}/other: the folder holds 'file' and no manifest.json: take an empty or a new one\n"
    )


def test_messages_of_a_folder_name_places(
    run: Run, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vicinal.store.vectors.encoding.SHARD_ROWS", 1300)
    (tmp_path / "in.txt").write_text("short\n" * 2500 + "king " * 100 + "\n")
    call = ("encode", tmp_path / "in.txt", "--model", small, "--backend", "numpy")
    warned = run(*call, "-o", tmp_path / "a")
    assert warned.exit_code == 0
    assert f"{tmp_path}/in.txt:2501 (102 tokens)" in warned.stderr.splitlines()[0]
    failed = run(*call, "-o", tmp_path / "b", "--truncation", "error")
    assert failed.exit_code == 1
    assert f"{tmp_path}/in.txt:2501 (102 tokens)" in failed.stderr
    assert len(json.loads((tmp_path / "b" / "shards.jsonl").read_text())) == 4
