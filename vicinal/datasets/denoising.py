"""Texts with words left out, for denoising (TSDAE)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from torch.utils.data import Dataset

from vicinal.training.readers import InputExample

_WORDS = re.compile(r"\s*(?:\w+(?:[-.]\w+)*|[^\w\s])")
"""Words and single signs, each with the space in front of it, so that what is kept stands as it stood."""


class DenoisingAutoEncoderDataset(Dataset):  # type: ignore[misc]  # torch is not typed here
    """Examples [noisy text, text] for `DenoisingAutoEncoderLoss`; the noise is drawn anew each time.

    Args:
        sentences: texts.
        noise_fn: from a text to a noisy one; `delete` by default.

    Source: Wang et al. 2021, arXiv:2104.06979.
    """

    def __init__(self, sentences: Sequence[str], noise_fn: Callable[[str], str] | None = None) -> None:
        self.sentences = sentences
        self.noise_fn = noise_fn or self.delete

    def __getitem__(self, item: int) -> InputExample:
        text = self.sentences[item]
        return InputExample(texts=[self.noise_fn(text), text])

    def __len__(self) -> int:
        return len(self.sentences)

    @staticmethod
    def delete(text: str, del_ratio: float = 0.6, rng: np.random.Generator | None = None) -> str:
        """The text without each of its words with a probability of `del_ratio`; one word or sign always stays.

        `rng` decides which, or `numpy.random.seed` without one. What has no words is returned as it is.
        """
        words = _WORDS.findall(text)
        if not words:
            return text
        keep = (np.random.rand(len(words)) if rng is None else rng.random(len(words))) > del_ratio
        if not keep.any():
            keep[np.random.choice(len(words)) if rng is None else rng.integers(len(words))] = True
        return "".join(word for word, kept in zip(words, keep, strict=True) if kept).strip()
