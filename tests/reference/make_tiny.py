"""Write tiny models and what sentence-transformers makes of them: `make_tiny.py FOLDER`.

`FOLDER/cases.json` has the inputs and the cases; a case is a base folder, a folder of what differs, the names of files
to leave out, constructor arguments, and calls. `FOLDER/expected.npz` has an array for every call (`case/0`, `case/1`,
...), at float32, and the token ids of the texts (`case/ids`). Needs sentence-transformers; README.md says which.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tiny_cases import CASES, INPUTS, Case
from tiny_models import BERT, SMALL, write_bert

BASES = {"bert": BERT, "small": SMALL}
NOISE = 5e-6  # how far float32 may be from float64, of the largest value: else the case is no fair test


def main() -> None:
    """Read the arguments, write bases, cases and vectors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    root: Path = parser.parse_args().folder
    shutil.rmtree(root, ignore_errors=True)
    for seed, (name, config) in enumerate(BASES.items()):
        write_bert(root / "bases" / name, config, seed)
    expected: dict[str, np.ndarray] = {}
    described = [write_case(root, case, expected) for case in CASES]
    cases = {"inputs": INPUTS, "cases": described}
    (root / "cases.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    np.savez_compressed(root / "expected.npz", **expected)
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    print(f"{len(CASES)} cases, {len(expected)} arrays, {size} bytes")


def write_case(root: Path, case: Case, expected: dict[str, np.ndarray]) -> dict[str, Any]:
    """Build one case's folder, keep what differs from its base, add its vectors; returns its entry of cases.json."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "model"
        base = root / "bases" / case.base if case.base else None
        if base:
            shutil.copytree(base, folder)
        else:
            folder.mkdir()
        case.build(folder)
        without = store_difference(folder, base, root / "cases" / case.name)
        model = load(folder, case, torch.float32)
        exact = load(folder, case, torch.float64)
        for number, call in enumerate(case.calls):
            values = run(model, call)
            check_noise(f"{case.name}/{number}", values, run(exact, call))
            expected[f"{case.name}/{number}"] = values
        entry = {"name": case.name, "group": case.group, "base": case.base, "without": without}
        entry |= {"arguments": case.arguments, "calls": [list(call) for call in case.calls]}
        entry |= {"dimension": model.get_embedding_dimension()}
        if hasattr(model[0], "auto_model"):
            expected[f"{case.name}/ids"] = token_ids(model)
            entry |= {"max_seq_length": model.max_seq_length}
        return entry


def store_difference(folder: Path, base: Path | None, target: Path) -> list[str]:
    """Copy to `target` what `base` does not have in the same bytes; returns the files of `base` that `folder` lacks."""
    for path in files_of(folder):
        twin = base / path if base else None
        if twin is None or not twin.exists() or twin.read_bytes() != (folder / path).read_bytes():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / path, target / path)
    return [str(path) for path in files_of(base) if not (folder / path).exists()] if base else []


def files_of(folder: Path) -> Iterable[Path]:
    """The files under a folder, relative to it, sorted."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def load(folder: Path, case: Case, dtype: torch.dtype) -> SentenceTransformer:
    """The peer's model of a folder, all of it in `dtype`."""
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}, **case.arguments)
    return model.to(dtype)


def run(model: SentenceTransformer, call: tuple[str, str, dict[str, Any]]) -> np.ndarray:
    """One call's vectors; matrices of token states are put under each other."""
    method, inputs, options = call
    given = [tuple(item) if isinstance(item, list) else item for item in INPUTS[inputs]]
    values = getattr(model, method)(given, **options)
    return np.concatenate([np.asarray(value) for value in values]) if isinstance(values, list) else values


def check_noise(name: str, values: np.ndarray, exact: np.ndarray) -> None:
    """Refuse a case whose float32 vectors are not finite, or depend on the order of additions."""
    if not np.isfinite(values).all():
        raise SystemExit(f"{name}: not finite")
    if values.dtype == np.float32 and np.abs(values - exact).max() > NOISE * np.abs(exact).max():
        raise SystemExit(f"{name}: float32 is off by {np.abs(values - exact).max() / np.abs(exact).max():.1e}")


def token_ids(model: SentenceTransformer) -> np.ndarray:
    """The token ids of every text, a row each, filled up with 255."""
    rows = [model.preprocess([text])["input_ids"][0] for text in INPUTS["texts"]]
    ids = np.full((len(rows), max(map(len, rows))), 255, np.uint8)
    for row, values in zip(ids, rows, strict=True):
        row[: len(values)] = values
    return ids


if __name__ == "__main__":
    main()
