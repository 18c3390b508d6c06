"""Shared fixtures: the optional data folder, and a running graph of real nodes."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

# One thread for each process: there are more workers than cores.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

# Signals mean to the processes that tests start what they usually do, also where the tests run in the background.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

ROOT = Path(__file__).parent.parent
SLOW_FIRST = (
    "hardware_safety",
    "escim_jobs",
    "demo",
    "resume",
    "faults",
    "nodes",
    "checkpoints",
    "node_goals",
    "physical_arm",
    "peers",
)
"""Files that take longest; begun first, no worker is left alone with one at the end."""
COMMAND = Path(sys.prefix) / "bin" / "memristor-bdnn"
DOMAINS_A_PROCESS = 12
_domains = itertools.count(0)
_claimed: dict[int, IO[str]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, in the order above; the rest as they were."""
    places = {f"test_{name}": place for place, name in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: places.get(Path(item.path).stem, len(places)))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Any]:
    """Nodes of a physical arm and scripted peers on a domain of their own; all end with the test."""
    from hardware_bench import Bench

    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Published measurements, from MEMRISTOR_BDNN_DATA or beside the repository; skips when absent."""
    folder = Path(os.environ.get("MEMRISTOR_BDNN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"published data not found in {folder}: set MEMRISTOR_BDNN_DATA to check against it")
    return folder


def fresh_environment() -> dict[str, str]:
    """An environment whose ROS domain no other graph of this or another test run uses."""
    return {**os.environ, "ROS_DOMAIN_ID": str(_free_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def _free_domain() -> int:
    """A domain that no living test process has claimed; after a dozen, this process's own ones come round again."""
    number = next(_domains)
    start = os.getpid() * 7
    for domain in (1 + (start + k) % 100 for k in range(100)):
        if len(_claimed) == DOMAINS_A_PROCESS:
            break
        if domain in _claimed:
            continue
        claim = open(Path(tempfile.gettempdir()) / f"memristor_bdnn_test_domain_{domain}", "w")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            claim.close()
            continue
        _claimed[domain] = claim
        return domain
    return list(_claimed)[number % len(_claimed)]


class RunningGraph:
    """`memristor-bdnn up` in a process of its own, and a client node to talk to it."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with open(log, "w") as output:
            self.process = subprocess.Popen(
                [str(COMMAND), "up", *arguments],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
            )
        os.environ["ROS_DOMAIN_ID"] = environment["ROS_DOMAIN_ID"]
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        from memristor_bdnn.nodes.client import GraphClient

        self.client = GraphClient("test_client")

    def wait_ready(
        self, names: tuple[str, ...] = ("pouring_world", "pour_planner", "accelerator", "coordinator")
    ) -> None:
        try:
            until(lambda: all(map(self.client.peers.is_ready, names)) or self.process.poll() is not None, 60.0)
            assert self.process.poll() is None, "the graph ended"
        except Exception as error:
            raise AssertionError(f"{error}\n{self.log.read_text()}") from error

    def node_process(self, executable: str) -> int:
        """Process id of a child node."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            if executable in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
        raise AssertionError(f"no child {executable} among {children}")

    def wait_exit(self, timeout_s: float = 20.0) -> int:
        return self.process.wait(timeout_s)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(15.0)
            except subprocess.TimeoutExpired:
                self.process.kill()


@pytest.fixture
def start_graph(tmp_path: Path) -> Iterator[Callable[..., RunningGraph]]:
    """Start graphs with arguments; all are stopped at the end."""
    graphs: list[RunningGraph] = []

    def start(*arguments: str) -> RunningGraph:
        graph = RunningGraph([f"results:={tmp_path / 'results'}", *arguments], fresh_environment(), tmp_path / "up.log")
        graphs.append(graph)
        return graph

    yield start
    for graph in graphs:
        graph.close()


def run_command(*words: str, timeout_s: float = 240.0, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a ROS domain of its own."""
    return subprocess.run(
        [str(COMMAND), *words], env=fresh_environment(), capture_output=True, text=True, timeout=timeout_s, **kwargs
    )


def until(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    """Wait for a condition; fails when it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true in time"
        time.sleep(0.05)
