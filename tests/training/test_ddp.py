"""Two processes with a batch each train as one does with both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.training.test_trainer import STILL, arguments, history, pairs
from vicinal import SentenceTransformer, losses
from vicinal.training.trainer import SentenceTransformerTrainer

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

_WORK = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.training.test_ddp import trained
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
model, losses = trained(folder, out, 4, ddp_backend="gloo", **json.loads(sys.argv[3]))
if torch.distributed.get_rank() == 0:
    assert torch.distributed.get_world_size() == 2
    model.save(out / "final")
    (out / "losses.json").write_text(json.dumps(losses))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def trained(folder: Path, out: Path, size: int, **more: Any) -> tuple[SentenceTransformer, list[float]]:
    model = SentenceTransformer(folder, dtype="float32")
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments(out, per_device_train_batch_size=size, use_cpu=True, **more),
        train_dataset=pairs(),
        loss=losses.MultipleNegativesRankingLoss(model, gather_across_devices=True),
    )
    trainer.train()
    return model, history(trainer)


def in_two_processes(folder: Path, out: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    script, root = out.with_suffix(".py"), Path(__file__).parents[2]
    script.write_text(_WORK)
    environment: dict[str, Any] = {
        **os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    command += [str(folder), str(out), json.dumps(more)]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_sharding_that_would_be_left_out_is_refused(tmp_path: Path) -> None:
    ran = in_two_processes(tiny.write_bert(tmp_path / "model"), tmp_path / "two", fsdp=True)
    assert ran.returncode != 0
    assert "fsdp= shards a model over several GPUs, and this is no such run" in ran.stderr


def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    folder, out = tiny.write_bert(tmp_path / "model", config=STILL), tmp_path / "two"
    ran = in_two_processes(folder, out)
    assert ran.returncode == 0, ran.stderr[-3000:]
    model, wanted = trained(folder, tmp_path / "one", 8)
    assert len(wanted) == 6
    np.testing.assert_allclose(json.loads((out / "losses.json").read_text()), wanted, rtol=1e-4)
    probe = ["a red apple", "law", "the tax law - query: green apple."]
    np.testing.assert_allclose(
        SentenceTransformer(out / "final", dtype="float32").encode(probe), model.encode(probe), atol=1e-4
    )
