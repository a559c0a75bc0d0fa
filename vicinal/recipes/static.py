"""Any model into a static one: a vector a token, whose mean is like the model's vector of a text.

The core is arrays alone, so that texts by the hundred thousand take minutes: the mean of token vectors is a sparse
matrix times a table.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vicinal.evaluation.measuring import Task
from vicinal.extras import require
from vicinal.loading.weights import Tensor, write_safetensors
from vicinal.recipes.base import Run
from vicinal.recipes.runs import Outcome, Say, Schedule, enough, recipe, said
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.store.files import atomic

logger = logging.getLogger("vicinal")

Floats: TypeAlias = NDArray[Any]
Loss: TypeAlias = Callable[[Floats, NDArray[np.int64]], Floats]
"""From unit vectors (B, width) of a batch and the numbers of its texts, the loss's gradient by the vectors."""

_PORTION = 20_000
_LIMIT = 254
"""Tokens of a text that count."""
_KEEP = 250
"""Steps between two files that a killed run goes on from."""
_AXES = 100_000
"""Texts whose vectors decide on the order of the dimensions."""


def distil_static(
    teacher: SentenceTransformer,
    texts: Sequence[str],
    output: str | Path,
    *,
    dims: int = 256,
    first_steps: int = 250,
    steps: int = 3000,
    temperature: float = 0.1,
    vectors: str | Path | None = None,
    tasks: Sequence[Task] = (),
    say: Say = logger.info,
) -> Outcome:
    """Make a static model of a teacher: no network, some hundred times as fast to encode.

    It starts from the teacher's vectors of single tokens, weighted by rarity (Arora et al. 2017, "A simple but
    tough-to-beat baseline for sentence embeddings") and projected on the principal axes of its vectors. First the means
    are turned towards the teacher's vectors (cosine), then similarities among the texts of a batch are fitted to the
    teacher's: the cross-entropy of one softmax over similarities against the other (as Fang et al. 2021,
    arXiv:2101.04731, and others have it). The model that comes with vicinal was made so.

    Data: texts of the kinds that will be encoded, 100,000 or more (400,000 for the bundled model). Cost: the teacher's
    encoding, and on two cores some 15 minutes for 3,000 steps. Needs SciPy.

    Args:
        teacher: any model of vectors with a tokenizer of tokens.
        texts: to learn on; equal ones count once.
        output: folder of the new model; a killed run goes on there.
        dims: of the new model.
        first_steps, steps: of both stages.
        temperature: of the second's softmax.
        vectors: a folder for the teacher's vectors, which other runs can use too; None keeps them for this run alone.
        tasks: what teacher ("before") and static model ("after") are measured on.
        say: is told how it goes.

    Raises:
        MissingExtra: SciPy is not installed. ValueError: `dims` exceeds the teacher's. InvalidData: too few texts, or
            one is measured on.
    """
    require("train", "distilling into a static model", "scipy.sparse")  # said now, not behind the teacher's work
    width = teacher.get_embedding_dimension()
    if not 0 < dims <= width:
        raise ValueError(f"dims must be from 1 to {width}, the teacher's own, not {dims!r}")
    texts = list(dict.fromkeys(texts))
    enough(texts, 64, "distil_static()")
    held = min(4000, len(texts) // 20)
    settings = said(
        Schedule(), teacher, texts, recipe="static", dims=dims, first_steps=first_steps, steps=steps,
        temperature=temperature,
    )  # fmt: skip

    def make(run: Run) -> SentenceTransformer:
        say(f"teacher: vectors of {len(texts):,} texts")
        at = run.checkpoints / "teacher" if vectors is None else Path(vectors)
        found = teacher.encode_to(at, texts, normalize_embeddings=True, truncation="ignore")
        targets = np.concatenate([np.float16(found[i : i + _PORTION]) for i in range(0, len(texts), _PORTION)])
        counted = bags(teacher.tokenizer, texts)
        test, test_targets, counted, targets = counted[:held], targets[:held], counted[held:], targets[held:]

        def tell(what: str, table: Floats) -> None:
            near = agreement(unit(test @ table), test_targets)
            say(f"{what}: {near:.4f} of the teacher's 20 nearest held-out texts")

        table, narrow = start(teacher, counted, targets.astype(np.float32), dims)
        tell("start", table)
        rows = min(2048, counted.shape[0])
        table = fit(table, counted, towards(narrow), first_steps, rows, 0.02, run.checkpoints / "first.npz")
        tell("after the first stage", table)
        rows = min(1024, counted.shape[0])
        table = fit(table, counted, alike(targets, temperature), steps, rows, 0.004, run.checkpoints / "second.npz")
        tell("after the second stage", table)
        write(run.checkpoints / "model", table, counted[:_AXES], teacher.tokenizer)
        return SentenceTransformer(str(run.checkpoints / "model"))

    rows = {"texts": ([text] for text in texts)}
    return recipe(Path(output), settings, rows, tasks, lambda _: teacher, make, say)


# ---- the core ------------------------------------------------------------------------------------------------------


def bags(tokenizer: Any, texts: Sequence[str]) -> Any:
    """(texts, tokens) sparse: the share that each token has in a text, so that `bags @ table` are the mean vectors."""
    sparse = require("train", "distilling into a static model", "scipy.sparse")
    ids = [np.empty(0, np.int32)]
    for first in range(0, len(texts), _PORTION):
        found = tokenizer.encode_batch_fast(list(texts[first : first + _PORTION]), add_special_tokens=False)
        ids += [np.array(encoding.ids[:_LIMIT], np.int32) for encoding in found]
    counts = np.array(list(map(len, ids[1:])))
    shares = np.repeat(1 / np.maximum(counts, 1), counts).astype(np.float32)
    pointers = np.concatenate([[0], np.cumsum(counts)])
    shape = (len(texts), tokenizer.get_vocab_size())
    matrix = sparse.csr_matrix((shares, np.concatenate(ids), pointers), shape=shape)
    matrix.sum_duplicates()
    return matrix


def unit(x: NDArray[Any]) -> Floats:
    """Rows of length 1."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def start(teacher: SentenceTransformer, texts: Any, targets: Floats, dims: int) -> tuple[Floats, Floats]:
    """(tokens, dims): the teacher's vectors of the tokens as texts, rare ones longer; and (texts, dims) targets.

    Both are centred and projected on the principal components of the targets. The weights of tokens are those of
    Arora et al. 2017 (smooth inverse frequency).
    """
    tokenizer = teacher.tokenizer
    names = [_as_text(str(tokenizer.id_to_token(i))) for i in range(tokenizer.get_vocab_size())]
    tokens = teacher.encode(names, normalize_embeddings=True, truncation="ignore")
    centre = targets.mean(0)
    _, axes = np.linalg.eigh((targets - centre).T @ (targets - centre))
    axes = axes[:, ::-1][:, :dims]
    share = np.asarray(texts.mean(0)).reshape(-1, 1)
    table = (tokens - centre) @ axes * (1e-3 / (1e-3 + share))
    return table.astype(np.float32), unit((targets - centre) @ axes)


def _as_text(token: str) -> str:
    """A token without what marks the beginning or middle of a word.

    >>> [_as_text(token) for token in ("##ing", "▁red", "Ġtax", "##")]
    ['ing', 'red', 'tax', '##']
    """
    for mark in ("##", "▁", "Ġ"):
        token = token.removeprefix(mark) or token
    return token


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
        self.done = 0

    def step(self, rows: NDArray[Any], gradient: Floats, rate: float) -> None:
        """Move the rows against their gradient."""
        self.steps[rows] += 1
        self.mean[rows] = mean = 0.9 * self.mean[rows] + 0.1 * gradient
        self.square[rows] = square = 0.999 * self.square[rows] + 0.001 * gradient**2
        mean = mean / (1 - 0.9 ** self.steps[rows])
        square = square / (1 - 0.999 ** self.steps[rows])
        self.table[rows] -= rate * mean / (np.sqrt(square) + 1e-8)
        self.done += 1

    def save(self, path: Path) -> None:
        """Write everything, whole or not at all."""
        state: dict[str, Any] = {
            "table": self.table,
            "mean": self.mean,
            "square": self.square,
            "steps": self.steps,
            "done": self.done,
        }
        with atomic(path) as file:
            np.savez(file, **state)

    def load(self, path: Path) -> None:
        """Take what `save` wrote."""
        with np.load(path, allow_pickle=False) as state:
            self.table, self.mean, self.square = state["table"], state["mean"], state["square"]
            self.steps, self.done = state["steps"], int(state["done"])


def fit(table: Floats, texts: Any, loss: Loss, steps: int, batch: int, rate: float, kept: Path | None = None) -> Floats:
    """Adam over batches in random order; the rate rises for 100 steps, then falls to 0 in a line.

    Args:
        kept: a file that the state is written to now and then, and from which a killed run goes on.
    """
    adam = Adam(table.copy())
    if kept is not None and kept.exists():
        adam.load(kept)
    for k, rows in enumerate(_batches(texts.shape[0], batch, steps)):
        if k < adam.done:
            continue
        bag = texts[rows]
        mean = bag @ adam.table
        length = np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-6)
        z = mean / length
        g = loss(z, rows)
        g = (g - (g * z).sum(1, keepdims=True) * z) / length  # through the scaling to length 1
        touched = np.unique(bag.indices)
        adam.step(touched, bag.T.tocsr()[touched] @ g, rate * (1 - k / steps) * min(1, (k + 1) / 100))
        if kept is not None and (adam.done % _KEEP == 0 or adam.done == steps):
            adam.save(kept)
    return adam.table


def _batches(n: int, size: int, count: int) -> Iterator[NDArray[np.int64]]:
    """So many batches of n rows, in a new random order each time all were used; always the same."""
    random = np.random.default_rng(0)
    order, first = random.permutation(n), 0
    for _ in range(count):
        if first + size > len(order):
            order, first = random.permutation(n), 0
        yield order[first : first + size]
        first += size


def agreement(z: Floats, teacher: NDArray[np.float16]) -> float:
    """Of each held-out text's 20 nearest others by the teacher, the share that the student has among its 20 nearest."""
    k = min(20, len(z) - 1)
    if k < 1:
        return float("nan")
    nearest = []
    for vectors in (z, teacher.astype(np.float32)):
        s = vectors[:1000] @ vectors.T
        np.fill_diagonal(s, -np.inf)
        nearest.append(np.argpartition(-s, k - 1, 1)[:, :k])
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(*nearest, strict=True)]))


# ---- the model's folder --------------------------------------------------------------------------------------------


def write(out: Path, table: Floats, texts: Any, tokenizer: Any) -> None:
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
