"""Render pairs: segments of recordings, dry and with an effect.

Row i of a dataset belongs to effect i modulo the number of effects and depends on (seed, i) alone:
not on the number of workers, nor on where a killed render took up again. The dry segment is
brought to full level before the effect hears it, so that a threshold or a drive means the same for
every recording, and the wet one after it (both -12 dBFS unless told otherwise).
"""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dafxtool import audio, files, plugins, store
from dafxtool.errors import ConfigError, InputError, OutputExistsError, PluginError
from dafxtool.parameters import Effect, draw_setting, grid_settings, sweep_settings
from dafxtool.progress import SILENT, Progress
from dafxtool.segments import (
    SPLITS,
    Catalogue,
    Recording,
    SegmentConfig,
    SplitConfig,
    Track,
    build_catalogue,
    cut_segment,
    draw_segment,
    normalise_peak,
    split_pattern,
)

ROWS_A_TASK = 8
SEGMENTS_A_SETTING = 4  # grid and sweep, where no number of pairs is given
COLUMNS_OF_CSV = ("row", "effect", "setting", "recording", "offset", "split", "dry", "wet")

Chosen = tuple[Effect, dict[str, float]]  # an effect and the parameters that are held fixed


@dataclass(frozen=True)
class Plan:
    """Everything that a row depends on; small enough to be sent to every worker."""

    catalogue: Catalogue
    segments: SegmentConfig
    effects: tuple[Chosen, ...]
    settings: tuple[tuple[dict[str, float], ...], ...]  # an empty one: drawn at random
    splits: tuple[str, ...]  # of pair k of each effect
    seed: int
    strict: bool = False

    @property
    def n_rows(self) -> int:
        return len(self.splits) * len(self.effects)

    @property
    def max_parameters(self) -> int:
        return max(1, *(len(effect.parameters) for effect, _ in self.effects))


@dataclass(frozen=True)
class Pair:
    """audio (2, n_samples), dry first; the setting is the one that was in force."""

    audio: NDArray[np.float32]
    effect: int
    setting: dict[str, float]
    recording: int
    offset: int
    split: str


@dataclass(frozen=True)
class RenderResult:
    """What a render wrote, and which recordings it could not use."""

    path: Path
    n_pairs: int
    pairs_per_effect: dict[str, int]
    pairs_per_split: dict[str, int]
    seconds: float
    skipped: list[tuple[str, str]] = field(default_factory=list)


def make_plan(
    paths: Sequence[Path],
    effects: Sequence[Chosen],
    segments: SegmentConfig,
    split: SplitConfig,
    pairs_per_effect: int | None = None,
    settings: str = "random",
    steps: int = 5,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = SILENT,
) -> Plan:
    """Look at the recordings and lay down what each row will be.

    settings  random: each pair its own; static: one for all, the default with what is fixed;
              grid: `steps` values of every free parameter, all combinations; sweep: one parameter
              at a time from end to end. In a grid or a sweep each segment meets every setting.
    """
    if not effects:
        raise ConfigError("no effect was chosen: name at least one with --effect.")
    if seed < 0:
        raise ConfigError(f"the seed is {seed}: it has to be 0 or above.")
    names = [effect.name for effect, _ in effects]
    if len(set(names)) < len(names):
        raise ConfigError(f"an effect is named twice in {', '.join(names)}: name each once.")
    catalogue = build_catalogue(paths, segments, split, seed, strict, progress)
    at_rate = tuple((effect.at(segments.sample_rate), fixed) for effect, fixed in effects)
    listed = tuple(tuple(_settings(effect, fixed, settings, steps)) for effect, fixed in at_rate)
    if pairs_per_effect is None:
        pairs_per_effect = max(len(each) for each in listed) * SEGMENTS_A_SETTING
    if pairs_per_effect < 1:
        raise ConfigError(
            f"{pairs_per_effect} pairs per effect were asked for: it takes at least 1."
        )
    group = max(1, *(len(each) for each in listed)) if settings in ("grid", "sweep") else 1
    n_groups = -(-pairs_per_effect // group)
    pattern = split_pattern(catalogue.splits(), split, n_groups)
    splits = tuple(name for name in pattern for _ in range(group))[:pairs_per_effect]
    return Plan(catalogue, segments, at_rate, listed, splits, seed, strict)


def _settings(
    effect: Effect, fixed: dict[str, float], mode: str, steps: int
) -> list[dict[str, float]]:
    if mode == "random":
        return []
    if mode == "static":
        return [effect.complete(fixed)]
    if mode == "grid":
        return grid_settings(effect, steps, fixed)
    if mode == "sweep":
        return sweep_settings(effect, steps, fixed)
    raise ConfigError(f"settings {mode!r} is unknown: use random, static, grid or sweep.")


def render_row(plan: Plan, row: int) -> tuple[Pair, list[tuple[str, str]]]:
    """The pair of one row, and the recordings that could not be read on the way to it."""
    index, k = row % len(plan.effects), row // len(plan.effects)
    effect, fixed = plan.effects[index]
    listed = plan.settings[index]
    if len(listed) > 1:  # every setting hears the same segment
        setting, segment_key = listed[k % len(listed)], k // len(listed) * len(plan.effects) + index
    else:
        rng = np.random.default_rng([plan.seed, 2, row])
        setting = listed[0] if listed else draw_setting(effect, rng, fixed)
        segment_key = row
    segment, failures = draw_segment(
        plan.catalogue,
        plan.splits[k],
        plan.segments,
        np.random.default_rng([plan.seed, 3, segment_key]),
        plan.strict,
    )
    sound, in_force = make_pair(segment.audio, effect, setting, plan.segments)
    return (
        Pair(sound, index, in_force, segment.recording, segment.offset, plan.splits[k]),
        failures,
    )


def make_pair(
    segment: NDArray[np.float32], effect: Effect, setting: dict[str, float], config: SegmentConfig
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """(2, n_samples), dry and wet at full level, and the setting that was in force."""
    dry = normalise_peak(segment, config.level_dbfs)
    wet, in_force = plugins.apply(effect, dry, config.sample_rate, setting)
    return np.stack([dry, normalise_peak(wet, config.level_dbfs)]), in_force


def render(
    paths: Sequence[Path],
    output: Path,
    effects: Sequence[Chosen],
    segments: SegmentConfig | None = None,
    split: SplitConfig | None = None,
    pairs_per_effect: int | None = None,
    settings: str = "random",
    steps: int = 5,
    seed: int = 0,
    workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    audio_format: str = "wav",
    progress: Progress = SILENT,
) -> RenderResult:
    """Render a dataset into pairs.h5 or, where output has no .h5 ending, a folder of audio files.

    Raises InputError, RecordingError, EffectError, OutputExistsError, DiskError.
    """
    segments, split = segments or SegmentConfig(), split or SplitConfig()
    plan = make_plan(
        paths, effects, segments, split, pairs_per_effect, settings, steps, seed, strict, progress
    )
    described = {
        "seed": seed,
        "settings": settings,
        "steps": steps,
        "pairs_per_effect": len(plan.splits),
        "segments": asdict(segments),
        "split": _listed(asdict(split)),
        "fixed": [fixed for _, fixed in plan.effects],
        "effect_names": [effect.name for effect, _ in plan.effects],
        "versions": audio_versions(),
    }
    sink: Sink
    skipped = dict(plan.catalogue.skipped)
    if output.suffix.lower() in (".h5", ".hdf5"):
        opened = _hdf5_sink(output, plan, described, resume, overwrite)
    else:
        opened = _folder_sink(output, plan, audio_format, resume, overwrite)
    with opened as sink:
        missing = np.flatnonzero(~sink.done())
        progress.start("rendering", plan.n_rows, "pair", done=plan.n_rows - len(missing))
        for start, pairs, failures in _rendered(plan, missing, workers):
            sink.put(start, pairs)
            skipped.update(failures)
            progress.advance(len(pairs))
        progress.finish()
    names = [effect.name for effect, _ in plan.effects]
    return RenderResult(
        path=output,
        n_pairs=plan.n_rows,
        pairs_per_effect=dict.fromkeys(names, len(plan.splits)),
        pairs_per_split={
            name: plan.splits.count(name) * len(names) for name in SPLITS if name in plan.splits
        },
        seconds=plan.n_rows * segments.n_samples / segments.sample_rate,
        skipped=sorted(skipped.items()),
    )


def audio_versions() -> dict[str, str]:
    """Versions of what decides the bits of a pair."""
    from importlib.metadata import version

    return {name: version(name) for name in ("pedalboard", "scipy", "numpy")}


def render_again(path: Path, row: int) -> NDArray[np.float32]:
    """The pair (2, n_samples) of a row of a pairs file, rendered anew from what its row says.

    Bit-identical to what is stored, as long as the recordings and the plugin are what they were.
    """
    with store.Reader(path, store.PAIRS) as pairs:
        if not 0 <= row < len(pairs):
            raise InputError(f"{path} has rows 0 to {len(pairs) - 1}, not {row}.")
        labels, saved = pairs.labels, pairs.configuration
    config = SegmentConfig(**saved["segments"])
    recordings = tuple(_recording(r) for r in labels.recordings)
    first, offset = int(labels.recording[row]), int(labels.offset[row])
    members = tuple(
        i
        for i, r in enumerate(labels.recordings)
        if r["track"] == labels.recordings[first]["track"]
    )
    n_samples = sum(recordings[i].n_samples for i in members)
    before = sum(recordings[i].n_samples for i in members if i < first)
    catalogue = Catalogue(recordings, ())
    track = Track(members, n_samples, "train")
    segment = cut_segment(catalogue, track, before + offset, config)
    effect = Effect.from_dict(labels.effects[labels.effect[row]])
    return make_pair(segment.audio, effect, labels.setting_of(row), config)[0]


def _recording(row: dict[str, Any]) -> Recording:
    info = audio.AudioInfo(row["sample_rate"], row["n_channels"], row["n_samples_native"])
    return Recording(row["path"], row["folder"], row["n_samples"], row["split"], info)


def recording_rows(catalogue: Catalogue) -> list[dict[str, Any]]:
    """The table of recordings as files keep it."""
    track_of = {i: t for t, track in enumerate(catalogue.tracks) for i in track.recordings}
    return [
        {
            "path": r.path,
            "folder": r.folder,
            "split": r.split,
            "sample_rate": r.info.sample_rate,
            "n_channels": r.info.n_channels,
            "n_samples_native": r.info.n_samples,
            "n_samples": r.n_samples,
            "track": track_of.get(i, -1),
        }
        for i, r in enumerate(catalogue.recordings)
    ]


# Workers ------------------------------------------------------------------------------------------


_Batch = tuple[int, list[Pair], list[tuple[str, str]]]


def _rendered(plan: Plan, missing: NDArray[np.int64], workers: int) -> Iterator[_Batch]:
    """Batches of neighbouring rows as they become ready: (first row, pairs, failures)."""
    tasks = _tasks(missing)
    has_plugin = any(effect.plugin for effect, _ in plan.effects)
    if workers <= 1 and not has_plugin:  # a plugin never runs in the process that writes the file
        for start, count in tasks:
            done = [render_row(plan, row) for row in range(start, start + count)]
            yield start, [pair for pair, _ in done], [f for _, fs in done for f in fs]
        return
    yield from _rendered_by_workers(plan, tasks, max(1, workers))


def _tasks(missing: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Runs of at most ROWS_A_TASK neighbouring rows: (first row, how many)."""
    tasks: list[tuple[int, int]] = []
    for row in missing.tolist():
        if tasks and sum(tasks[-1]) == row and tasks[-1][1] < ROWS_A_TASK:
            tasks[-1] = (tasks[-1][0], tasks[-1][1] + 1)
        else:
            tasks.append((row, 1))
    return tasks


_worker_plan: Plan | None = None
_worker_memory: SharedMemory | None = None


def _begin_worker(plan: Plan, memory_name: str) -> None:
    import signal

    global _worker_plan, _worker_memory
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _worker_plan = plan
    _worker_memory = SharedMemory(memory_name)


def _work(slot: int, start: int, count: int) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Render rows into a slot of the shared memory; what is sent back carries no audio."""
    plan, memory = _worker_plan, _worker_memory
    assert plan is not None and memory is not None
    slots = _slots(memory, plan)
    pairs, failures = [], []
    for position in range(count):
        pair, failed = render_row(plan, start + position)
        slots[slot, position] = pair.audio
        pairs.append(replace(pair, audio=np.empty((2, 0), np.float32)))
        failures.extend(failed)
    return pairs, failures


def _slots(memory: SharedMemory, plan: Plan) -> NDArray[np.float32]:
    assert memory.buf is not None
    shape = (-1, ROWS_A_TASK, 2, plan.segments.n_samples)
    size = memory.size // (ROWS_A_TASK * 2 * plan.segments.n_samples * 4)
    flat = np.frombuffer(memory.buf, np.float32, size * ROWS_A_TASK * 2 * plan.segments.n_samples)
    return flat.reshape(shape)


def _rendered_by_workers(
    plan: Plan, tasks: Sequence[tuple[int, int]], workers: int
) -> Iterator[_Batch]:
    n_slots = 2 * workers
    memory = SharedMemory(create=True, size=n_slots * ROWS_A_TASK * 2 * plan.segments.n_samples * 4)
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(plan, memory.name),
    )
    try:
        waiting = list(reversed(tasks))
        free = list(range(n_slots))
        running: dict[Future[Any], tuple[int, int, int]] = {}
        while waiting or running:
            while waiting and free:
                slot, (start, count) = free.pop(), waiting.pop()
                running[pool.submit(_work, slot, start, count)] = (slot, start, count)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                slot, start, count = running.pop(future)
                pairs, failures = future.result()
                sound = _slots(memory, plan)[slot, :count].copy()  # the slot is free at once
                free.append(slot)
                yield (
                    start,
                    [replace(p, audio=s) for p, s in zip(pairs, sound, strict=True)],
                    failures,
                )
    except BrokenProcessPool as error:
        raise PluginError(
            "a worker process died while rendering (a plugin that crashes takes its process with "
            "it): what was rendered is kept, go on with --resume."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _release(memory)


def _release(memory: SharedMemory) -> None:
    with suppress(BufferError):  # a view is still alive in a traceback; it goes with the process
        memory.close()
    memory.unlink()


# Where rows go ------------------------------------------------------------------------------------


class Sink(Protocol):
    """Takes rows in any order and remembers which it has."""

    def done(self) -> NDArray[np.bool_]: ...

    def put(self, start: int, pairs: Sequence[Pair]) -> None: ...


@dataclass
class _Hdf5Sink:
    writer: store.Writer
    plan: Plan

    def done(self) -> NDArray[np.bool_]:
        return self.writer.done()

    def put(self, start: int, pairs: Sequence[Pair]) -> None:
        setting = np.full((len(pairs), self.plan.max_parameters), np.nan)
        for row, pair in zip(setting, pairs, strict=True):
            row[: len(pair.setting)] = list(pair.setting.values())
        self.writer.put(
            start,
            audio=np.stack([pair.audio for pair in pairs]),
            effect=np.array([pair.effect for pair in pairs]),
            setting=setting,
            setting_text=store.encode_texts([_setting_text(self.plan, pair) for pair in pairs]),
            recording=np.array([pair.recording for pair in pairs]),
            offset=np.array([pair.offset for pair in pairs]),
            split=np.array([SPLITS.index(pair.split) for pair in pairs]),
        )


def _setting_text(plan: Plan, pair: Pair) -> str:
    return plan.effects[pair.effect][0].setting_text(pair.setting)


@contextmanager
def _hdf5_sink(
    output: Path, plan: Plan, described: dict[str, Any], resume: bool, overwrite: bool
) -> Iterator[Sink]:
    columns = {
        "audio": ((2, plan.segments.n_samples), np.float32),
        **store.label_columns(plan.max_parameters),
    }
    effects = [effect.to_dict() for effect, _ in plan.effects]
    recordings = recording_rows(plan.catalogue)
    with store.writing_rows(
        output, store.PAIRS, columns, plan.n_rows, described, effects, recordings, resume, overwrite
    ) as writer:
        yield _Hdf5Sink(writer, plan)


@dataclass
class _FolderSink:
    folder: Path
    plan: Plan
    suffix: str
    journal: Path

    def done(self) -> NDArray[np.bool_]:
        found = np.zeros(self.plan.n_rows, dtype=bool)
        for row in _read_journal(self.journal):
            number = int(row["row"])
            if number < self.plan.n_rows and all(
                (self.folder / row[kind]).exists() for kind in ("dry", "wet")
            ):
                found[number] = True
        return found

    def put(self, start: int, pairs: Sequence[Pair]) -> None:
        for row, pair in enumerate(pairs, start):
            names = [f"{row:06d}_{kind}.{self.suffix}" for kind in ("dry", "wet")]
            for name, samples in zip(names, pair.audio, strict=True):
                audio.write(
                    self.folder / name, samples, self.plan.segments.sample_rate, overwrite=True
                )
            entry = (
                row,
                self.plan.effects[pair.effect][0].name,
                _setting_text(self.plan, pair),
                self.plan.catalogue.recordings[pair.recording].path,
                pair.offset,
                pair.split,
                *names,
            )
            with self.journal.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(entry)


def _read_journal(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    return [
        dict(zip(COLUMNS_OF_CSV, row, strict=True))
        for row in rows
        if len(row) == len(COLUMNS_OF_CSV)
    ]


@contextmanager
def _folder_sink(
    output: Path, plan: Plan, suffix: str, resume: bool, overwrite: bool
) -> Iterator[Sink]:
    """Files NNNNNN_dry.wav and NNNNNN_wet.wav, and pairs.csv once all of them are there."""
    table, journal = output / "pairs.csv", output / ".pairs.csv.partial"
    if output.exists() and not output.is_dir():
        raise OutputExistsError(f"{output} is a file: name a folder, or a file ending in .h5.")
    begun = journal.exists()
    if (table.exists() or (begun and not resume)) and not overwrite:
        raise OutputExistsError(
            f"{output} holds pairs already: choose another --output, or use --overwrite"
            + (", or --resume to go on." if begun else ".")
        )
    if overwrite and not resume:
        journal.unlink(missing_ok=True)
        table.unlink(missing_ok=True)
    with files.disk_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        journal.touch()
        sink = _FolderSink(output, plan, suffix, journal)
        yield sink
        latest = {int(row["row"]): row for row in _read_journal(journal)}
        with files.writing(table, overwrite=True) as temporary:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS_OF_CSV)
                writer.writeheader()
                writer.writerows(latest[row] for row in sorted(latest) if row < plan.n_rows)
        journal.unlink()


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
