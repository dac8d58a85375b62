"""Training in several processes, on several GPUs or machines, which torchrun starts.

Each process takes its share of the rows of every batch, and gradients are averaged by torch's
DistributedDataParallel, so that all of them keep the same weights. The first process alone
validates, writes and decides when training ends. A process that is alone is a group of one, for
which everything in here does nothing.

Tensors go over NCCL on GPUs and over gloo on CPUs. What is decided, and what went wrong, always
goes over gloo: the loops on the CPUs then wait for each other, but never for a GPU. Whatever fails
in one process ends all of them.
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
from dafxtool.models.base import ALL_ROWS, Shard
from dafxtool.utils import signals
from dafxtool.utils.device import pick_device

T = TypeVar("T")

LAUNCH = "torchrun --nproc-per-node=N -m dafxtool train ..."
VARIABLES = (
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT"),
)
# Longer than the first process takes for what it does alone: an analysis, the linear part, a
# validation. One that ends is noticed at once, a machine that vanishes from the network after this.
LONGEST_WAIT = timedelta(hours=12)
LAST_WORD_S = 1.0
LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe", re.IGNORECASE)
VERDICTS = ("", "complete", "minutes", "early", "interrupted", "failed")


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one training, seen from one of them.

    device           where this process computes
    n_neighbours     processes on this machine, this one among them
    """

    share: Shard = ALL_ROWS
    device: str = "cpu"
    n_neighbours: int = 1
    _talk: Any = field(default=None, repr=False)  # over gloo

    @property
    def size(self) -> int:
        return self.share.size

    @property
    def first(self) -> bool:
        """Is this the process that writes?"""
        return self.share.number == 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """What all processes do, or the first alone: where it fails for one, it fails for all.

        The one that failed raises its error, the others an ElsewhereError.
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
        """What a function gives in the first process, in all of them."""
        values: list[Any] = [None]
        with self.together():
            if self.first:
                values[0] = function()
        if self.size > 1:
            dist.broadcast_object_list(values, src=0, group=self._talk)
        given: T = values[0]
        return given

    def decided(self, decide: Callable[[], tuple[str, float]]) -> tuple[str, float]:
        """One of VERDICTS and the seconds spent, as the first process decides; for all.

        decide  is called in the first process; what it raises, all raise
        An interrupt of any process is the verdict "interrupted".
        """
        if self.size == 1:
            verdict = decide()
            if not verdict[0]:
                signals.check()
            return verdict
        said, seconds = "", -1.0
        error: Exception | None = None
        try:
            if self.first:
                said, seconds = decide()
            signals.check()
        except KeyboardInterrupt:
            said = "interrupted"
        except Exception as caught:
            said, error = "failed", caught
        message = torch.tensor([VERDICTS.index(said), seconds], dtype=torch.float64)
        dist.all_reduce(message, dist.ReduceOp.MAX, group=self._talk)
        agreed = VERDICTS[int(message[0])]
        if agreed == "failed":
            self._compare(error)
        return agreed, float(message[1])

    def _compare(self, error: BaseException | None) -> None:
        """Raise what the first of those that failed has to say, if any failed."""
        told: list[Any] = [None] * self.size
        mine = None if error is None else (isinstance(error, KeyboardInterrupt), str(error))
        dist.all_gather_object(told, mine, group=self._talk)
        failed = [number for number, each in enumerate(told) if each is not None]
        if not failed:
            return
        if any(told[number][0] for number in failed):
            raise KeyboardInterrupt from error
        if error is not None and failed[0] == self.share.number:
            raise error
        raise ElsewhereError(
            f"process {failed[0]} of {self.size} failed: {told[failed[0]][1]}"
        ) from error

    def mean(self, values: Tensor) -> Tensor:
        """The mean of tensors over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values = values / self.size
        return values

    def send(self, values: Tensor) -> None:
        """Give all processes what the first one has, in place."""
        if self.size > 1:
            sent = values.detach().contiguous()
            dist.broadcast(sent, src=0)
            values.detach().copy_(sent)

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module with the first process's values, and its gradients averaged over all."""
        if self.size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        for values in module.buffers():  # once: they stay, or follow from what all processes see
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
    """The processes that torchrun started, as a group, on the device asked for.

    Within another `joined` it is that group again. Raises ConfigError where the launch was wrong,
    TrainingError where another process is lost.
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
    whole = False
    try:
        yield group
        whole = True
    except ElsewhereError:
        _let_speak()
        raise
    except KeyboardInterrupt as interrupt:
        if group.first:
            raise
        raise ElsewhereError("interrupted") from interrupt
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or LOST.search(str(error))):
            raise
        raise TrainingError(
            f"another of the {group.size} processes has ended or cannot be reached any more: look "
            "at what it said, fix it, and go on with --resume."
        ) from error
    else:
        dist.destroy_process_group()
    finally:
        _joined.clear()
        if not whole:
            atexit.register(_leave)


def _leave() -> None:
    """End with status 1, as after an error, without taking torch's group down.

    Its threads may still wait for a process that has gone, and C++ aborts a process that ends
    with such threads ("terminate called without an active exception").
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(1)


def _let_speak() -> None:
    """Wait for the process that has something to say: torchrun ends all when one has ended."""
    with suppress(KeyboardInterrupt):
        time.sleep(LAST_WORD_S)


def _launch() -> dict[str, str] | None:
    """What torchrun tells by the environment; None for a process that is alone."""
    n_processes = os.environ.get("WORLD_SIZE") or "1"
    if n_processes == "1":
        return None
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {n_processes}, which asks for several processes, but {missing[0]} is "
            f"not set: start them with '{LAUNCH}', or unset WORLD_SIZE."
        )
    launch = {name: os.environ[name] for name in VARIABLES}
    for name in VARIABLES:
        if name != "MASTER_ADDR" and not launch[name].isdigit():
            raise ConfigError(
                f"{name} is {launch[name]!r}: it has to be a number, as '{LAUNCH}' sets it."
            )
    return launch


def _join(launch: dict[str, str], device: str) -> ProcessGroup:
    number, size, local, n_neighbours = (
        int(launch[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    try:
        chosen = _own_device(device, local, n_neighbours)
    except ConfigError as error:  # it is the same for all on this machine, so one says it
        if local == 0:
            raise
        _let_speak()
        raise ElsewhereError(str(error)) from error
    try:
        if chosen == "cpu":
            dist.init_process_group("gloo", timeout=LONGEST_WAIT)
        else:
            torch.cuda.set_device(chosen)
            dist.init_process_group("nccl", timeout=LONGEST_WAIT, device_id=torch.device(chosen))
        talk = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ConfigError(
            f"the {size} processes do not find each other at {launch['MASTER_ADDR']}:"
            f"{launch['MASTER_PORT']} ({reason}): start all of them with '{LAUNCH}'."
        ) from error
    return ProcessGroup(Shard(number, size), chosen, n_neighbours, talk)


def _own_device(device: str, local: int, n_neighbours: int) -> str:
    """Each process of a machine computes on a GPU of its own, or all on the CPU."""
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"device {device!r} was asked for by {n_neighbours} processes: each takes a GPU of its "
            "own, so use --device cuda, and CUDA_VISIBLE_DEVICES to choose which."
        )
    if pick_device(device) == "cpu":
        return "cpu"
    available = torch.cuda.device_count()
    if n_neighbours > available:
        raise ConfigError(
            f"{n_neighbours} processes were started on a machine with {available} CUDA devices: "
            f"start it with --nproc-per-node={available}, or with --device cpu."
        )
    return f"cuda:{local}"


def n_own_rows(n_rows: int, group: ProcessGroup) -> int:
    """How many rows of a batch each process has; ConfigError where they cannot be shared."""
    if n_rows % group.size:
        raise ConfigError(
            f"batches of {n_rows} segments cannot be shared by {group.size} processes: take a "
            f"--batch-size that {group.size} divides."
        )
    return n_rows // group.size


def check_batch_norms(module: nn.Module, group: ProcessGroup) -> None:
    """Refuse batch normalisation in several CPU processes: torch synchronises it on CUDA only."""
    has_norms = any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in module.modules())
    if has_norms and group.size > 1 and group.device == "cpu":
        raise ConfigError(
            f"the model has batch normalisation, as in the preset week6, which {group.size} CPU "
            "processes cannot share: use one process, or CUDA devices."
        )


def with_shared_batch_norms(module: nn.Module, group: ProcessGroup) -> nn.Module:
    """Return the module, in place, with its batch norms over the batches of all processes."""
    if group.size == 1:
        return module
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return converted
