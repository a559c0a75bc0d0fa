"""Group what customers write by what it is about: python examples/cluster.py"""

from __future__ import annotations

from pathlib import Path

from vicinal import SentenceTransformer, util

messages = (Path(__file__).parent / "messages.txt").read_text("utf-8").splitlines()

model = SentenceTransformer()  # the small English model that comes with vicinal
vectors = model.encode(messages)
groups = util.community_detection(vectors, threshold=0.5, min_community_size=2)
for group in groups:
    print(f"{len(group)} messages:")
    for row in group:
        print(f"  {messages[row]}")
alone = set(range(len(messages))) - {row for group in groups for row in group}
print("alone:")
for row in sorted(alone):
    print(f"  {messages[row]}")
