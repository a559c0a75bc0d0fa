"""One model of several tasks against models of one task each, of the same number of steps, each measured on all tasks.

usage: python benchmarks/multitask.py DATA WORK [--steps 400] [--seeds 1 2 3] [--model all-MiniLM-L6-v2]

DATA: a folder with medquad/ in BEIR's form and tldr/, nli/, mrpc/, banking77/ as .tsv.gz. WORK: a folder for the files
that are made of them and for the models; what is done there already is not done again, and a killed run goes on.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from vicinal.errors import TruncationWarning
from vicinal.recipes.config import parse
from vicinal.recipes.train import train

INSTRUCTIONS = {
    "retrieval": "Find the answer: ",
    "nli": "Follow the meaning: ",
    "duplicates": "Find the same: ",
    "classification": "Find the intent: ",
}
TASKS = {"medquad": "retrieval", "tldr": "retrieval", "nli": "nli", "mrpc": "duplicates", "banking77": "classification"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--steps", type=int, default=400, help="of every model (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--max-seq-length", type=int, default=128)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--temperature", type=float, default=2.0, help="of the sampling (%(default)s)")
    parser.add_argument("--instructions", action="store_true", help="put an instruction in front of each task's texts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", type=int, default=1500, help="test rows a task (%(default)s)")
    parser.add_argument(
        "--documents", type=int, default=3000, help="MedQuAD documents beside the answers (%(default)s)"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore", TruncationWarning)  # many answers are long, and all models cut them alike
    files = options.work / f"files-{options.rows}-{options.documents}"
    if not (files / "done").exists():
        make_files(options.data, files, options.rows, options.documents)
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in options.seeds:
        for name in [*TASKS, "all"]:
            before, after = measured(options, files, name, seed)
            found[name].append(after)
            if name == "all":
                found["before"].append(before)
    show(found)


def measured(
    options: argparse.Namespace, files: Path, name: str, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The metric of each task before and after a training on one task, or on all."""
    output = options.work / f"{name}-{seed}"
    table = output / "training" / "comparison.csv"
    if not table.exists():
        config = parse(settings(options, files, list(TASKS) if name == "all" else [name], output, seed))
        train(config, lambda line: print(f"{name}-{seed}: {line}", file=sys.stderr, flush=True))
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    before, after = ({row["task"].partition("/")[0]: float(row[when]) for row in rows} for when in ("before", "after"))
    return before, after


def settings(options: argparse.Namespace, files: Path, names: list[str], output: Path, seed: int) -> dict[str, Any]:
    """As a YAML file would have them."""
    places = {name: {"train": files / f"{name}-train.csv", "test": files / f"{name}-test.csv"} for name in TASKS}
    places["medquad"] = {"train": options.data / "medquad", "test": files / "medquad"}
    data, tests = [], []
    for name, task in TASKS.items():
        label = {"label": "intent"} if name == "banking77" else {}
        if name in names:
            data.append({"name": name, "path": str(places[name]["train"]), "task": task, **label})
        test: dict[str, Any] = {"name": name, "path": str(places[name]["test"]), **label}
        if task == "classification":
            test["known"] = str(files / f"{name}-known.csv")
        tests.append(test)
    return {
        "model": options.model,
        "output": str(output),
        "data": data,
        "evaluation": tests,
        "sampling": {"temperature": options.temperature},
        "instructions": INSTRUCTIONS if options.instructions else {},
        "training": {
            "max_steps": options.steps,
            "per_device_train_batch_size": options.batch_size,
            "learning_rate": options.learning_rate,
        },
        "dtype": options.dtype,
        "leaks": "drop",
        "max_seq_length": options.max_seq_length,
        "seed": seed,
    }


def show(found: dict[str, list[dict[str, float]]]) -> None:
    """A line a model: each task's metric times 100, mean of the seeds and its spread, and the mean of the tasks."""
    print(f"\n{'trained on':12}" + "".join(f"{name:>16}" for name in [*TASKS, "mean"]))
    means = {name: [100 * fmean(run.values()) for run in runs] for name, runs in found.items()}
    for name in ["before", *TASKS, "all"]:
        cells = [said([100 * run[task] for run in found[name]]) for task in TASKS]
        print(f"{name:12}" + "".join(f"{cell:>16}" for cell in [*cells, said(means[name])]))
    single = [fmean(means[name][i] for name in TASKS) for i in range(len(means["all"]))]
    best = [max(means[name][i] for name in TASKS) for i in range(len(means["all"]))]
    own = [100 * fmean(found[name][i][name] for name in TASKS) for i in range(len(means["all"]))]
    print(f"\nmean of the tasks: all at once {said(means['all'])}, mean of the models of one task {said(single)}, "
          f"the best of them {said(best)}, each on its own task alone {said(own)}")  # fmt: skip
    print(
        f"all at once, less the mean of the others: {said([a - b for a, b in zip(means['all'], single, strict=True)])}"
    )


def said(numbers: list[float]) -> str:
    return f"{fmean(numbers):.2f}" + (f" ± {stdev(numbers):.2f}" if len(numbers) > 1 else "")


# ---- files ---------------------------------------------------------------------------------------------------------


def make_files(data: Path, files: Path, rows: int, documents: int) -> None:
    """Write what the runs read: training sets whole, test sets of so many rows."""
    files.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        limit = None if split == "train" else rows
        pairs = ((row["description"], row["command"]) for row in table(data / "tldr" / f"{split}.tsv.gz"))
        write(files / f"tldr-{split}.csv", ["query", "answer"], pairs, limit)
        labelled = ((r["sentence1"], r["sentence2"], r["label"]) for r in table(data / "mrpc" / f"{split}.tsv.gz"))
        write(files / f"mrpc-{split}.csv", ["first", "second", "label"], labelled, limit)
        texts = [(row["text"], row["intent"]) for row in table(data / "banking77" / f"{split}.tsv.gz")]
        if split == "train":
            write(files / "banking77-known.csv", ["text", "intent"], texts[::4], None)
        step = max(1, len(texts) // (limit or len(texts)))  # the file is sorted by intent
        write(files / f"banking77-{split}.csv", ["text", "intent"], texts[::step], limit)
    names = ["anchor", "positive", "negative"]
    known = (tuple(row[name] for name in names) for row in table(data / "nli" / "triplets.tsv.gz"))
    write(files / "nli-train.csv", names, known, None)
    write(files / "nli-test.csv", names, triplets(table(data / "nli" / "dev.tsv.gz")), rows)
    make_medquad(data / "medquad", files / "medquad", rows, documents)
    (files / "done").touch()


def make_medquad(data: Path, folder: Path, rows: int, documents: int) -> None:
    """The first test questions, their answers, and other documents, as a retrieval set."""
    lines = (data / "qrels" / "test.tsv").read_text("utf-8").splitlines()[: rows + 1]
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    queries, answers = ({line.split("\t")[i] for line in lines[1:]} for i in (0, 1))
    others = 0
    for name in ("queries", "corpus"):
        with (
            gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as source,
            (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file,
        ):
            for line in source:
                wanted = json.loads(line)["_id"] in (queries if name == "queries" else answers)
                if name == "corpus" and not wanted and others < documents:
                    wanted, others = True, others + 1
                if wanted:
                    file.write(line)


def triplets(rows: Iterable[dict[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Of each premise the i-th entailment with the i-th contradiction, as the training triplets were made."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row["premise"]][row["label"]].append(row["hypothesis"])
    for premise, said_of in found.items():
        for pair in zip(said_of["entailment"], said_of["contradiction"]):  # noqa: B905  # the shorter ends it
            yield (premise, *pair)


def table(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a .tsv.gz file without quotation."""
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        header = next(lines).rstrip("\n").split("\t")
        for line in lines:
            yield dict(zip(header, line.rstrip("\n").split("\t"), strict=True))


def write(path: Path, header: list[str], rows: Iterable[tuple[str, ...]], limit: int | None) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for number, row in enumerate(rows):
            if number == limit:
                break
            if all(text.strip() for text in row):
                writer.writerow(row)


if __name__ == "__main__":
    main()
