"""Make the static embedding model that comes with vicinal, from texts and a teacher's vectors of them.

    python scripts/make_bundled_model.py DATA_DIR [--teacher all-MiniLM-L6-v2] [--out vicinal/bundled/model]

Needs vicinal, SciPy and the teacher.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

# ---- texts -------------------------------------------------------------------------------------------------------

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])")
_CORPUS_EN = ("arxiv_abstract", "arxiv_title", "wikipedia_sentence", "book_paragraph", "medquad_answer")


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
    words = {word for row in _tsv(data / "open_english/wordnet.tsv.gz") for word in row["words"].split("; ")}
    yield "oewn_words", sorted(words)
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


def collect(data: Path) -> tuple[list[str], list[str]]:
    """All texts, each once, in order of their hash, and the source of each; none that holds a sentence of STS-B."""
    held = set()
    for split in ("train", "dev", "test"):
        for row in _tsv(data / f"stsb/{split}.tsv.gz"):
            held |= {normalised(row["sentence1"]), normalised(row["sentence2"])}
    found: dict[str, str] = {}
    for source, texts in sources(data):
        new = {text for text in texts if text not in found}
        bad = {text for text in new if not {normalised(part) for part in [text, *sentences(text)]}.isdisjoint(held)}
        found.update(dict.fromkeys(new - bad, source))
        print(f"{source}: {len(texts):,} texts, {len(new):,} new, {len(bad)} dropped as STS-B")
    order = _draw(found, len(found), "order")
    return order, [found[text] for text in order]
