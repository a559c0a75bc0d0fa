"""Make the static model that comes with vicinal: a vector a token, whose mean is like a teacher's vector of a text.

    python scripts/make_bundled_model.py DATA_DIR [--teacher all-MiniLM-L6-v2] [--out vicinal/bundled/model]

DATA_DIR holds the public texts that the model's card names. Needs vicinal, SciPy and the teacher; about 6 GB of memory,
and on two cores a quarter of an hour for the teacher's vectors (kept in --work) and as long for the student.

How the student is made from them: `vicinal.recipes.static`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vicinal import SentenceTransformer
from vicinal.recipes.static import agreement, alike, bags, fit, start, towards, unit, write

WIDTH = 256
_HELD_OUT = 4000
"""Texts that measure and do not train."""
_PORTION = 20_000
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
    table, narrow = start(teacher, counted, targets.astype(np.float32), WIDTH)
    say(f"start: {agreement(unit(held @ table), held_targets):.4f} of the teacher's 20 nearest held-out texts")
    table = fit(table, counted, towards(narrow), steps=250, batch=2048, rate=0.02)
    say(f"after the first stage: {agreement(unit(held @ table), held_targets):.4f}")
    table = fit(table, counted, alike(targets, _TEMPERATURE), steps=options.steps, batch=1024, rate=0.004)
    say(f"after the second stage: {agreement(unit(held @ table), held_targets):.4f}")
    write(options.out, table, counted[:100_000], tokenizer)


if __name__ == "__main__":
    main()
