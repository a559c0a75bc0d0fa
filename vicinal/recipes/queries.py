"""Queries for passages that have none: written by a generator, or taken from the passages themselves; then GPL."""

from __future__ import annotations

import copy
import logging
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import log
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from vicinal.errors import InvalidData
from vicinal.evaluation.measuring import Task
from vicinal.extras import require
from vicinal.recipes.base import Run, leaks
from vicinal.recipes.labels import teacher_scores
from vicinal.recipes.runs import Outcome, Say, Schedule, digest, enough, recipe, said
from vicinal.recipes.scores import SCHEDULE, ScoreLoss, check, kept, learn_scores, taught
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.store.files import write_json
from vicinal.text.markdown import blocks, sentences

logger = logging.getLogger("vicinal")

Kind = Literal["title", "heading", "key", "crop"]
KINDS = ("title", "heading", "key", "crop")
_WORD = re.compile(r"\w+")
_PORTION = 64
"""Passages that a generator reads between two files."""


class Query(NamedTuple):
    """A query for a passage.

    Attributes:
        text: the query.
        passage: what it is to find: the passage, less the words that the query was taken from.
        source: the whole passage.
    """

    text: str
    passage: str
    source: str


def pseudo_queries(
    passages: Sequence[str],
    titles: Sequence[str] | None = None,
    *,
    per_passage: int = 3,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
) -> list[Query]:
    """Queries that need no generator, each with its passage.

    - "title": of the passage, where titles are given (Lee et al. 2019, arXiv:1906.00300, and others use them so).
    - "heading": those in its text, in Markdown.
    - "key": the sentence of which the words are the rarest among all passages and the most frequent in this one
      (Luhn 1958), cut out of it.
    - "crop": a random span of 4 to 12 words (Izacard et al. 2022, arXiv:2112.09118: independent cropping).

    Args:
        passages: n texts.
        titles: n, "" where there is none.
        per_passage: queries of each, at most: the kinds in their order, then more crops.
        kinds: which kinds.
        seed: of the crops.

    Returns:
        Of each passage, different queries.

    Raises:
        ValueError: there is no such kind, or there are not as many titles as passages.

    >>> text = "Returns take 30 days. Gift cards of ours never expire."
    >>> pseudo_queries([text], ["Shop rules"], per_passage=1)[0].text
    'Shop rules'
    >>> pseudo_queries([text], kinds=["key"])[0][:2]
    ('Gift cards of ours never expire.', 'Returns take 30 days.')
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"kinds must be among {', '.join(map(repr, KINDS))}, not {unknown[0]!r}")
    if titles is not None and len(titles) != len(passages):
        raise ValueError(f"{len(titles)} titles were given for {len(passages)} passages")
    counts = Counter(word for text in passages for word in set(_words(text))) if "key" in kinds else Counter()
    rng = random.Random(seed)
    found = []
    for i, passage in enumerate(passages):
        own: dict[str, str] = {}
        for query, rest in _candidates(passage, titles[i] if titles else "", kinds, counts, len(passages), rng):
            if query.strip() and rest.strip():
                own.setdefault(query.strip(), rest.strip())
            if len(own) == per_passage:
                break
        found += [Query(query, rest, passage) for query, rest in own.items()]
    return found


def _candidates(
    text: str, title: str, kinds: Sequence[str], counts: Mapping[str, int], total: int, rng: random.Random
) -> Iterator[tuple[str, str]]:
    """(query, the passage without it), kind after kind; crops until nobody asks."""
    if "title" in kinds and title:
        yield title, text
    parts = list(blocks(text))
    if "heading" in kinds:
        for block in parts:
            if block.level:
                yield block.title, _without(text, block.start, block.stop)
    spans = [span for block in parts if not block.level and not block.code for span in sentences(text, block)]
    if "key" in kinds and len(spans) > 1:
        frequent = Counter(_words(text))
        start, stop = max(spans, key=lambda span: _weight(text[slice(*span)], frequent, counts, total))
        yield text[start:stop], _without(text, start, stop)
    words = list(re.finditer(r"\S+", text))
    if "crop" in kinds and len(words) > 8:
        for _ in range(8):
            length = rng.randint(4, min(12, len(words) // 2))
            first = rng.randrange(len(words) - length + 1)
            start, stop = words[first].start(), words[first + length - 1].end()
            yield text[start:stop], _without(text, start, stop)


def _without(text: str, start: int, stop: int) -> str:
    return f"{text[:start].rstrip()} {text[stop:].lstrip()}".strip()


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _weight(sentence: str, frequent: Mapping[str, int], counts: Mapping[str, int], total: int) -> float:
    """The mean of tf * idf over a sentence's words; very short sentences count less."""
    words = _words(sentence)
    weights = [frequent[word] * log(1 + total / counts[word]) for word in words]
    return sum(weights) / max(len(words), 6)


def generated_queries(
    passages: Sequence[str],
    generator: str,
    folder: Path,
    *,
    per_passage: int = 3,
    longest: int = 48,
    passage_tokens: int = 384,
    seed: int = 0,
    say: Say = logger.info,
) -> list[Query]:
    """Queries that a sequence-to-sequence model writes for passages, such as docT5query's.

    Source: Nogueira and Lin 2019, "From doc2query to docTTTTTquery"; drawn with top-k and nucleus sampling, as in GPL.

    Args:
        passages: texts.
        generator: a name or folder of a model that `transformers` has for AutoModelForSeq2SeqLM.
        folder: where queries are kept as they are written; a killed run asks for none twice.
        per_passage: queries of each.
        longest: tokens of a query, at most.
        passage_tokens: of a passage that are read.
        seed: of the sampling.
        say: is told how far it is.

    Returns:
        Without repetitions.

    Raises:
        MissingExtra: transformers is not installed. OSError: (of transformers) there is no such model.
    """
    transformers = require("train", "--generator", "transformers")
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    found: dict[Query, None] = {}
    model: Any = None
    tokenizer: Any = None
    for start in range(0, len(passages), _PORTION):
        portion = list(passages[start : start + _PORTION])
        path = folder / f"{digest([generator, f'{per_passage} {longest} {passage_tokens} {seed}', *portion])}.json"

        if not path.exists():
            if model is None:
                tokenizer = transformers.AutoTokenizer.from_pretrained(generator)
                model = transformers.AutoModelForSeq2SeqLM.from_pretrained(generator).eval()
            torch.manual_seed(seed + start)
            read = tokenizer(portion, padding=True, truncation=True, max_length=passage_tokens, return_tensors="pt")
            known = {name: read[name] for name in ("input_ids", "attention_mask")}
            with torch.no_grad():
                ids = model.generate(
                    **known, max_new_tokens=longest, do_sample=True, top_k=25, top_p=0.95,
                    num_return_sequences=per_passage,
                )  # fmt: skip
            write_json(path, tokenizer.batch_decode(ids, skip_special_tokens=True))
            say(f"queries of {start + len(portion):,} of {len(passages):,} passages")
        for i, query in enumerate(kept(path, list)):
            if query.strip():
                passage = portion[i // per_passage]
                found.setdefault(Query(query.strip(), passage, passage))
    return list(found)


def adapt_without_labels(
    student: SentenceTransformer,
    passages: Sequence[str],
    teacher: Any,
    output: str | Path,
    *,
    titles: Sequence[str] | None = None,
    generator: str | None = None,
    per_passage: int = 3,
    kinds: Sequence[str] = KINDS,
    keep: float = 0.7,
    loss: ScoreLoss = "margin-mse",
    negatives: int = 1,
    schedule: Schedule = SCHEDULE,
    tasks: Sequence[Task] = (),
    say: Say = logger.info,
) -> Outcome:
    """Adapt a bi-encoder to passages that nobody wrote queries for (GPL).

    Queries are written by a generator, or taken from the passages (`pseudo_queries`). The cross-encoder scores each
    with its passage, and the best share is kept; the student's nearest other passages are the negatives; the
    cross-encoder's margins are what the student learns.

    Data: some thousand passages, and a cross-encoder that ranks better than the student: without one do not expect a
    gain. Cost: 1 + (1 + negatives) * keep scores of a cross-encoder for each query. Source: Wang et al. 2022,
    arXiv:2112.07577.

    Args:
        student: what is adapted; it is left as it is.
        passages: of the domain; equal ones count once.
        teacher: a `CrossEncoder` of one label.
        output: folder of the new model; a killed run goes on there.
        titles: of the passages, "" where there is none.
        generator: of queries, a name or folder; None takes pseudo-queries.
        per_passage: queries of each passage, at most.
        kinds: of pseudo-queries.
        keep: which share of the queries is kept, from the best down; 1 is all.
        loss, negatives, schedule: as in `distil_scores`.
        tasks: what the student is measured on before and after.
        say: is told how it goes.

    Raises:
        InvalidData: no queries were found; or passages are measured on. ValueError: an argument is none of its values.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep is the share of the queries that is kept, above 0 and up to 1, not {keep!r}")
    check(loss, negatives)
    named = dict.fromkeys(passages) if titles is None else dict(zip(passages, titles, strict=True))
    texts = [text for text in named if text.strip()]
    enough(texts, 2, "adapt_without_labels()")
    heads = None if titles is None else [str(named[text]) for text in texts]
    held = [text for task in tasks for text in task.texts]
    settings = said(
        schedule, student, [*texts, *(heads or ())], recipe="queries", teacher=teacher.fingerprint,
        generator=generator, per_passage=per_passage, kinds=list(kinds), keep=keep, loss=loss, negatives=negatives,
        passages=len(texts), held_out=digest(sorted(held)),  # which decide what queries are left out
    )  # fmt: skip

    def make(run: Run) -> SentenceTransformer:
        if generator is None:
            pairs = pseudo_queries(texts, heads, per_passage=per_passage, kinds=kinds, seed=schedule.seed)
        else:
            pairs = generated_queries(
                texts, generator, run.checkpoints / "queries", per_passage=per_passage, seed=schedule.seed, say=say
            )
        clash = set(leaks(([query.text] for query in pairs), held))
        if clash:
            say(f"{len(clash)} queries stand in what the model is measured on, and are left out")
        pairs = [query for i, query in enumerate(pairs) if i not in clash]
        chosen = best_share(teacher, pairs, keep, run.checkpoints / "filter", say)
        model = copy.deepcopy(student)
        whole = {(query.text, query.source): query.passage for query in chosen}  # its own words are no negative
        data = taught(teacher, model, list(whole), texts, negatives, 0, run.checkpoints, say, whole)
        learn_scores(model, data, loss, None, schedule, run, say)
        return model

    return recipe(Path(output), settings, {"passages": ([text] for text in texts)}, tasks, lambda _: student, make, say)


def best_share(teacher: Any, queries: Sequence[Query], keep: float, folder: Path, say: Say) -> list[Query]:
    """The queries that the teacher scores highest with their passages, in their order.

    Raises:
        InvalidData: there are none.
    """
    if not queries:
        raise InvalidData("no queries were found: passages of one short sentence have none; give titles or a generator")
    if keep == 1:
        return list(queries)
    scores = teacher_scores(teacher, [(query.text, query.passage) for query in queries], folder, say=say)
    count = max(1, round(keep * len(queries)))
    rows = np.sort(np.argsort(-scores, kind="stable")[:count])
    say(f"kept {count:,} of {len(queries):,} queries, scores from {scores[rows].min():.2f}")
    return [queries[i] for i in rows.tolist()]
