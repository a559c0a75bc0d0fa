"""The name under which a cache keeps a vector: a hash of everything that decides what the vector is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b

from vicinal.text.tokens import Text

FORMAT = 1
"""Changes when a key comes to mean another vector, or rows are laid out otherwise."""
KEY_BYTES = 16


class Keys:
    """Names texts in one context.

    Args:
        space: the fingerprint of the route that the texts take: tensors, tokenizer, pooling, length limit.
        numerics: how it is computed, see `backends.numerics`.
        prompt: leading tokens that pooling leaves out. The prompt itself stands in front of the text that is named.
    """

    def __init__(self, space: str, numerics: str, prompt: int) -> None:
        context = json.dumps([FORMAT, space, numerics, prompt])
        # Two seeds: no pair can be mistaken for a text.
        self._text, self._pair = (blake2b(f"{kind} {context}".encode()).digest() for kind in ("text", "pair"))

    def __call__(self, texts: Sequence[Text]) -> list[bytes]:
        """128 bits for each text: the same for the same text or pair in the same context."""
        if texts and not isinstance(texts[0], str):
            return [self._of_pair(*pair) for pair in texts]
        seed = self._text
        return [blake2b(_encoded(text), digest_size=KEY_BYTES, key=seed).digest() for text in texts]  # type: ignore[arg-type]

    def _of_pair(self, a: str, b: str) -> bytes:
        first, second = _encoded(a), _encoded(b)
        content = b"".join((len(first).to_bytes(8, "little"), first, second))
        return blake2b(content, digest_size=KEY_BYTES, key=self._pair).digest()


def _encoded(text: str) -> bytes:
    """Half a surrogate pair has no UTF-8: it gets a key that nothing has, and the tokenizer says what is wrong."""
    return text.encode("utf-8", "surrogatepass")
