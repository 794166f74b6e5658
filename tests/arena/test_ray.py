"""Grids on Ray: the same results as here, on more nodes too, and a lost worker's cell is run again."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fedsiege.arena.grid import Event, run_cells
from fedsiege.arena.ray import RayCluster, share
from fedsiege.arena.work import Task
from fedsiege.errors import RunError
from tests.arena.games import TINY, Here, contents, grid

LONG = {**TINY["federation"], "rounds": 400, "evaluate_every": 100, "project_every": 0}
GAME: dict[str, Any] = {"federation": LONG, "seeds": [0]}
WORK = b"ray::remote_work"
"""How Ray names a process that is at a task of a grid."""


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r"in a clone of FedSiege run: pip install -e '\.\[ray\]'"):
        RayCluster()


@pytest.fixture(scope="module")
def ray() -> Any:
    return pytest.importorskip("ray", reason="Ray is not installed")


@pytest.fixture(scope="module")
def whole(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("whole")
    assert all(o.result for o in run_cells(grid(root, **GAME), executor=Here()))
    return contents(root)


@pytest.fixture
def cluster(ray: Any) -> Any:
    """One node with one core; tests add another. It is gone afterwards."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


def test_ray_gives_what_this_machine_gives_and_a_second_node_is_used(
    cluster: Any, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from fedsiege.arena import ray as module

    monkeypatch.setattr(module, "AGAIN", 0.2)
    executor = RayCluster(cluster.address)
    assert executor.free == 1
    most, nodes = [0], set()

    def listen(event: Event) -> None:
        if event.kind == "finished" and len(ray.nodes()) == 1:
            cluster.add_node(num_cpus=1)

    before = executor.submit

    def submit(task: Any) -> None:
        before(task)
        # Here, as two runs that end within one poll are gone before anybody hears of them.
        most[0] = max(most[0], len(executor._tasks))
        nodes.add(sum(node["Alive"] for node in ray.nodes()))

    monkeypatch.setattr(executor, "submit", submit)
    outcomes = run_cells(grid(tmp_path, **GAME), on_event=listen, executor=executor)
    assert [o.error for o in outcomes] == [None] * 4
    assert contents(tmp_path) == whole
    assert most[0] == 2
    assert nodes == {1, 2}
    assert not ray.is_initialized()


def test_a_lost_workers_cell_is_run_again(cluster: Any, tmp_path: Path, whole: dict[str, bytes]) -> None:
    session, over = cluster.head_node.get_session_dir_path().encode(), threading.Event()
    cells = grid(tmp_path, **GAME)
    killed: list[int] = []

    def under_way() -> bool:
        return any((c.path / "config.yaml").exists() and not (c.path / "result.json").exists() for c in cells)

    def working() -> list[int]:
        """Processes of this cluster that are at a task."""
        found = [int(file.parent.name) for file in Path("/proc").glob("[0-9]*/cmdline") if WORK in _bytes(file)]
        return [pid for pid in found if session in _bytes(Path(f"/proc/{_parent(pid)}/cmdline"))]

    def kill() -> None:
        # News comes too late under load: all cells may have ended by then.
        while not killed and not over.wait(0.005):
            if under_way() and (found := working()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found[0], signal.SIGKILL)
                    killed.append(found[0])

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        outcomes = run_cells(cells, executor=RayCluster(cluster.address))
    finally:
        over.set()
        killer.join()
    assert killed
    assert [o.error for o in outcomes] == [None] * 4
    assert contents(tmp_path) == whole


def _parent(pid: int) -> int:
    fields = _bytes(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_failures_pass_through(cluster: Any, tmp_path: Path) -> None:
    cells = grid(tmp_path, seeds=[0], attacks=["none"], defenses=["none", {"name": "union", "negatives": 79}])
    fine, failed = run_cells(cells, executor=RayCluster(cluster.address))
    assert fine.result is not None
    assert "negatives" in str(failed.error)
    assert (cells[1].path / "failed.json").is_file()


def test_an_absent_cluster_is_named(ray: Any) -> None:
    with pytest.raises(RunError, match=r"cannot use Ray cluster auto.*--ray local"):
        RayCluster("auto")


class FakeRay:
    """Notes what is asked of Ray; a cluster of so many cores and GPUs."""

    class exceptions:
        RayError = WorkerCrashedError = OutOfMemoryError = NodeDiedError = RuntimeError

    def __init__(self, **resources: float) -> None:
        self.resources, self.started, self.asked = resources, list[dict[str, Any]](), list[dict[str, Any]]()

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        self.started.append(options)

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, **options: Any) -> Any:
        fake = self

        class Made:
            def __init__(self, more: dict[str, Any]) -> None:
                self.more = more

            def options(self, **more: Any) -> Made:
                return Made(self.more | more)

            def remote(self, *_: Any) -> object:
                fake.asked.append(self.more)
                return object()

        return lambda function: Made(options)


def task(**model: Any) -> Task:
    return Task(0, {"model": {"name": "any", **model}}, "r")


def test_a_cluster_on_this_machine_is_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(CPU=3)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    RayCluster(None, jobs=3)
    RayCluster("10.0.0.1:6379")
    assert [o["address"] for o in fake.started] == ["local", "10.0.0.1:6379"]
    assert [o.get("num_cpus") for o in fake.started] == [3, None]


@pytest.mark.parametrize(("jobs", "cpus"), [(3, 6), (None, 4)])
def test_each_task_has_its_threads(monkeypatch: pytest.MonkeyPatch, jobs: int | None, cpus: int) -> None:
    fake = FakeRay(CPU=5)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr("fedsiege.arena.room.jobs", lambda: 5)
    executor = RayCluster(None, jobs, threads=2)
    assert [o["num_cpus"] for o in fake.started] == [cpus]
    assert executor.free == 2
    executor.submit(task())
    assert [o["num_cpus"] for o in fake.asked] == [0, 2]


def test_ray_starts_a_cluster_although_another_is_in_the_environment(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody answers at that address, so joining it would fail.
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    executor = RayCluster(None, jobs=1)
    assert executor.free == 1
    executor.close()
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("resources", "jobs", "model", "gpus"),
    [
        ({"CPU": 16, "GPU": 1}, None, {"device": "auto"}, 0.0625),
        ({"CPU": 16, "GPU": 1}, 3, {"device": "cuda:0"}, 0.3333),
        ({"CPU": 16, "GPU": 4}, 2, {"device": "cuda"}, 1.0),
        ({"CPU": 16, "GPU": 1}, None, {"device": "cpu"}, None),
        ({"CPU": 16, "GPU": 1}, None, {}, None),
        ({"CPU": 16}, None, {"device": "auto"}, None),
    ],
    ids=str,
)
def test_a_model_that_may_use_a_gpu_asks_for_a_share_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, float], jobs: int | None, model: dict[str, str], gpus: Any
) -> None:
    fake = FakeRay(**resources)
    monkeypatch.setitem(sys.modules, "ray", fake)
    executor = RayCluster("auto", jobs)
    executor.submit(task(**model))
    # The first that is asked for is the actor that gathers news.
    assert [o["num_cpus"] for o in fake.asked] == [0, 1]
    assert fake.asked[1].get("num_gpus") == gpus


def test_a_cluster_without_a_cpu_is_waited_for_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr("fedsiege.arena.ray.AGAIN", 0)
    executor = RayCluster("auto")
    assert [executor.free for _ in range(3)] == [0, 0, 0]
    assert [record.message for record in caplog.records].count(
        "no node of the Ray cluster has a CPU to run on; waiting for one (`ray start --address`)"
    ) == 1
    fake.resources = {"CPU": 2}
    assert executor.free == 2
    assert len(caplog.records) == 1


def test_shares_of_all_tasks_fit() -> None:
    for gpus, tasks in ((1, 3), (2, 7), (1, 96), (8, 8)):
        assert share(gpus, tasks) * tasks <= gpus
        assert share(gpus, tasks) * tasks > 0.99 * gpus
