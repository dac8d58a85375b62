"""Two processes train as one does; what ends one of them ends both."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import CONFIGURATION, HELPERS, with_training
from torch import nn

from dafxtool import presets
from dafxtool.errors import ConfigError, ElsewhereError
from dafxtool.models.batch_shard import Shard
from dafxtool.models.checkpoint import read_checkpoint
from dafxtool.models.factory import build_model
from dafxtool.training import distributed
from dafxtool.training.distributed import ProcessGroup, joined, n_own_rows
from dafxtool.training.run_writer import read_metrics
from dafxtool.training.train import train

LONGEST_S = 120
CONVOLUTIONAL = replace(
    with_training(label_weight=0.0, learning_rate=1e-4),
    model=replace(CONFIGURATION.model, architecture="convolutional", n_style=0),
)
LABELS_ALONG = with_training(label_steps=0)
ENDLESS = with_training(max_steps=1_000_000, schedule="constant", label_weight=0.0)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment(**values: object) -> dict[str, str]:
    """For processes that find each other on the loopback address alone."""
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    given = {name: str(value) for name, value in values.items()}
    return {**os.environ, **loopback, "OMP_NUM_THREADS": "1", **given}


# In each of two processes: some trainings, and what this process saw of them.
PROGRAM = """
import json, os, sys
sys.path[:0] = {tests!r}
from dataclasses import replace
from pathlib import Path
import torch
from datasets import CONFIGURATION, with_training
from test_distributed import CONVOLUTIONAL, ENDLESS, LABELS_ALONG
from dafxtool.training.distributed import joined
from dafxtool.errors import DiskError
from dafxtool.training.train import train

data, folder, seen = Path({data!r}), Path({folder!r}), {{"written": []}}
rank = os.environ["RANK"]

def audit(event, arguments):
    if event not in ("open", "os.mkdir", "os.rename") or str(folder) not in str(arguments[0]):
        return
    if event != "open" or int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
        seen["written"].append(str(arguments[0]))

def full_disk(trainer, run, validation):
    raise DiskError("the disk is full")

sys.addaudithook(audit)
with joined("cpu"):
    result = train(data, folder / "residual", CONFIGURATION, "cpu")
    seen["residual"] = [result.ended, result.steps]
    train(data, folder / "residual", with_training(max_steps=16), "cpu", resume=True)
    train(data, folder / "labels", LABELS_ALONG, "cpu")
    try:
        train(data, folder / "convolutional", CONVOLUTIONAL, "cpu")
    except Exception as error:
        seen["convolutional"] = [type(error).__name__, str(error)]
    minutes = replace(ENDLESS, training=replace(ENDLESS.training, max_minutes=0.02))
    result = train(data, folder / "minutes", minutes, "cpu")
    seen["minutes"] = [result.ended, result.steps]
    try:
        train(data, folder / "failing", ENDLESS, "cpu", callbacks=(full_disk,))
    except Exception as error:
        seen["error"] = [type(error).__name__, str(error)]
Path({seen!r} + rank + ".json").write_text(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def both(spectrograms_file, tmp_path_factory):
    """The runs of two processes, and what each process saw."""
    folder = tmp_path_factory.mktemp("two")
    program, seen = folder / "program.py", folder / "seen"
    program.write_text(
        PROGRAM.format(
            tests=[str(Path(__file__).parent), HELPERS],
            data=str(spectrograms_file),
            folder=str(folder / "runs"),
            seen=str(seen),
        )
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"),
            *("--master-addr=127.0.0.1", f"--master-port={free_port()}", str(program)),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )
    assert done.returncode == 0, done.stderr
    return folder / "runs", [json.loads(Path(f"{seen}{n}.json").read_text()) for n in (0, 1)]


def curve(run: Path, names: tuple[str, ...]) -> np.ndarray:
    rows = read_metrics(run / "metrics.csv")
    return np.array([[float(row[name] or "nan") for name in names] for row in rows])


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints" / "last.pt")["weights"]


def test_two_processes_end_where_one_does(both, spectrograms_file, tmp_path):
    """In the middle they were stopped and resumed. Adam makes a step of 2e-3 even of rounding."""
    run = tmp_path / "run"
    train(spectrograms_file, run, CONFIGURATION, "cpu")
    train(spectrograms_file, run, with_training(max_steps=16), "cpu", resume=True)
    names = ("step", "loss", "dry_error", "wet_error", "kl", "validation_loss", "learning_rate")
    np.testing.assert_allclose(curve(both[0] / "residual", names), curve(run, names), rtol=1e-5)
    for name, wanted in weights(run).items():
        torch.testing.assert_close(
            weights(both[0] / "residual")[name], wanted, rtol=1e-3, atol=1e-3, msg=name
        )


def test_two_processes_train_the_same_style_from_labels(both, spectrograms_file, tmp_path):
    """Where no style was fitted to them before; the labels are those of the whole batch."""
    train(spectrograms_file, tmp_path / "run", LABELS_ALONG, "cpu")
    names = ("step", "loss", "dry_error", "wet_error", "kl")
    found, wanted = (curve(run, names) for run in (both[0] / "labels", tmp_path / "run"))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    name = "style_encoder.1.weight"
    torch.testing.assert_close(
        weights(both[0] / "labels")[name], weights(tmp_path / "run")[name], rtol=1e-3, atol=1e-3
    )


def test_batch_norms_of_several_cpu_processes_are_refused_by_the_first(both):
    first, second = (seen["convolutional"] for seen in both[1])
    assert first[0] == "ConfigError" and second[0] == "ElsewhereError"
    assert "batch normalisation" in first[1] and "2 CPU processes" in first[1]
    assert not (both[0] / "convolutional").exists()


@pytest.mark.parametrize("preset", ["week6", "default", "small"])
def test_of_the_presets_only_week6_is_refused_in_several_cpu_processes(preset):
    model = build_model(replace(presets.PRESETS[preset].model), (2, 257, 65))
    refusal = pytest.raises(ConfigError) if preset == "week6" else nullcontext()
    with refusal:
        distributed.check_batch_norms(model, ProcessGroup(Shard(0, 2)))
    distributed.check_batch_norms(model, ProcessGroup(Shard(0, 2), "cuda:0"))
    distributed.check_batch_norms(model, ProcessGroup())


def test_on_cuda_batch_norms_become_those_of_torch():
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    assert distributed.with_shared_batch_norms(module, ProcessGroup()) is module
    shared = distributed.with_shared_batch_norms(module, ProcessGroup(Shard(0, 2), "cuda:0"))
    assert isinstance(shared[1], nn.SyncBatchNorm)
    assert list(shared.state_dict()) == list(module.state_dict())


def test_the_first_process_alone_writes_and_decides(both):
    first, second = both[1]
    assert any(name.endswith("metrics.csv") for name in first["written"])
    assert second["written"] == []
    assert first["residual"] == second["residual"] == ["complete", 12]
    assert first["minutes"] == second["minutes"]
    assert first["minutes"][0] == "minutes"


def test_a_failure_in_the_first_process_ends_the_other(both):
    first, second = both[1]
    assert first["error"] == ["DiskError", "the disk is full"]
    assert second["error"] == ["ElsewhereError", "process 0 of 2 failed: the disk is full"]


def start(data: Path, folder: Path) -> list[subprocess.Popen]:
    """Two processes of an endless training, by hand: torchrun would end what is left itself."""
    (folder / "endless.toml").write_text(presets.to_toml(ENDLESS))
    port = free_port()
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "dafxtool", "train", str(data), "-o", str(folder / "run")),
                *("--config", str(folder / "endless.toml"), "--device", "cpu"),
            ],
            env=environment(
                **{"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "RANK": rank, "LOCAL_RANK": rank},
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]


def wait_for(path: Path, processes: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not path.exists() and time.monotonic() < deadline:
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def ends(process: subprocess.Popen) -> tuple[int, str]:
    _, output = process.communicate(timeout=LONGEST_S)
    assert "Traceback" not in output
    return process.returncode, output


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_and_the_run_can_be_resumed(
    killed, spectrograms_file, tmp_path
):
    processes = start(spectrograms_file, tmp_path)
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    try:
        wait_for(last, processes)
        processes[killed].kill()
        status, output = ends(processes[1 - killed])
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert status == 1
    assert "another of the 2 processes has ended or cannot be reached" in output
    step = read_checkpoint(last)["step"]
    enough = replace(ENDLESS, training=replace(ENDLESS.training, max_steps=step + 2))
    result = train(spectrograms_file, tmp_path / "run", enough, "cpu", resume=True)
    assert (result.ended, result.steps) == ("complete", step + 2)


def test_an_interrupt_of_one_process_ends_both_after_the_same_step(spectrograms_file, tmp_path):
    processes = start(spectrograms_file, tmp_path)
    try:
        wait_for(tmp_path / "run" / "checkpoints" / "last.pt", processes)
        processes[1].send_signal(signal.SIGINT)
        (status, output), (other_status, other_output) = (ends(process) for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert (status, other_status) == (130, 130)
    assert "Interrupted. " in output and " kept" in output and "--resume --output" in output
    assert other_output.strip() == ""
    rows = list(read_metrics(tmp_path / "run" / "metrics.csv"))
    step = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["step"]
    assert step >= int(rows[-1]["step"])


def test_a_shard_of_a_batch_is_its_part():
    rows = np.arange(12)
    parts = [Shard(number, 3).of(rows) for number in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), rows)
    assert {len(part) for part in parts} == {4}
    with pytest.raises(
        ConfigError, match="batches of 10 segments cannot be divided among 3 processes"
    ):
        n_own_rows(10, ProcessGroup(Shard(0, 3)))


def test_dropout_depends_on_the_row_in_the_complete_batch():
    from dafxtool.models.batch_shard import RowDropout

    dropout, whole = RowDropout(0.5), torch.randn(6, 50)
    torch.manual_seed(1)
    wanted = dropout(whole)
    torch.manual_seed(1)
    assert torch.equal(wanted, nn.Dropout(0.5)(whole))
    for number in range(3):
        dropout.shard = Shard(number, 3)
        torch.manual_seed(1)
        assert torch.equal(dropout(dropout.shard.of(whole)), dropout.shard.of(wanted))


LAUNCHED = {
    **{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"},
    **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
}


@pytest.mark.parametrize(
    ("changed", "device", "pattern"),
    [
        ({"MASTER_ADDR": None}, "cpu", "MASTER_ADDR is not set"),
        ({"RANK": "first"}, "cpu", "RANK: .*found 'first'"),
        ({}, "cuda:1", "--device cuda"),
        ({}, "cuda", "--nproc-per-node=1"),
    ],
)
def test_a_wrong_launch_is_a_config_error(changed, device, pattern, monkeypatch):
    for name, value in {**LAUNCHED, **changed}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=pattern), joined(device):
        pass


def test_a_wrong_launch_is_reported_once_on_a_machine(monkeypatch):
    for name, value in {**LAUNCHED, "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "ERROR_WAIT_S", 0.0)
    with pytest.raises(ElsewhereError), joined("cuda:1"):
        pass


def test_a_process_alone_is_a_group_of_one(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined("cpu") as group:
        assert (group.size, group.first, group.device) == (1, True, "cpu")
        assert group.from_first(lambda: 3) == 3
        values = torch.arange(3.0)
        assert group.mean(values) is values
