"""Make the static model that comes with vicinal: a vector a token, whose mean is like a teacher's vector of a text.

    python scripts/make_bundled_model.py DATA_DIR [--teacher all-MiniLM-L6-v2] [--out vicinal/bundled/model]

DATA_DIR holds the public texts that the model's card names. Needs vicinal, SciPy and the teacher; about 6 GB of memory,
and on two cores a quarter of an hour for the teacher's vectors (kept in --work) and as long for the student.

The student starts from the teacher's vectors of single tokens. First the vectors of texts are turned towards the
teacher's (cosine), then its similarities among the texts of a batch are fitted to the teacher's: the cross-entropy of
one softmax over similarities against the other (as Fang et al. 2021, arXiv:2101.04731, and others have it).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tokenizers import Tokenizer

from vicinal import SentenceTransformer
from vicinal.loading.weights import Tensor, write_safetensors

Floats = NDArray[Any]

WIDTH = 256
_HELD_OUT = 4000
"""Texts that measure and do not train."""
_PORTION = 20_000
_LIMIT = 254
"""Tokens of a text that the teacher reads."""
_TEMPERATURE, _STEPS = 0.1, 3000

# ---- texts -------------------------------------------------------------------------------------------------------

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])")
_CORPUS_EN = ("arxiv_abstract", "arxiv_title", "wikipedia_sentence", "book_paragraph")


def _tsv(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        names = next(file).rstrip("\n").split("\t")
        for line in file:
            yield dict(zip(names, line.rstrip("\n").split("\t"), strict=True))


def _jsonl(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph, of at least four words each."""
    return [part for part in _SENTENCE_END.split(text) if part.count(" ") >= 3]


def _draw(texts: Iterable[str], n: int, salt: str) -> list[str]:
    """`n` of the texts, by their salted hash: the same ones whatever their order."""
    return sorted(texts, key=lambda text: hashlib.md5((salt + text).encode()).digest())[:n]


def _medquad(data: Path) -> tuple[list[str], list[str]]:
    """Questions of the training split, and answers that no other split has."""
    splits = {}
    for split in ("train", "dev", "test"):
        rows = (data / f"medquad/qrels/{split}.tsv").read_text("utf-8").splitlines()[1:]
        splits[split] = [row.split("\t") for row in rows]
    asked = {row[0] for row in splits["train"]}
    held = {row[1] for split in ("dev", "test") for row in splits[split]}
    questions = [row["text"] for row in _jsonl(data / "medquad/queries.jsonl.gz") if row["_id"] in asked]
    answers = {row["_id"]: row["text"] for row in _jsonl(data / "medquad/corpus.jsonl.gz")}
    kept = [text for i, text in answers.items() if i not in held]
    return questions, kept


def sources(data: Path) -> Iterator[tuple[str, list[str]]]:
    """(source, texts) of everything that the model is made from."""
    opened: dict[str, list[str]] = {}
    for row in _tsv(data / "open_english/texts.tsv.gz"):
        opened.setdefault(row["source"], []).append(row["text"])
    yield from opened.items()
    corpus: dict[str, list[str]] = {name: [] for name in _CORPUS_EN}
    for i in range(4):
        for row in _tsv(data / f"corpus_en/part-{i}.tsv.gz"):
            if row["source"] in corpus:
                corpus[row["source"]].append(row["text"])
    papers = list(_tsv(data / "arxiv/title_abstract.tsv.gz"))
    abstracts = corpus["arxiv_abstract"] + [row["abstract"] for row in papers]
    yield "arxiv_titles", _draw(corpus["arxiv_title"] + [row["title"] for row in papers], 30_000, "titles")
    yield "arxiv_abstracts", _draw(abstracts, 3_500, "")
    yield "arxiv_sentences", _draw([part for text in abstracts for part in sentences(text)], 40_000, "")
    yield "wikipedia", corpus["wikipedia_sentence"]
    yield "book_sentences", _draw((part for text in corpus["book_paragraph"] for part in sentences(text)), 25_000, "")
    questions, answers = _medquad(data)
    yield "medquad_questions", questions
    yield "medquad_sentences", _draw([part for text in answers for part in sentences(text)], 15_000, "")
    tldr = list(_tsv(data / "tldr/train.tsv.gz"))
    yield "tldr", [row["description"] for row in tldr] + sorted({row["page_description"] for row in tldr} - {""})
    yield "banking77", [row["text"] for row in _tsv(data / "banking77/train.tsv.gz")]
    yield "tatoeba", [row["english"] for row in _tsv(data / "multilingual/tatoeba.tsv.gz")]
    yield "ntrex", [row["eng"] for row in _tsv(data / "multilingual/ntrex.tsv.gz")]
    asked = [row["text"] for row in _jsonl(data / "multilingual/xquad/questions.jsonl.gz") if row["lang"] == "en"]
    contexts = [row["text"] for row in _jsonl(data / "multilingual/xquad/contexts.jsonl.gz") if row["lang"] == "en"]
    yield "xquad", asked + [part for text in contexts for part in sentences(text)]
    pairs = [row for row in _tsv(data / "nli/train.tsv.gz") if row["source"] == "cad-snli"]
    yield "cad-snli", [row["premise"] for row in pairs] + [row["hypothesis"] for row in pairs]


def normalised(text: str) -> str:
    """Letters and digits alone, case folded: what two copies of a sentence have in common."""
    return "".join(filter(str.isalnum, text.casefold()))


def collect(data: Path) -> list[str]:
    """All texts, each once, in order of their hash; none that is a sentence of STS-B, or holds one."""
    held = set()
    for split in ("train", "dev", "test"):
        for row in _tsv(data / f"stsb/{split}.tsv.gz"):
            held |= {normalised(row["sentence1"]), normalised(row["sentence2"])}
    found: dict[str, None] = {}
    for source, texts in sources(data):
        new = set(texts) - found.keys()
        bad = {text for text in new if not {normalised(part) for part in [text, *sentences(text)]}.isdisjoint(held)}
        found.update(dict.fromkeys(new - bad))
        print(f"{source}: {len(texts):,} texts, {len(new):,} new, {len(bad)} dropped as STS-B")
    return _draw(found, len(found), "order")


# ---- teacher -----------------------------------------------------------------------------------------------------


def vectors(teacher: SentenceTransformer, texts: list[str], work: Path) -> NDArray[np.float16]:
    """The teacher's vectors of unit length, from the work folder where they are there."""
    work.mkdir(parents=True, exist_ok=True)
    parts = []
    for first in range(0, len(texts), _PORTION):
        portion = texts[first : first + _PORTION]
        name = hashlib.md5("\0".join([teacher.fingerprint, *portion]).encode()).hexdigest()
        path = work / f"{name}.npy"
        if not path.exists():
            made = teacher.encode(portion, normalize_embeddings=True, truncation="ignore").astype(np.float16)
            np.save(path.with_suffix(".part.npy"), made)
            path.with_suffix(".part.npy").rename(path)
            print(f"teacher: {first + len(portion):,} of {len(texts):,} texts", flush=True)
        parts.append(np.load(path))
    return np.concatenate(parts)


# ---- student -----------------------------------------------------------------------------------------------------


def bags(tokenizer: Tokenizer, texts: list[str]) -> Any:
    """(texts, tokens) sparse: the share that each token has in a text, so that `bags @ table` are the mean vectors."""
    ids = []
    for first in range(0, len(texts), _PORTION):
        found = tokenizer.encode_batch_fast(texts[first : first + _PORTION], add_special_tokens=False)
        ids += [np.array(encoding.ids[:_LIMIT], np.int32) for encoding in found]
    counts = np.array(list(map(len, ids)))
    shares = np.repeat(1 / np.maximum(counts, 1), counts).astype(np.float32)
    pointers = np.concatenate([[0], np.cumsum(counts)])
    shape = (len(texts), tokenizer.get_vocab_size())
    matrix = scipy.sparse.csr_matrix((shares, np.concatenate(ids), pointers), shape=shape)
    matrix.sum_duplicates()
    return matrix


def unit(x: NDArray[Any]) -> Floats:
    """Rows of length 1."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def start(teacher: SentenceTransformer, tokenizer: Tokenizer, texts: Any, targets: Floats) -> tuple[Floats, Floats]:
    """(tokens, WIDTH): the teacher's vectors of the tokens as texts, rare ones longer; and (texts, WIDTH) targets.

    Both are centred and projected on the principal components of the targets. The weights of tokens are those of
    Arora et al. 2017 (smooth inverse frequency).
    """
    names = [str(tokenizer.id_to_token(i)).removeprefix("##") for i in range(tokenizer.get_vocab_size())]
    tokens = teacher.encode(names, normalize_embeddings=True, truncation="ignore")
    centre = targets.mean(0)
    _, axes = np.linalg.eigh((targets - centre).T @ (targets - centre))
    axes = axes[:, ::-1][:, :WIDTH]
    share = np.asarray(texts.mean(0)).reshape(-1, 1)
    table = (tokens - centre) @ axes * (1e-3 / (1e-3 + share))
    return table.astype(np.float32), unit((targets - centre) @ axes)


Loss = Callable[[Floats, NDArray[np.int64]], Floats]
"""From unit vectors (B, WIDTH) of a batch and the numbers of its texts, the loss's gradient by the vectors."""


def towards(targets: Floats) -> Loss:
    """The mean of 1 - cosine with each text's target."""
    return lambda z, batch: np.asarray(-targets[batch] / len(z))


def alike(teacher: NDArray[np.float16], temperature: float) -> Loss:
    """Cross-entropy of which other texts of the batch are near, softmax(cosine / temperature), teacher and student."""

    def gradient(z: Floats, batch: NDArray[np.int64]) -> Floats:
        t = teacher[batch].astype(np.float32)
        wrong = _nearness(z, temperature) - _nearness(t, temperature)
        return np.asarray((wrong @ z + wrong.T @ z) / len(z))  # the factor 1 / temperature is left to the learning rate

    return gradient


def _nearness(z: Floats, temperature: float) -> Floats:
    s = z @ z.T / np.float32(temperature)
    np.fill_diagonal(s, -np.inf)
    np.exp(s - s.max(1, keepdims=True), out=s)
    s /= s.sum(1, keepdims=True)
    return np.asarray(s)


@dataclass
class Adam:
    """Kingma and Ba 2015, for the rows of a table that a step touches; the others keep their moments."""

    table: Floats

    def __post_init__(self) -> None:
        self.mean, self.square = np.zeros_like(self.table), np.zeros_like(self.table)
        self.steps = np.zeros((len(self.table), 1), np.float32)

    def step(self, rows: NDArray[Any], gradient: Floats, rate: float) -> None:
        """Move the rows against their gradient."""
        self.steps[rows] += 1
        self.mean[rows] = mean = 0.9 * self.mean[rows] + 0.1 * gradient
        self.square[rows] = square = 0.999 * self.square[rows] + 0.001 * gradient**2
        mean = mean / (1 - 0.9 ** self.steps[rows])
        square = square / (1 - 0.999 ** self.steps[rows])
        self.table[rows] -= rate * mean / (np.sqrt(square) + 1e-8)


def fit(table: Floats, texts: Any, loss: Loss, steps: int, batch: int, rate: float) -> Floats:
    """Adam over batches in random order; the rate rises for 100 steps, then falls to 0 in a line."""
    adam, random = Adam(table.copy()), np.random.default_rng(0)
    order, first = random.permutation(texts.shape[0]), 0
    for k in range(steps):
        if first + batch > len(order):
            order, first = random.permutation(texts.shape[0]), 0
        rows = order[first : first + batch]
        first += batch
        bag = texts[rows]
        mean = bag @ adam.table
        length = np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-6)
        z = mean / length
        g = loss(z, rows)
        g = (g - (g * z).sum(1, keepdims=True) * z) / length  # through the scaling to length 1
        touched = np.unique(bag.indices)
        adam.step(touched, bag.T.tocsr()[touched] @ g, rate * (1 - k / steps) * min(1, (k + 1) / 100))
    return adam.table


def agreement(z: Floats, teacher: NDArray[np.float16]) -> float:
    """Of each held-out text's 20 nearest others by the teacher, the share that the student has among its 20 nearest."""
    nearest = []
    for vectors in (z, teacher.astype(np.float32)):
        s = vectors[:1000] @ vectors.T
        np.fill_diagonal(s, -np.inf)
        nearest.append(np.argpartition(-s, 20, 1)[:, :20])
    return float(np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(*nearest, strict=True)]))


# ---- the model's folder ------------------------------------------------------------------------------------------


def write(out: Path, table: Floats, texts: Any, tokenizer: Tokenizer) -> None:
    """The model's files, weights last: int8 rows, each with its scale, on the principal axes of the texts' vectors.

    Widest axes first, so that the leading dimensions alone (`truncate_dim`) are worth most.
    """
    z = unit(texts @ table)
    _, axes = np.linalg.eigh(z.T @ z)
    table = (table @ axes[:, ::-1]).astype(np.float32)
    scale = np.abs(table).max(1, keepdims=True) / 127
    scale[scale == 0] = 1
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    kinds = (("", "StaticEmbedding"), ("1_Normalize", "Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    settings = {
        "prompts": {"query": "", "document": ""}, "default_prompt_name": None, "similarity_fn_name": "cosine"
    }  # fmt: skip
    for name, value in (("modules.json", modules), ("config_sentence_transformers.json", settings)):
        (out / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    weight = Tensor.of("embedding.weight", np.rint(table / scale).astype(np.int8))
    tensors = {"embedding.weight": weight, "embedding.scale": Tensor.of("embedding.scale", scale)}
    write_safetensors(out / "model.safetensors", tensors)


def main() -> None:
    """Collect, ask the teacher, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of texts")
    parser.add_argument("--teacher", default="all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "vicinal/bundled/model")
    parser.add_argument("--work", type=Path, default=Path("bundled-work"), help="where the teacher's vectors are kept")
    parser.add_argument("--steps", type=int, default=_STEPS, help="of the second, relational stage")
    options = parser.parse_args()
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {what}", flush=True)

    texts = collect(options.data)
    say(f"{len(texts):,} texts")
    teacher = SentenceTransformer(options.teacher)
    targets = vectors(teacher, texts, options.work)
    say("teacher's vectors are there")
    tokenizer = teacher.tokenizer
    counted = bags(tokenizer, texts)
    held, held_targets = counted[:_HELD_OUT], targets[:_HELD_OUT]
    counted, targets = counted[_HELD_OUT:], targets[_HELD_OUT:]
    table, narrow = start(teacher, tokenizer, counted, targets.astype(np.float32))
    say(f"start: {agreement(unit(held @ table), held_targets):.4f} of the teacher's 20 nearest held-out texts")
    table = fit(table, counted, towards(narrow), steps=250, batch=2048, rate=0.02)
    say(f"after the first stage: {agreement(unit(held @ table), held_targets):.4f}")
    table = fit(table, counted, alike(targets, _TEMPERATURE), steps=options.steps, batch=1024, rate=0.004)
    say(f"after the second stage: {agreement(unit(held @ table), held_targets):.4f}")
    write(options.out, table, counted[:100_000], tokenizer)


if __name__ == "__main__":
    main()
