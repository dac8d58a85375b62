"""Training in several processes, on several GPUs or machines, which torchrun starts.

Each process trains on its shard of every batch. torch's DistributedDataParallel averages the
gradients, so that all processes have the same weights. Only the first process validates, writes and
decides when training ends. A single process is a group of one, for which this module does nothing.

Tensors are sent with NCCL on GPUs and with gloo on CPUs. Decisions and errors are always sent with
gloo: so the CPU loops wait for each other, but never for a GPU. A failure in one process ends all.
"""

from __future__ import annotations

import atexit
import inspect
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dafxtool.errors import ConfigError, ElsewhereError, TrainingError
from dafxtool.models.batch_shard import ALL_ROWS, Shard
from dafxtool.utils import signals
from dafxtool.utils.device import pick_device

T = TypeVar("T")

LAUNCH = "torchrun --nproc-per-node=N -m dafxtool train ..."
VARIABLES = (
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT"),
)
# Longer than the work of the first process alone: analysis, linear fit, validation. A process that
# ends is noticed at once; a machine that leaves the network, only after this time.
LONGEST_WAIT = timedelta(hours=12)
ERROR_WAIT_S = 1.0
LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe", re.IGNORECASE)
VERDICTS = ("", "complete", "minutes", "early", "interrupted", "failed")


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one training, as one of them uses the group.

    shard            rows of each batch on this process
    device           torch device of this process
    n_neighbours     number of processes on this machine, including this one
    """

    shard: Shard = ALL_ROWS
    device: str = "cpu"
    n_neighbours: int = 1
    _control: Any = field(default=None, repr=False)  # torch process group over gloo

    @property
    def size(self) -> int:
        return self.shard.size

    @property
    def first(self) -> bool:
        """Whether this is the first process, which writes."""
        return self.shard.number == 0

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Fail in all processes if the body fails in one of them.

        The failing process raises its error, the others an ElsewhereError.
        """
        error: BaseException | None = None
        try:
            yield
        except (Exception, KeyboardInterrupt) as caught:
            if self.size == 1:
                raise
            error = caught
        if self.size > 1:
            self._compare(error)

    def from_first(self, function: Callable[[], T]) -> T:
        """Call a function in the first process and return its result in all of them."""
        values: list[Any] = [None]
        with self.all_or_none():
            if self.first:
                values[0] = function()
        if self.size > 1:
            dist.broadcast_object_list(values, src=0, group=self._control)
        result: T = values[0]
        return result

    def agree(self, decide: Callable[[], tuple[str, float]]) -> tuple[str, float]:
        """Return the first process's verdict, one of VERDICTS, and the seconds spent, in all.

        decide  called in the first process; all processes raise its errors

        If any process is interrupted, the verdict is "interrupted".
        """
        if self.size == 1:
            verdict = decide()
            if not verdict[0]:
                signals.check()
            return verdict
        own, seconds = "", -1.0
        error: Exception | None = None
        try:
            if self.first:
                own, seconds = decide()
            signals.check()
        except KeyboardInterrupt:
            own = "interrupted"
        except Exception as caught:
            own, error = "failed", caught
        message = torch.tensor([VERDICTS.index(own), seconds], dtype=torch.float64)
        dist.all_reduce(message, dist.ReduceOp.MAX, group=self._control)
        agreed = VERDICTS[int(message[0])]
        if agreed == "failed":
            self._compare(error)
        return agreed, float(message[1])

    def _compare(self, error: BaseException | None) -> None:
        """Raise the error of the first process that failed, if any failed."""
        failures: list[Any] = [None] * self.size
        mine = None if error is None else (isinstance(error, KeyboardInterrupt), str(error))
        dist.all_gather_object(failures, mine, group=self._control)
        failed = [number for number, each in enumerate(failures) if each is not None]
        if not failed:
            return
        if any(failures[number][0] for number in failed):
            raise KeyboardInterrupt from error
        if error is not None and failed[0] == self.shard.number:
            raise error
        raise ElsewhereError(
            f"process {failed[0]} of {self.size} failed: {failures[failed[0]][1]}"
        ) from error

    def mean(self, values: Tensor) -> Tensor:
        """Average a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values = values / self.size
        return values

    def send(self, values: Tensor) -> None:
        """Copy the values of the first process to all, in place."""
        if self.size > 1:
            sent = values.detach().contiguous()
            dist.broadcast(sent, src=0)
            values.detach().copy_(sent)

    def wrapped(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that processes share its initial values and average its gradients."""
        if self.size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        for values in module.buffers():  # once: later changes are the same in all processes
            self.send(values)
        devices = None if self.device == "cpu" else [torch.device(self.device)]
        options: dict[str, Any] = {"static_graph": True}  # some configurations leave parameters
        known = inspect.signature(DistributedDataParallel).parameters  # unused
        is_renamed = "forward_sync_buffers" in known  # after torch 2.11
        options["forward_sync_buffers" if is_renamed else "broadcast_buffers"] = False
        return DistributedDataParallel(module, device_ids=devices, **options)


ALONE = ProcessGroup()
_joined: list[ProcessGroup] = []  # at most one: a process belongs to one training


@contextmanager
def joined(device: str = "auto") -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started; without torchrun, a group of one.

    device  auto, cpu or cuda

    A nested call yields the same group. Raises ConfigError for a wrong launch, TrainingError if
    another process has ended.
    """
    if _joined:
        yield _joined[0]
        return
    launch = _launch()
    if launch is None:
        yield ProcessGroup(device=pick_device(device))
        return
    group = _join(launch, device)
    _joined.append(group)
    is_complete = False
    try:
        yield group
        is_complete = True
    except ElsewhereError:
        _wait_for_error()
        raise
    except KeyboardInterrupt as interrupt:
        if group.first:
            raise
        raise ElsewhereError("interrupted") from interrupt
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or LOST.search(str(error))):
            raise
        raise TrainingError(
            f"another of the {group.size} processes has ended or cannot be reached. Check its "
            "output, fix the cause, and continue with --resume."
        ) from error
    else:
        dist.destroy_process_group()
    finally:
        _joined.clear()
        if not is_complete:
            atexit.register(_leave)


def _leave() -> None:
    """Exit with status 1 without destroying torch's process group.

    Its threads may still wait for a process that has ended, and C++ aborts a process that ends
    with such threads ("terminate called without an active exception").
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(1)


def _wait_for_error() -> None:
    """Let the failing process report first: torchrun ends all processes when one ends."""
    with suppress(KeyboardInterrupt):
        time.sleep(ERROR_WAIT_S)


def _launch() -> dict[str, str] | None:
    """Read torchrun's environment variables; None for a single process."""
    n_processes = os.environ.get("WORLD_SIZE") or "1"
    if n_processes == "1":
        return None
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {n_processes}, but {missing[0]} is not set. Start the processes with "
            f"'{LAUNCH}', or unset WORLD_SIZE."
        )
    launch = {name: os.environ[name] for name in VARIABLES}
    for name in VARIABLES:
        if name != "MASTER_ADDR" and not launch[name].isdigit():
            raise ConfigError(
                f"{name}: not a number (found {launch[name]!r}). Start with '{LAUNCH}'."
            )
    return launch


def _join(launch: dict[str, str], device: str) -> ProcessGroup:
    number, size, local, n_neighbours = (
        int(launch[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    try:
        chosen = _own_device(device, local, n_neighbours)
    except ConfigError as error:  # the same for all processes of this machine: one reports it
        if local == 0:
            raise
        _wait_for_error()
        raise ElsewhereError(str(error)) from error
    try:
        if chosen == "cpu":
            dist.init_process_group("gloo", timeout=LONGEST_WAIT)
        else:
            torch.cuda.set_device(chosen)
            dist.init_process_group("nccl", timeout=LONGEST_WAIT, device_id=torch.device(chosen))
        control = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ConfigError(
            f"{size} processes cannot connect at {launch['MASTER_ADDR']}:"
            f"{launch['MASTER_PORT']} ({reason}). Start all of them with '{LAUNCH}'."
        ) from error
    return ProcessGroup(Shard(number, size), chosen, n_neighbours, control)


def _own_device(device: str, local: int, n_neighbours: int) -> str:
    """Choose a GPU for this process; the CPU if all use the CPU."""
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"--device {device}: {n_neighbours} processes need a GPU each. Use --device cuda, and "
            "choose GPUs with CUDA_VISIBLE_DEVICES."
        )
    if pick_device(device) == "cpu":
        return "cpu"
    available = torch.cuda.device_count()
    if n_neighbours > available:
        raise ConfigError(
            f"too many processes for the CUDA devices of this machine (found {n_neighbours}, "
            f"expected at most {available}). Use --nproc-per-node={available} or --device cpu."
        )
    return f"cuda:{local}"


def n_own_rows(n_rows: int, group: ProcessGroup) -> int:
    """Count the rows of a batch on each process; ConfigError if it cannot be divided evenly."""
    if n_rows % group.size:
        raise ConfigError(
            f"batches of {n_rows} segments cannot be divided among {group.size} processes. Use a "
            f"--batch-size that is a multiple of {group.size}."
        )
    return n_rows // group.size


def check_batch_norms(module: nn.Module, group: ProcessGroup) -> None:
    """Refuse batch normalisation in several CPU processes: torch synchronises it on CUDA only."""
    has_norms = any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in module.modules())
    if has_norms and group.size > 1 and group.device == "cpu":
        raise ConfigError(
            f"batch normalisation, as in the preset week6, does not work with {group.size} CPU "
            "processes. Use one process, or CUDA devices."
        )


def with_shared_batch_norms(module: nn.Module, group: ProcessGroup) -> nn.Module:
    """Return the module, in place, with its batch norms over the batches of all processes."""
    if group.size == 1:
        return module
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return converted
