"""The torch backend on a GPU beside sentence-transformers: texts of mixed length, half precision, equal vectors.

    python benchmarks/gpu.py [--sizes minilm mpnet bge-large] [--texts 8000] [--out FILE]

Weights are random, of the real models' shapes; the tokenizer is that of the bundled model. Both load the same folder
and encode the same texts, in turn, several rounds; sentence-transformers with its default batch and with the best of
some larger ones. The share is of the matrix products that the texts' own tokens need, beside a large product's speed.
Vectors are compared with each other, and 200 of each with those of the same weights computed in float32.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

BUNDLED = Path(__file__).parents[1] / "vicinal" / "bundled" / "model"
SHAPES = {
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "mpnet": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "bge-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "7b": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
           "intermediate_size": 14336, "head_dim": 128},
}  # fmt: skip
BATCHES = (32, 128, 512)


def write(folder: Path, size: str) -> Path:
    """A model's folder with random weights."""
    import torch
    import transformers

    shape = SHAPES[size]
    torch.manual_seed(0)
    if size == "7b":
        config = transformers.MistralConfig(vocab_size=30522, sliding_window=None, **shape)
        with torch.device("cuda"):
            model = transformers.MistralModel(config).to(torch.bfloat16)
    else:
        model = transformers.BertModel(transformers.BertConfig(**shape), add_pooling_layer=False)
    model.save_pretrained(folder)
    del model
    shutil.copy(BUNDLED / "tokenizer.json", folder)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **special})
    )
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    listed = [{"idx": i, "name": str(i), "path": at, "type": f"sentence_transformers.models.{kind}"}
              for i, (kind, at) in enumerate(kinds)]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": shape["hidden_size"], "pooling_mode_mean_tokens": True})
    )
    (folder / "2_Normalize").mkdir()
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512, "do_lower_case": False}))
    return folder


def mixture(count: int) -> list[str]:
    """Texts of 3 to some 450 words, most of them short."""
    rng = np.random.default_rng(0)
    words = [word for word in json.loads((BUNDLED / "tokenizer.json").read_text())["model"]["vocab"] if word.isalpha()]
    lengths = np.clip(np.exp(rng.normal(3.6, 1.0, count)), 3, 450).astype(int)
    return [" ".join(rng.choice(words, length)) for length in lengths]


def ceiling(dtype: Any) -> float:
    """Operations a second of a large matrix product."""
    import torch

    a = torch.randn(8192, 8192, device="cuda", dtype=dtype)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        a @ a
    torch.cuda.synchronize()
    return 10 * 2 * 8192**3 / (time.perf_counter() - start)


def work(size: str, lengths: np.ndarray) -> float:
    """Operations of the matrix products that texts of these lengths need."""
    s = SHAPES[size]
    d, layers, up = s["hidden_size"], s["num_hidden_layers"], s["intermediate_size"]
    kv = s.get("num_key_value_heads", s["num_attention_heads"]) / s["num_attention_heads"]
    dense = 2 * layers * (d * d * (2 + 2 * kv) + d * up * (3 if size == "7b" else 2))
    return float((lengths * dense).sum() + (lengths.astype(float) ** 2 * 4 * d * layers).sum())


def measure(encode: Any, texts: list[str], rounds: int) -> tuple[float, np.ndarray]:
    """Texts a second, the median of some rounds, and the vectors."""
    import torch

    encode(texts[: len(texts) // 8])
    speeds = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        vectors = encode(texts)
        torch.cuda.synchronize()
        speeds.append(len(texts) / (time.perf_counter() - start))
    return statistics.median(speeds), vectors


def run(size: str, texts: list[str], rounds: int, folder: Path) -> dict[str, Any]:
    """Both libraries on one model."""
    import sentence_transformers
    import torch
    import transformers

    from vicinal import SentenceTransformer

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    name = "bfloat16" if size == "7b" else "float16"
    dtype = getattr(torch, name)
    write(folder, size)
    peer = sentence_transformers.SentenceTransformer(str(folder), device="cuda", model_kwargs={"torch_dtype": dtype})
    theirs: dict[int, float] = {}
    wanted = None
    for batch in BATCHES:
        try:
            theirs[batch], wanted = measure(partial(peer.encode, batch_size=batch), texts, rounds)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
    some = texts[:200]
    exact = np.asarray(peer.float().encode(some))
    del peer
    torch.cuda.empty_cache()
    model = SentenceTransformer(folder, backend="torch", device="cuda", dtype=name)
    ours, found = measure(lambda t: model.encode(t, truncation="ignore"), texts, rounds)
    lengths = np.array([len(ids) for ids in (model.tokenize([text])["input_ids"][0] for text in texts)])
    share = work(size, lengths) * ours / len(texts) / ceiling(dtype)
    wanted = np.asarray(wanted, np.float32)
    least = {"of both": found, "to float32": found[:200], "of the peer to float32": wanted[:200]}
    return {
        "model": size, "dtype": name, "texts": len(texts), "tokens a text": round(float(lengths.mean()), 1),
        "peer texts/s by batch": {batch: round(speed) for batch, speed in theirs.items()},
        "texts/s": round(ours), "times its default": round(ours / theirs[32], 2),
        "times its best": round(ours / max(theirs.values()), 2), "share of the ceiling": round(share, 3),
        "least cosine": {
            name: round(float((vectors * (wanted if name == "of both" else exact)).sum(1).min()), 5)
            for name, vectors in least.items()
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["minilm", "mpnet", "bge-large"], choices=list(SHAPES))
    parser.add_argument("--texts", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU that torch can use here")
    print(torch.cuda.get_device_name(), "torch", torch.__version__, "python", platform.python_version(), flush=True)
    texts, lines = mixture(args.texts), []
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            line = run(size, texts if size != "7b" else texts[:1000], args.rounds if size != "7b" else 1, Path(folder))
        lines.append(line)
        print(json.dumps(line), flush=True)
    if args.out:
        args.out.write_text(json.dumps({"device": torch.cuda.get_device_name(), "rows": lines}, indent=1))


if __name__ == "__main__":
    main()
