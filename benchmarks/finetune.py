"""Fine-tuning all-MiniLM-L6-v2: what it lifts on data that it is then tested on, and how long it takes.

usage: python benchmarks/finetune.py DATA scifact|sts [--seeds 1 2] [--out runs] [--model all-MiniLM-L6-v2]
           [--dtype bfloat16] [--epochs N] [--batch N] [--rate R] [--rows N]

DATA: a folder with scifact (corpus.jsonl.gz, queries.jsonl.gz, qrels/{train,test}.tsv), or with nli/triplets.tsv.gz and
stsb/{train,test}.tsv.gz.

scifact: claims and their abstracts with one hard negative each, which the model itself mines;
MultipleNegativesRankingLoss for two epochs; nDCG@10 of the test queries before and after. The claims are new, but 216
of the 339 abstracts that answer them answer a training claim too: much of what is lifted is learnt of these abstracts.
sts: MultipleNegativesRankingLoss on NLI triplets for an epoch, then CoSENTLoss on STS-B's training pairs for three;
Spearman's correlation on the test pairs before and after.

Each seed has its own folder below --out. A run that was cut off goes on from its last checkpoint when it is started
again with the same arguments, and one that is whole is only measured. The checkpoints are deleted at its end.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from vicinal import SentenceTransformer, losses
from vicinal.evaluation.files import read_beir, read_pairs
from vicinal.evaluation.measuring import Task, retrieval, similarity
from vicinal.training.arguments import SentenceTransformerTrainingArguments
from vicinal.training.mining import mine_hard_negatives
from vicinal.training.trainer import SentenceTransformerTrainer

QUIET = {"truncation": "ignore"}
EVERY = 25
"""Steps between checkpoints."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of training")
    parser.add_argument("--epochs", type=float, help="instead of the recipe's, of its last stage")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--rows", type=int, help="of each training set: a short run, to see that it works")
    options = parser.parse_args()
    stages, task_of = RECIPES[options.recipe]
    task = task_of(options.data)
    before = task.measure(SentenceTransformer(options.model))
    print(f"{task.described}\nbefore: {_shown(before, task)}", flush=True)
    for seed in options.seeds:
        folder = options.out / f"{options.recipe}-{seed}"
        begin = time.perf_counter()
        name = options.model
        for at, stage in enumerate(stages):
            last = stage is stages[-1]
            name = train(stage, name, folder / str(at), seed, options, options.epochs if last else None)
        took = time.perf_counter() - begin
        after = task.measure(SentenceTransformer(name))
        gain = after.minus(before)[task.primary]
        print(f"seed {seed}: {_shown(after, task)}, {100 * gain.value:+.2f} points (95 % {100 * gain.low:+.2f} to "
              f"{100 * gain.high:+.2f}, p = {gain.p:.4f}); {took:.0f} s", flush=True)  # fmt: skip


def _shown(found: Any, task: Task) -> str:
    interval = found.metrics[task.primary]
    return f"{task.primary} {100 * interval.value:.2f} [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"


def train(stage: Callable[..., Any], name: str, folder: Path, seed: int, options: Any, epochs: float | None) -> str:
    """Train a model by one stage of a recipe, or go on with it; where the trained one is."""
    done = folder / "model"
    if (done / "modules.json").exists():
        print(f"{folder} is whole: not trained again", flush=True)
        return str(done)
    model = SentenceTransformer(name)
    data, loss, stated = stage(options.data, model, folder)
    if options.rows:
        data = data.select(range(min(options.rows, len(data))))
    args = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "checkpoints"), seed=seed, num_train_epochs=epochs or stated,
        per_device_train_batch_size=options.batch, learning_rate=options.rate, warmup_ratio=0.1,
        bf16=options.dtype == "bfloat16", use_cpu=True, batch_sampler="no_duplicates",
        save_strategy="steps", save_steps=EVERY, save_total_limit=1, logging_steps=EVERY, report_to=[],
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(model=model, args=args, train_dataset=data, loss=loss)
    trainer.train(resume_from_checkpoint=any((folder / "checkpoints").glob("checkpoint-*")) or None)
    model.save(done)
    shutil.rmtree(folder / "checkpoints")
    return str(done)


# ---- the recipes: training data, loss and epochs of each stage; the task ---------------------------------------------


def scifact_pairs(data: Path, model: Any, folder: Path) -> tuple[Dataset, Any, float]:
    """Claims, abstracts, and the abstract that the model takes for the best answer among those that are none."""
    mined = folder / "mined.json"
    if not mined.exists():
        found = read_beir(data / "scifact", "train")
        pairs = [(found.queries[q], found.corpus[d]) for q, relevant in found.relevant.items() for d in relevant]
        claims, abstracts = zip(*pairs, strict=True)
        rows = mine_hard_negatives(
            Dataset.from_dict({"query": claims, "positive": abstracts}), model, corpus=list(found.corpus.values()),
            num_negatives=1, range_max=20, verbose=False,
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        partial = mined.with_suffix(".partial")
        partial.write_text(json.dumps({column: list(rows[column]) for column in rows.column_names}))
        partial.rename(mined)
    return Dataset.from_dict(json.loads(mined.read_text())), losses.MultipleNegativesRankingLoss(model), 2


def nli_triplets(data: Path, model: Any, folder: Path) -> tuple[Dataset, Any, float]:
    """Premises, what follows from them, and what contradicts them."""
    rows = _table(data / "nli" / "triplets.tsv.gz")
    return Dataset.from_dict(rows), losses.MultipleNegativesRankingLoss(model), 1


def stsb_pairs(data: Path, model: Any, folder: Path) -> tuple[Dataset, Any, float]:
    """Pairs of sentences with a score of 0 to 5."""
    rows = _table(data / "stsb" / "train.tsv.gz")
    scores = [float(score) / 5 for score in rows["score"]]
    columns = {"sentence1": rows["sentence1"], "sentence2": rows["sentence2"], "score": scores}
    return Dataset.from_dict(columns), losses.CoSENTLoss(model), 3


def _table(path: Path) -> dict[str, list[str]]:
    """Columns of a tab separated file without quotes."""
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        names = next(lines).rstrip("\n").split("\t")
        rows = [line.rstrip("\n").split("\t") for line in lines]
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def scifact_test(data: Path) -> Task:
    """Two of the 300 test claims stand in the training set too, and are left out."""
    found, trained = (read_beir(data / "scifact", split) for split in ("test", "train"))
    known = {text.casefold() for text in trained.queries.values()}
    kept = [query for query, text in found.queries.items() if text.casefold() not in known]
    relevant = {query: found.relevant[query] for query in kept}
    return retrieval(replace(found, queries={q: found.queries[q] for q in kept}, relevant=relevant), options=QUIET)


def stsb_test(data: Path) -> Task:
    return similarity(
        read_pairs(data / "stsb" / "test.tsv.gz", ("sentence1", "sentence2", "score"), quotes=False), options=QUIET
    )


RECIPES = {"scifact": ((scifact_pairs,), scifact_test), "sts": ((nli_triplets, stsb_pairs), stsb_test)}

if __name__ == "__main__":
    main()
