"""Find messages that say the same in other words, and keep one of each: python examples/dedupe.py"""

from __future__ import annotations

from pathlib import Path

from vicinal import SentenceTransformer, util

THRESHOLD = 0.75

messages = (Path(__file__).parent / "messages.txt").read_text("utf-8").splitlines()

model = SentenceTransformer()  # the small English model that comes with vicinal
repeats: dict[int, tuple[int, float]] = {}
for score, i, j in util.paraphrase_mining(model, messages, top_k=5):
    first, second = sorted((i, j))
    if score >= THRESHOLD and first not in repeats:
        repeats.setdefault(second, (first, score))

for row, (first, score) in sorted(repeats.items()):
    print(f"{score:.2f}  {messages[row]}\n      repeats: {messages[first]}")
print(f"{len(messages) - len(repeats)} of {len(messages)} messages are left")
