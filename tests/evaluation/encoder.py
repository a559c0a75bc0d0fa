"""A small encoder that is the same for every library: words are random vectors, a text is the sum of its words."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from vicinal.similarity import cos_sim, quantize_embeddings

DIMS = 24
WORDS = (
    "red", "green", "blue", "apple", "pear", "plum", "tax", "law", "court", "judge", "rain", "snow", "wind", "storm",
    "dog", "cat", "bird", "fish", "train", "bus",
)  # fmt: skip


def words(seed: int, count: int) -> list[str]:
    """Texts of three to seven words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 8))) for _ in range(count)]


def _vector(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(DIMS)


class Card:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, Any], int, int]] = []

    def set_evaluation_metrics(self, evaluator: Any, metrics: dict[str, Any], epoch: int, step: int) -> None:
        self.told.append((metrics, epoch, step))


class Encoder:
    """What has the methods that evaluators call, and takes queries and documents for different things."""

    similarity_fn_name = "cosine"
    similarity = staticmethod(cos_sim)
    device = "cpu"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.model_card_data = Card()
        self.asked: list[dict[str, Any]] = []

    def encode(self, sentences: Any, task: str = "", **options: Any) -> Any:
        self.asked.append(options)
        lead = f"{options.get('prompt') or ''} {options.get('prompt_name') or ''} {task}".split()
        rows = []
        for text in [sentences] if isinstance(sentences, str) else sentences:
            parts = [_vector(word) for word in text.split()] + [0.3 * _vector(word) for word in lead]
            rows.append(sum(parts, 0.05 * self.seed * _vector(f"{self.seed}")) / (1 + len(text) / 50))
        vectors = np.asarray(rows, np.float32).reshape(-1, DIMS)[:, : options.get("truncate_dim")]
        if options.get("normalize_embeddings"):
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        if options.get("precision") not in (None, "float32"):
            vectors = np.asarray(quantize_embeddings(vectors, options["precision"]))
        if options.get("convert_to_tensor") or not options.get("convert_to_numpy", True):
            import torch

            tensor = torch.from_numpy(vectors)
            return tensor if options.get("convert_to_tensor") else list(tensor)
        return vectors[0] if isinstance(sentences, str) else vectors

    def encode_query(self, sentences: Any, **options: Any) -> Any:
        return self.encode(sentences, task="query", **options)

    def encode_document(self, sentences: Any, **options: Any) -> Any:
        return self.encode(sentences, task="document", **options)

    def eval(self) -> None:
        """As a torch module has it."""


class Scorer:
    """A model of pairs with fixed scores."""

    def __init__(self, num_labels: int = 1, seed: int = 0, steps: int | None = None) -> None:
        self.num_labels, self.seed, self.steps = num_labels, seed, steps
        self.model_card_data = Card()

    def predict(self, pairs: Any, **options: Any) -> np.ndarray:
        rows = []
        for first, second in pairs:
            digest = hashlib.sha256(f"{self.seed}|{first}|{second}".encode()).digest()
            rows.append(np.frombuffer(digest[: 4 * self.num_labels], np.uint32) / 2**32)
        scores = np.asarray(rows, np.float32).reshape(-1, self.num_labels)
        if self.steps is not None:  # few different scores, hence ties
            scores = np.floor(scores * self.steps) / self.steps
        return scores[:, 0] if self.num_labels == 1 else scores
