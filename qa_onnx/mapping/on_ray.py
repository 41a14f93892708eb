"""Shards -> reports, by the actors of a Ray cluster, through Ray Data.

Each actor has one reader, and as many CPUs as that has threads. The bundle goes to the nodes through Ray's object
store, as one file, which each of them keeps in its cache. Actors write the parts themselves, and small reports
come back. If a node dies, Ray gives its shard to another node. A part is there once, whichever node writes it.

Needs Ray (extra `ray`), on the nodes too, beside qa-onnx with its extra `map`. Left out: starting a cluster of
several machines (`ray start`).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.bundle.folder import Bundle
from qa_onnx.bundle.packed import pack
from qa_onnx.errors import MapError
from qa_onnx.machine.cache import cache_folder
from qa_onnx.machine.files import os_errors, replacing
from qa_onnx.machine.packages import require
from qa_onnx.mapping.plan import Shard
from qa_onnx.mapping.work import MapWorker, ShardReport

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from qa_onnx.mapping.work import MapWork

_MOST_TRIES = 4  # of a shard whose worker or node dies each time; Ray itself would never stop
_MOST_BLOCKS = 10_000  # that Ray hands out by themselves
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


def run_ray(
    work: MapWork,
    shards: Iterable[Shard],
    *,
    workers: int | None,
    threads: int,
    on_gpu: bool,
    address: str | None,
) -> Generator[ShardReport, None, None]:
    """Answer shards, and yield a report of each one when it is done.

    Args:
        work: what a worker needs to know; all nodes see its output, and the inputs.
        shards: all of them are listed for Ray, some 300 bytes each.
        workers: number of actors; None: as many as the cluster has CPUs for, or GPUs.
        threads: of each reader.
        on_gpu: whether each one has a GPU.
        address: of the cluster; None: what Ray finds, or a new one on this machine.

    Raises:
        MissingExtraError: Ray is not installed.
        MapError: the cluster cannot be reached, is too small, or was lost.
    """
    require("ray")
    import ray
    from ray.data import ActorPoolStrategy

    items = [dataclasses.asdict(shard) for shard in shards]
    with _connected(address):
        try:
            resources = ray.cluster_resources()
            have = resources.get("GPU", 0) if on_gpu else resources.get("CPU", 0) / threads
            count = min(len(items), workers or max(1, int(have)))
            if have < (1 if workers is None else workers):
                what = f"{resources.get('GPU', 0):g} GPUs" if on_gpu else f"{resources.get('CPU', 0):g} CPUs"
                raise MapError(
                    f"the cluster has {what}, too few for {count} workers of {threads} threads",
                    remedy="ask for fewer --workers, or fewer --threads-per-worker",
                )
            tries = ray.remote(num_cpus=0)(_Tries).remote()
            reports = ray.data.from_items(items, override_num_blocks=min(len(items), _MOST_BLOCKS)).map_batches(
                _Actor,
                batch_size=1,
                batch_format="numpy",
                compute=ActorPoolStrategy(size=count),
                num_cpus=threads,
                num_gpus=1 if on_gpu else None,
                fn_constructor_args=(work, [ray.put(_packed(work.bundle))], tries),
            )
            for row in reports.iter_rows():
                yield ShardReport(**row)
        except (ray.exceptions.RayError, ConnectionError) as error:
            reason = str(error).strip().splitlines()
            raise MapError(
                f"Ray: {reason[0] if reason else type(error).__name__}", remedy="go on with --resume"
            ) from error


class _Actor:
    """A worker on a node of the cluster.

    Args:
        work: what it needs to know.
        bundle: Ray's reference to the packed bundle, uint8 (N,), alone in a list.
        tries: handle of the actor that counts.
    """

    def __init__(self, work: MapWork, bundle: list[Any], tries: Any) -> None:
        import ray

        self._tries = tries

        here = _kept(ray.get(bundle[0]), work.bundle_sha256)
        self._worker = MapWorker(dataclasses.replace(work, bundle=here))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Answer a shard; return its report as columns of one row."""
        import ray

        values = {name: column[0] for name, column in batch.items()}
        shard = Shard(str(values["part"]), str(values["source"]), int(values["first"]), int(values["rows"]))
        if ray.get(self._tries.begin.remote(shard.part)) > _MOST_TRIES:
            problem = f"{shard}: its worker died {_MOST_TRIES} times; is there memory for so many?"
            report = ShardReport(shard.part, error=problem)
        else:
            report = self._worker.run(shard)
        return {name: [value] for name, value in dataclasses.asdict(report).items()}


class _Tries:
    """Counts how often each shard was begun; one for the whole cluster."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def begin(self, part: str) -> int:
        """Count a shard, and return how often it was begun."""
        self._counts[part] += 1
        return self._counts[part]


def _packed(bundle: Path) -> Any:
    """Return a bundle as one file, uint8 (N,)."""
    with tempfile.TemporaryDirectory() as folder:
        file = bundle if bundle.is_file() else pack(Bundle.load(bundle), Path(folder) / "bundle.qab")
        return np.fromfile(file, np.uint8)


def _kept(data: Any, name: str) -> Path:
    """Return the file of a packed bundle in this node's cache; it is written by the first worker that comes."""
    with os_errors(MapError, "cannot keep the bundle in the cache of a node"):
        folder = cache_folder("map")
        path = folder / f"{name}.qab"
        if not path.is_file() or path.stat().st_size != data.nbytes:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                data.tofile(file)
    return path


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster, quietly, and leave Ray's settings as they were; a connection that is there is used."""
    import ray
    from ray.data import DataContext

    settings = DataContext.get_current()
    quiet = {"enable_progress_bars": False, "print_on_execution_start": False}
    before = {name: getattr(settings, name) for name in quiet}
    logger = logging.getLogger("ray")
    data_logger, levels = logging.getLogger("ray.data"), (logger.level, logging.getLogger("ray.data").level)
    own = not ray.is_initialized()
    if own:
        with _environment(_QUIET):
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                where = "a cluster on this machine" if address is None else f"the cluster {address}"
                raise MapError(f"Ray cannot reach or start {where}: {error}") from error
    try:
        data_logger.setLevel(logging.ERROR)
        for name, value in quiet.items():
            setattr(settings, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)
        if own:
            ray.shutdown()
        logger.setLevel(levels[0])
        data_logger.setLevel(levels[1])


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables, which Ray reads when it starts, for the time of a block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if name not in os.environ})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
