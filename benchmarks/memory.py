"""Peak memory: of loading a model of bge-large's size, and of encoding texts of very different lengths.

usage: python benchmarks/memory.py DATA [--model all-MiniLM-L6-v2] [--dtype bfloat16]

DATA: a folder with corpus_en/part-0.tsv.gz. The large model has random weights, in a temporary folder (1.3 GB).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from encode import corpus
from peers import peak_memory

LARGE = {
    "model_type": "bert", "vocab_size": 30522, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "intermediate_size": 4096, "hidden_act": "gelu", "max_position_embeddings": 512, "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--step", choices=("load", "mixture"), help="run in a process of its own by this script")
    options = parser.parse_args()
    if options.step == "load":
        return load(options.model, options.dtype)
    if options.step == "mixture":
        return mixture(options)
    with tempfile.TemporaryDirectory() as folder:
        size = write_large(Path(folder))
        peak, seconds = step("load", folder, options)
        print(f"a model of bge-large's size ({size / 1e6:.0f} MB of float32) at {options.dtype}, one text encoded:")
        print(f"  peak {peak / 1e6:.0f} MB, {peak / size:.2f} times the file; {seconds:.1f} s")
    peak, seconds = step("mixture", options.model, options)
    print(f"{options.model} at {options.dtype}, 2,000 texts of 5 to 400 words and 100 of 5,000 words:")
    print(f"  peak {peak / 1e6:.0f} MB; {seconds:.1f} s")


def step(name: str, model: str, options: argparse.Namespace) -> tuple[int, float]:
    command = [sys.executable, __file__, str(options.data), "--model", model, "--dtype", options.dtype, "--step", name]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer["peak"], answer["seconds"]


def load(model: str, dtype: str) -> None:
    import time

    start = time.perf_counter()
    from vicinal import SentenceTransformer

    SentenceTransformer(model, dtype=dtype).encode("one text")
    print(json.dumps({"peak": peak_memory(), "seconds": time.perf_counter() - start}))


def mixture(options: argparse.Namespace) -> None:
    import time

    from vicinal import SentenceTransformer

    texts = corpus(options.data, 2000)
    words = " ".join(texts).split()
    texts += [" ".join(words[i * 997 : i * 997 + 5000]) for i in range(100)]
    start = time.perf_counter()
    SentenceTransformer(options.model, dtype=options.dtype).encode(texts, truncation="ignore")
    print(json.dumps({"peak": peak_memory(), "seconds": time.perf_counter() - start}))


def write_large(folder: Path) -> int:
    """A folder of a BERT of bge-large's size; bytes of its weights."""
    from vicinal.loading.weights import Tensor, write_safetensors

    width, inner, rng = LARGE["hidden_size"], LARGE["intermediate_size"], np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (LARGE["vocab_size"], width),
        "embeddings.position_embeddings.weight": (512, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for i in range(LARGE["num_hidden_layers"]):
        at = f"encoder.layer.{i}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{at}.{name}.weight": (width, width), f"{at}.{name}.bias": (width,)}
        shapes |= {f"{at}.intermediate.dense.weight": (inner, width), f"{at}.intermediate.dense.bias": (inner,)}
        shapes |= {f"{at}.output.dense.weight": (width, inner), f"{at}.output.dense.bias": (width,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}.{name}.weight": (width,), f"{at}.{name}.bias": (width,)}
    tensors = {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape, np.float32) * np.float32(0.02) + np.float32("LayerNorm.weight" in name)
        tensors[name] = Tensor.of(name, values.astype(np.float32))
    write_safetensors(folder / "model.safetensors", tensors)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "text", *(f"w{i}" for i in range(30515))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "config.json").write_text(json.dumps(LARGE))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"embedding_dimension": width, "pooling_mode": "cls"}))
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [{"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{k}"}
               for i, (p, k) in enumerate(kinds)]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    return (folder / "model.safetensors").stat().st_size


if __name__ == "__main__":
    main()
