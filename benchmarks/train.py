"""Training steps a second, memory and loss curves beside sentence-transformers, in one run, taking turns.

usage: python benchmarks/train.py DATA --model FOLDER --peer PYTHON [--rounds 5] [--steps 2] [--curve 12]
           [--batch 32] [--threads N]

DATA: a folder with scifact (corpus.jsonl.gz, queries.jsonl.gz, qrels/train.tsv): pairs of a claim and an abstract.
FOLDER: all-MiniLM-L6-v2's files, which both load.
PYTHON: of an environment that has sentence-transformers[train]. This script runs in one that has vicinal[train].

Both run their own trainer: MultipleNegativesRankingLoss, AdamW at 2e-5, the same batches of 32 pairs of at most 256
tokens. Speed is measured with the model's dropout; the curves are of runs without it, so that they can be compared.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peers import PEER, peak_memory

OWN = "vicinal"
REFERENCE = f"{PEER}:float32"
NAMES = (REFERENCE, f"{PEER}:bfloat16", f"{OWN}:float32", f"{OWN}:bfloat16")
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def pairs(data: Path) -> tuple[list[str], list[str]]:
    """Claims of the training set and an abstract of each."""

    def read(name: str) -> dict[str, dict[str, str]]:
        with gzip.open(data / "scifact" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return {row["_id"]: row for row in map(json.loads, lines)}

    queries, corpus = read("queries"), read("corpus")
    rows = (data / "scifact" / "qrels" / "train.tsv").read_text("utf-8").splitlines()[1:]
    found = [(queries[q]["text"], f"{corpus[d]['title']} {corpus[d]['text']}") for q, d, _ in map(str.split, rows)]
    claims, abstracts = zip(*found, strict=True)
    return list(claims), list(abstracts)


class Trainee:
    """A trainer in a process of its own, which makes so many steps whenever it is asked to."""

    def __init__(self, name: str, python: str, options: argparse.Namespace, file: str, total: int, still: bool) -> None:
        self.name = name
        given = {"name": name, "model": options.model, "file": file, "total": total, "still": still,
                 "batch": options.batch, "threads": options.threads}  # fmt: skip
        command = [python, __file__, "--worker", json.dumps(given), "-", "--model", "-", "--peer", "-"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def steps(self, count: int) -> dict[str, Any]:
        """Seconds, the losses of the steps, and the peak memory so far in bytes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.process.wait()}; see its messages above")
        return json.loads(line)

    def close(self) -> None:
        self.process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="of each in a round")
    parser.add_argument("--curve", type=int, default=12, help="steps of the curves; 0 leaves them out")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--worker", help="run in a process of its own by this script")
    options = parser.parse_args()
    if options.worker:
        return work(**json.loads(options.worker))
    with tempfile.TemporaryDirectory() as folder:
        (file := Path(folder) / "pairs.json").write_text(json.dumps(pairs(options.data)))
        speed(options, str(file))
        if options.curve:
            curves(options, str(file))


def python_of(name: str, options: argparse.Namespace) -> str:
    return options.peer if name.startswith(PEER) else sys.executable


def speed(options: argparse.Namespace, file: str) -> None:
    total = 1 + options.rounds * options.steps
    workers = {name: Trainee(name, python_of(name, options), options, file, total, False) for name in NAMES}
    for worker in workers.values():
        worker.steps(1)  # warm
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    processor: dict[str, list[float]] = {name: [] for name in NAMES}
    peaks = {}
    for _ in range(options.rounds):
        for name, worker in workers.items():
            answer = worker.steps(options.steps)
            seconds[name].append(answer["seconds"] / options.steps)
            processor[name].append(answer["cpu"] / options.steps)
            peaks[name] = answer["peak"]
    for worker in workers.values():
        worker.close()
    print(f"{options.batch} pairs a step, {options.rounds} rounds of {options.steps} steps in turn, "
          f"{options.threads} threads; medians\n")  # fmt: skip
    print(f"{'':34}{'steps/s':>9}  ratio to {REFERENCE}: median (min-max)   CPU seconds a step   peak memory")
    for name in NAMES:
        ratio = _ratio(seconds[REFERENCE], seconds[name])
        cpu = statistics.median(processor[name])
        print(
            f"{name:34}{1 / statistics.median(seconds[name]):9.3f}  {ratio:>30}{cpu:32.1f}{peaks[name] / 1e6:11.0f} MB"
        )
    same = [(dtype, _ratio(seconds[f"{PEER}:{dtype}"], seconds[f"{OWN}:{dtype}"])) for dtype in ("float32", "bfloat16")]
    print("\nat the same dtype:", "; ".join(f"{dtype} {ratio}" for dtype, ratio in same))
    print(f"bfloat16 to its default, float32: {_ratio(seconds[REFERENCE], seconds[f'{OWN}:bfloat16'])}")


def _ratio(theirs: list[float], ours: list[float]) -> str:
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def curves(options: argparse.Namespace, file: str) -> None:
    found = {}
    for name in NAMES:
        worker = Trainee(name, python_of(name, options), options, file, options.curve, True)
        found[name] = worker.steps(options.curve)["losses"]
        worker.close()
    print(f"\nlosses of {options.curve} steps without dropout")
    for name, losses in found.items():
        away = max(abs(a - b) for a, b in zip(losses, found[REFERENCE], strict=True))
        last = abs(losses[-1] / found[REFERENCE][-1] - 1)
        print(f"{name:34}{' '.join(f'{loss:.4f}' for loss in losses)}")
        print(f"{'':34}at most {away:.1e} from {REFERENCE}; the last one {100 * last:.2f} % away")


def work(name: str, model: str, file: str, total: int, still: bool, batch: int, threads: int) -> None:
    """Answer each number of steps on standard input with a line of JSON."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    answers, sys.stdout = sys.stdout, sys.stderr  # trainers print to it
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback

    torch.set_num_threads(threads)
    library, _, dtype = name.partition(":")
    if library == PEER:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
        from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
        from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

        more = {"device": "cpu"}
    else:
        from vicinal import SentenceTransformer
        from vicinal.losses import MultipleNegativesRankingLoss
        from vicinal.training.arguments import SentenceTransformerTrainingArguments
        from vicinal.training.trainer import SentenceTransformerTrainer

        more = {}

    class Turns(TrainerCallback):
        """Waits for its turn, and answers at its end."""

        left, begin, cpu, losses = 0, 0.0, 0.0, ()

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if not self.left:
                self.left, self.losses = int(sys.stdin.readline()), []
                self.begin, self.cpu = time.perf_counter(), time.process_time()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in (logs or {}):  # told after the step's end
                self.losses.append(state.log_history[-1]["loss"])
                self.left -= 1
                if not self.left:
                    took = {"seconds": time.perf_counter() - self.begin, "cpu": time.process_time() - self.cpu}
                    answer = {**took, "losses": self.losses, "peak": peak_memory()}
                    print(json.dumps(answer), file=answers, flush=True)

    claims, abstracts = json.loads(Path(file).read_text())
    loaded = SentenceTransformer(model, config_kwargs=STILL if still else {}, **more)
    with tempfile.TemporaryDirectory() as folder:
        args = SentenceTransformerTrainingArguments(
            output_dir=folder, per_device_train_batch_size=batch, max_steps=total, learning_rate=2e-5, seed=7,
            bf16=dtype == "bfloat16", use_cpu=True, logging_steps=1, save_strategy="no", report_to=[],
            disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        SentenceTransformerTrainer(
            model=loaded, args=args, train_dataset=Dataset.from_dict({"query": claims, "positive": abstracts}),
            loss=MultipleNegativesRankingLoss(loaded), callbacks=[Turns()],
        ).train()  # fmt: skip


if __name__ == "__main__":
    main()
