"""Answer questions from a web shop's list of questions and answers.

python examples/search.py "do you deliver to Spain?"
"""

from __future__ import annotations

import sys
from pathlib import Path

from vicinal import SentenceTransformer, util

answers = (Path(__file__).parent / "shop-faq.txt").read_text("utf-8").splitlines()
question = " ".join(sys.argv[1:]) or "how long do I have to return an item?"

model = SentenceTransformer()  # the small English model that comes with vicinal
vectors = model.encode_document(answers)
for hit in util.semantic_search(model.encode_query(question), vectors, top_k=3)[0]:
    print(f"{hit['score']:.2f}  {answers[hit['corpus_id']]}")
