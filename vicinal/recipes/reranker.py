"""A reranker of one's own: a cross-encoder from an encoder's weights, trained on pairs, judged beside the encoder.

The encoder finds, for each query, passages that it takes for answers and that are none; the cross-encoder learns to
tell them from the real ones, and so corrects the encoder where it errs (Nogueira and Cho 2019, arXiv:1901.04085; Gao,
Dai and Callan 2021, arXiv:2101.08751). As a program: `python -m vicinal.recipes.reranker --help`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from transformers.trainer_callback import PrinterCallback

from vicinal.cards import CrossEncoderModelCardData
from vicinal.cards.results import Result
from vicinal.cross_encoder import CrossEncoder
from vicinal.cross_encoder.losses import BinaryCrossEntropyLoss
from vicinal.errors import InvalidData, ModelWarning
from vicinal.evaluation.files import RetrievalSet, read_beir
from vicinal.recipes.base import last_checkpoint, leaks
from vicinal.recipes.judging import SHOWN, Comparison, best_weight, judge
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.store.files import LOCK, locked, write_json
from vicinal.text.files import columns, lines, records
from vicinal.training.arguments import CrossEncoderTrainingArguments
from vicinal.training.cross_encoder import CrossEncoderTrainer
from vicinal.training.mining import mine_hard_negatives

Pair = tuple[str, str]


@dataclass(frozen=True)
class Settings:
    """What decides the weights, beside the encoder and the pairs.

    Attributes:
        negatives: passages a query that are no answers.
        depth: they are drawn from so many of the encoder's best.
        relative_margin: a passage whose score comes nearer to the answer's than this part of it may be an answer too,
            and is left out.
        epochs: passes over the pairs.
        batch_size: pairs a step, right and wrong ones.
        learning_rate: at its highest, after the first tenth of the steps.
        max_length: tokens of a pair; None is the encoder's own limit.
        bf16: whether products are computed in bfloat16, about twice as fast where the processor has it.
        seed: of everything random.
    """

    negatives: int = 4
    depth: int = 50
    relative_margin: float | None = 0.05
    epochs: float = 1
    batch_size: int = 32
    learning_rate: float = 5e-5
    max_length: int | None = None
    bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("negatives", "depth", "batch_size"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        for name in ("epochs", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")
        if type(self.seed) is not int or not 0 <= self.seed < 1 << 32:
            raise ValueError(f"seed must be an integer from 0 to below 2**32, not {self.seed!r}")
        if self.depth < self.negatives:
            raise ValueError(f"depth={self.depth} is too few to draw {self.negatives} negatives from")


def train_reranker(
    encoder: SentenceTransformer,
    pairs: Iterable[Pair],
    folder: str | os.PathLike[str],
    *,
    corpus: Iterable[str] = (),
    test: Sequence[RetrievalSet] = (),
    weigh: Sequence[RetrievalSet] = (),
    candidates: int = 100,
    save_steps: int = 100,
    show_progress: bool = False,
    **settings: Any,
) -> tuple[CrossEncoder, list[Comparison]]:
    """Train a cross-encoder on pairs of queries and passages, and judge it beside the encoder.

    A run that was ended, however it was, goes on from its last checkpoint when it is called again with the same
    arguments; one that had come to its end is only judged.

    Args:
        encoder: finds the negatives, and gives the weights to begin with. It stays as it is.
        pairs: (query, passage that answers it); a query may stand in several.
        folder: of the run: "model" is the result, "checkpoints", "mined.json" and "start" what it needs to go on.
        corpus: further passages that negatives may be.
        test: sets to judge on.
        weigh: sets, of other queries than those of `test` and of the pairs, by which the reranker's weight beside the
            encoder is chosen (see `Pipeline` and `judging.best_weight`); each of `test` is then judged with it too.
        candidates: passages a query that are reranked there.
        save_steps: between two checkpoints.
        show_progress: whether to show it.
        settings: see `Settings`.

    Returns:
        The cross-encoder, and a comparison for each of `test`; with `weigh` a second one each, by the chosen weight.

    Raises:
        InvalidData: a query of a test set stands among the pairs or in `weigh`, a pair is none, no negative is found,
            or the folder holds another run or something else. FolderBusy: another process runs there. ValueError: a
            setting is none.
    """
    chosen = Settings(**settings)
    if candidates < SHOWN:
        raise ValueError(f"candidates must be at least the {SHOWN} that nDCG@{SHOWN} looks at, not {candidates}")
    told = _checked(pairs)
    for data in (*test, *weigh):
        check_unseen(told, data)
    for data in test:
        check_unseen([(query, "") for other in weigh for query in other.queries.values()], data, "weigh")
    at = Path(folder)
    others = list(corpus)
    with _claimed(at, encoder, told, others, chosen):
        if (at / "model").exists():
            model = CrossEncoder(at / "model")
        else:
            model = _trained(encoder, told, others, at, chosen, save_steps, show_progress)
        weights: list[float | None] = [None]
        if weigh and test:
            weights.append(best_weight([judge(encoder, model, data, candidates) for data in weigh]))
        judged = [judge(encoder, model, data, candidates) for data in test]
        comparisons = [data.compared(weight) for data in judged for weight in weights]
        if comparisons:
            for found in comparisons:
                result = _result(found)
                model.model_card_data.results[result.class_name, result.name] = result
            model.save(at / "model")
    return model, comparisons


def check_unseen(pairs: Sequence[Pair], test: RetrievalSet, where: str = "the training pairs") -> None:
    """No query of a test set may be trained on, whatever its case and spaces.

    Raises:
        InvalidData: some are; it says how many, and the first.
    """
    queries = list(test.queries.values())
    if seen := leaks([[query] for query in queries], (query for query, _ in pairs)):
        raise InvalidData(
            f"{len(seen)} of {len(queries)} queries of {test.name} stand in {where} too, the first "
            f"{queries[seen[0]]!r}: what is measured on them means nothing. Take them out there"
        )


def _checked(pairs: Iterable[Any]) -> list[Pair]:
    told: list[Pair] = []
    for i, pair in enumerate(pairs):
        if not (
            isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(t, str) and t.strip() for t in pair)
        ):
            raise InvalidData(f"pair {i} must be two texts, a query and a passage, not {pair!r}")
        told.append((pair[0], pair[1]))
    if not told:
        raise InvalidData("there are no pairs to train on")
    return told


# ---- the run's folder ----------------------------------------------------------------------------------------------


@contextmanager
def _claimed(
    at: Path, encoder: SentenceTransformer, pairs: list[Pair], corpus: list[str], chosen: Settings
) -> Iterator[None]:
    """Write what the run is made of, or find it the same; nobody else runs there meanwhile."""
    texts = hashlib.sha256()
    for text in (*(part for pair in pairs for part in pair), *corpus):
        texts.update(text.encode() + b"\0")
    run = {"encoder": encoder.fingerprint, "pairs": len(pairs), "texts": texts.hexdigest(), **asdict(chosen)}
    file = at / "run.json"
    if at.is_dir() and not file.exists() and set(at.iterdir()) - {at / LOCK}:
        raise InvalidData(f"{at} holds something else: name another folder")
    at.mkdir(parents=True, exist_ok=True)
    with locked(at):
        if file.exists():
            known = json.loads(file.read_text(encoding="utf-8"))
            if changed := [name for name in {**known, **run} if known.get(name) != run.get(name)]:
                raise InvalidData(
                    f"{at} holds a run with another {', '.join(changed)}: give the same to go on with it, or another "
                    "folder"
                )
        else:
            write_json(file, run)
        yield


def _mined(encoder: SentenceTransformer, pairs: list[Pair], corpus: list[str], at: Path, chosen: Settings) -> Dataset:
    """The pairs with their negatives as labelled pairs, found once."""
    file = at / "mined.json"
    if not file.exists():
        transformers.set_seed(chosen.seed)
        queries, passages = zip(*pairs, strict=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fewer negatives than wished for are no fault here
            found = mine_hard_negatives(
                Dataset.from_dict({"query": list(queries), "passage": list(passages)}), encoder, corpus=corpus or None,
                num_negatives=chosen.negatives, range_max=chosen.depth, relative_margin=chosen.relative_margin,
                sampling_strategy="random", output_format="labeled-pair", verbose=False,
            )  # fmt: skip
        rows = found.to_dict()
        if 0 not in rows["label"]:
            raise InvalidData(
                f"no negative is found among {len(pairs)} pairs: give more passages as corpus, or a smaller "
                f"relative_margin than {chosen.relative_margin}"
            )
        write_json(file, {**rows, "label": [float(label) for label in rows["label"]]})
    return Dataset.from_dict(json.loads(file.read_text(encoding="utf-8")))


def _trained(
    encoder: SentenceTransformer, pairs: list[Pair], corpus: list[str], at: Path, chosen: Settings, save_steps: int,
    show_progress: bool,
) -> CrossEncoder:  # fmt: skip
    data = _mined(encoder, pairs, corpus, at, chosen)
    if not (at / "start").exists():
        encoder.save(at / "start")
    transformers.set_seed(chosen.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)  # the head is new, and is about to be trained
        card = CrossEncoderModelCardData(train_datasets=[{"name": "pairs with mined negatives"}])
        model = CrossEncoder(
            at / "start", num_labels=1, max_length=chosen.max_length, model_card_data=card,
        )  # fmt: skip
    if "/" in encoder.name and not Path(encoder.name).exists():
        card.set_base_model(encoder.name)
    wrong = sum(1 for label in data["label"] if not label)
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(at / "checkpoints"), num_train_epochs=chosen.epochs, bf16=chosen.bf16, seed=chosen.seed,
        use_cpu=not torch.cuda.is_available(),
        per_device_train_batch_size=chosen.batch_size, learning_rate=chosen.learning_rate, warmup_ratio=0.1,
        save_strategy="steps", save_steps=save_steps, save_total_limit=2, logging_steps=min(save_steps, 50),
        report_to=[], disable_tqdm=not show_progress, dataloader_pin_memory=False,
    )  # fmt: skip
    loss = BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(wrong / (len(data) - wrong)))
    trainer = CrossEncoderTrainer(model=model, args=arguments, train_dataset=data, loss=loss)
    trainer.remove_callback(PrinterCallback)  # the card has its losses
    checkpoint = last_checkpoint(at / "checkpoints")
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    model.save(at / "model")
    return model


# ---- judging -------------------------------------------------------------------------------------------------------


def _result(found: Comparison) -> Result:
    """What the model's card says of a comparison."""
    metrics = {
        "ndcg@10": float(found.after.mean()),
        "base_ndcg@10": float(found.before.mean()),
        "difference": found.difference.value,
        "p": found.difference.p,
    }
    config = {"queries": len(found.before), "candidates": found.candidates, "weight": found.weight}
    name = found.name if found.weight is None else f"{found.name}, beside the encoder"
    return Result("Reranking", "Reranking", name, metrics, None, config)


# ---- as a program --------------------------------------------------------------------------------------------------


def read_pairs(place: str) -> tuple[list[Pair], list[str]]:
    """Pairs of a table's first two columns, or of the split "train" of a folder in BEIR form, with its documents.

    Raises:
        InvalidData, DataNotFound: see `read_beir`.
    """
    if Path(place).is_dir():
        data = read_beir(place, "train")
        pairs = [
            (data.queries[query], data.corpus[document])
            for query, known in data.relevant.items()
            for document, grade in known.items()
            if grade > 0 and document in data.corpus
        ]
        return pairs, list(data.corpus.values())
    delimiter = "," if ".csv" in Path(place).suffixes else "\t"
    quoting = 0 if delimiter == "," else 3  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE
    found = (columns(record, (0, 1), where) for where, record in records(place, delimiter, quoting))
    return [(query, passage) for query, passage in found], []


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, train, print the comparisons."""
    parser = argparse.ArgumentParser(prog="python -m vicinal.recipes.reranker", description=__doc__)
    parser.add_argument("pairs", nargs="+", help="tables (.tsv, .csv, also .gz) of query and passage without a header; "
                        "folders in BEIR form, whose split \"train\" is taken")  # fmt: skip
    parser.add_argument("--output", required=True, help="the run's folder; the model is in model/ below it")
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2", help="a name or a folder (%(default)s)")
    parser.add_argument(
        "--corpus", action="append", default=[], help="further passages that negatives may be, one a line"
    )
    parser.add_argument(
        "--test", action="append", default=[], help="a folder in BEIR form to judge on, or folder:split"
    )
    parser.add_argument("--weigh", action="append", default=[], help="the same, of other queries: to choose the "
                        "reranker's weight beside the encoder by, which is then judged too")  # fmt: skip
    parser.add_argument("--candidates", type=int, default=100, help="passages that are reranked there (%(default)s)")
    parser.add_argument("--save-steps", type=int, default=100, help="between two checkpoints (%(default)s)")
    for name, default in asdict(Settings()).items():
        flag, kind = f"--{name.replace('_', '-')}", {"max_length": int}.get(name, type(default))
        if kind is bool:
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=kind, default=default, help=f"see Settings ({default})")
    given = vars(parser.parse_args(arguments))
    sources = [read_pairs(place) for place in given.pop("pairs")]
    pairs = [pair for told, _ in sources for pair in told]
    corpus = [passage for _, passages in sources for passage in passages]
    corpus += [line for place in given.pop("corpus") for _, line in lines(place) if line.strip()]
    tests, weigh = ([read_beir(*_folder_and_split(place)) for place in given.pop(name)] for name in ("test", "weigh"))
    encoder = SentenceTransformer(given.pop("encoder"))
    output = given.pop("output")
    _, comparisons = train_reranker(
        encoder, pairs, output, corpus=corpus, test=tests, weigh=weigh, show_progress=True, **given
    )
    sys.stdout.writelines(f"{found}\n" for found in comparisons)


def _folder_and_split(place: str) -> tuple[str, str | None]:
    folder, _, split = place.rpartition(":")
    return (folder, split) if folder and not Path(place).exists() else (place, None)


if __name__ == "__main__":
    main()
