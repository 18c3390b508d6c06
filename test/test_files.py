"""Files that cannot be read or written, and processes that are killed: one line that says what to do, nothing lost."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analytic import SlideSkill, register
from conftest import COMMAND, fresh_environment, until

from memristor_bdnn import cli
from memristor_bdnn.appending import AppendFile
from memristor_bdnn.commands import demo, new
from memristor_bdnn.errors import ConfigError, StoreError
from memristor_bdnn.report.record import check_out, check_picture, save_figure
from memristor_bdnn.skills import pool, workers
from memristor_bdnn.skills.collect import collect


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)


@contextlib.contextmanager
def full_disk(most: int) -> Iterator[None]:
    """No file may grow beyond some bytes: what a full disk does, without being root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder in which root cannot make a file either."""
    folder = tmp_path / "locked"
    folder.mkdir()
    if os.getuid() != 0:
        folder.chmod(0o500)
    elif not shutil.which("chattr") or subprocess.run(["chattr", "+i", folder], capture_output=True).returncode:
        folder = Path("/proc")  # nobody makes a file here
    yield folder
    if folder != Path("/proc"):
        subprocess.run(["chattr", "-i", folder], capture_output=True) if os.getuid() == 0 else folder.chmod(0o700)


def one_line(capsys: pytest.CaptureFixture[str], words: list[str], *expected: str) -> None:
    """A command fails with code 1 and one line that holds what is expected; no temporary file is left."""
    capsys.readouterr()
    code = cli.main(words)
    said = capsys.readouterr().err.splitlines()
    assert code == 1 and len(said) == 1 and said[0].startswith("error: "), (code, said)
    for text in expected:
        assert text in said[0], said[0]
    assert not [p for p in Path().rglob("*") if ".tmp" in p.name]


# -- configurations ---------------------------------------------------------------------------------

BAD = {
    "latin.yaml": ("world: ü".encode("latin1"), "is not UTF-8 text"),
    "deep.yaml": (b"[" * 5000, "nested too deeply"),
    "open.yaml": (b"world: [", "is not valid YAML"),
    "twice.yaml": (b"world: {}\nworld: {}\n", "'world' is given twice (line 2"),
    "self.yaml": (b"world: &a [*a]", "an alias contains itself"),
    "number.yaml": (b"world: 5", "5"),
    "list.yaml": (b"- world", "list.yaml"),
    "text.yaml": (b"world", "text.yaml"),
    "long.yaml": (b"#" * (5 << 20), "at most"),
}


@pytest.mark.parametrize("name", [*BAD, "folder.yaml", "pipe.yaml", "missing.yaml"])
def test_a_configuration_that_is_none_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, expected = BAD.get(name, (None, ""))
    if content is not None:
        Path(name).write_bytes(content)
    elif name == "folder.yaml":
        Path(name).mkdir()
    elif name == "pipe.yaml":
        os.mkfifo(name)
    for words in (
        ["collect", "--skill", "slide", "--trials", "1", "--out", "a.pool", "--world", name],
        ["learn", "--skill", "slide", "--config", name],
        ["evaluate-skill", "--skill", "slide", "--config", name],
        ["device", "show", name],
        ["energy", "--quick", "--preset", name],
        ["up", f"params_file:={name}"],
    ):
        one_line(capsys, words, name, expected if "5" not in expected else "")
    assert not Path("a.pool").exists()


def test_a_preset_that_starts_from_itself_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text("base: b.yaml")
    Path("b.yaml").write_text("base: a.yaml")
    one_line(capsys, ["device", "show", "a.yaml"], "starts from itself")
    Path("a.yaml").write_text("base: 5")
    one_line(capsys, ["device", "show", "a.yaml"], "base = 5")


def test_tables_and_recordings_that_are_pipes_are_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe")
    for words in (["device", "fit", "pipe", "--out", "o.yaml"], ["board", "log", "pipe"]):
        one_line(capsys, words, "pipe", "no regular file")
    with pytest.raises(ConfigError, match="expected a regular file"):
        pool.load("pipe", SlideSkill())


# -- what is written --------------------------------------------------------------------------------


def test_outputs_that_cannot_be_are_refused_before_the_work(locked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    Path("file").write_text("mine")
    os.mkfifo("pipe")
    os.symlink("nowhere", "dangling")
    for out in ("folder", "file/x", "nowhere/x", "pipe", "dangling", "/dev/null", "", "x" * 300, f"{locked}/x"):
        for words in (
            ["learn", "--skill", "slide", "--initial", "2", "--queries", "0", "--out", out],
            ["collect", "--skill", "slide", "--trials", "2", "--out", out],
            ["collect", "--skill", "slide", "--trials", "2", "--out", "a.pool", "--export", out],
            ["energy", "--quick", "--out", out],
            ["benchmark", "device", "--quick", "--out", out],
            ["device", "map", "file", "--out", out],
        ):
            one_line(capsys, words)
    assert Path("file").read_text() == "mine" and os.path.islink("dangling") and not Path("/dev/null").is_file()
    for flag in ("--figure", "--poses"):
        with pytest.raises(ConfigError, match="no kind of picture"):
            check_picture("bars.xyz", flag)
    check_out("file")


def test_a_results_folder_that_cannot_be_used_is_said_before_any_trial(tmp_path: Path, locked: Path) -> None:
    Path("file").write_text("")
    Path("results").mkdir()
    (Path("results") / "log").write_text("in the way")
    for folder in (Path("file"), Path("file/below"), Path("results"), locked, locked / "below"):
        with pytest.raises(ConfigError, match=r"--out"):
            demo.prepare_folder(folder, resume=True)


def test_a_new_plugin_is_written_wholly_or_not_at_all(locked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (locked / "x", Path("file") / "x"):
        Path("file").write_text("")
        one_line(capsys, ["new", "skill", "tossing", "--folder", str(folder)], "nothing was written")
    with full_disk(200), pytest.raises(ConfigError, match="nothing was written"):
        new.create("skill", "tossing", Path("deep/er/tossing"))
    assert not Path("deep").exists()


def test_a_picture_on_a_full_disk_leaves_the_old_one() -> None:
    from matplotlib.figure import Figure

    Path("a.png").write_bytes(b"old")
    with full_disk(100), pytest.raises((OSError, StoreError)):
        save_figure(Figure(), "a.png")
    assert Path("a.png").read_bytes() == b"old"
    save_figure(Figure(), "a.png")
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


def test_output_that_nobody_takes_is_no_traceback() -> None:
    for target, code in (("/dev/full", 1), ("/dev/null", 0)):
        with open(target, "w") as out:
            words = [str(COMMAND), "info"]
            done = subprocess.run(words, stdout=out, stderr=subprocess.PIPE, text=True, env=fresh_environment())
        assert done.returncode == code and "Traceback" not in done.stderr and "Exception" not in done.stderr
        assert ("No space left on device" in done.stderr) == (code == 1)


# -- pools ------------------------------------------------------------------------------------------


def made(trials: int, path: str = "a.pool", **options: Any) -> bytes:
    collect(path, trials, SlideSkill().collector(), show=False, **options)
    return Path(path).read_bytes()


def test_a_full_disk_keeps_the_rows_that_are_finished(tmp_path: Path) -> None:
    whole = made(64, "whole.pool")
    size = len(made(16))
    with full_disk(size + 500), pytest.raises(StoreError, match=r"a.pool: .*what was committed before is kept"):
        made(64)
    left = Path("a.pool").read_bytes()
    assert whole.startswith(left) and (len(left) - size) % pool.row_type(SlideSkill()).itemsize == 0
    assert made(64) == whole
    with full_disk(50), pytest.raises((StoreError, OSError)):
        made(2, "b.pool")
    assert not Path("b.pool").exists() and not list(tmp_path.glob(".*tmp"))


def test_a_pool_is_made_whole_where_its_writing_was_cut_short_and_nothing_else_is_removed() -> None:
    whole = made(8)
    for cut in (0, 3, 40, len(whole) - 7):
        Path("a.pool").write_bytes(whole[:cut])
        assert made(8) == whole, cut
    assert not Path("a.pool.damaged").exists()
    for content in (b"one line without end", whole[:40] + b"x", b"MBSKIL"[:3] + b"notes"):
        Path("mine").write_bytes(content)
        with pytest.raises(StoreError, match="nothing was changed"):
            made(8, "mine")
        assert Path("mine").read_bytes() == content
    damaged = whole[:-10] + bytes([whole[-10] ^ 1]) + whole[-9:]
    Path("a.pool").write_bytes(damaged)
    assert made(8) == whole
    size = pool.row_type(SlideSkill()).itemsize
    assert Path("a.pool.damaged").read_bytes() == damaged[-size:]


def test_a_pool_that_is_gone_or_in_use_is_said() -> None:
    whole = made(4)
    skill = SlideSkill()
    with pool.PoolFile("a.pool", skill) as file:
        with pytest.raises(StoreError, match="in use by another process"):
            pool.PoolFile("a.pool", skill)
        row = pool.simulate(skill, skill.world("", skill.world_options()), 9)
        os.rename("a.pool", "b.pool")
        with pytest.raises(StoreError, match="was deleted while in use: its 4 rows were written to it again"):
            file.append([row])
    assert Path("b.pool").read_bytes() == Path("a.pool").read_bytes() == whole
    with pool.PoolFile("a.pool", skill) as file:
        os.rename("a.pool", "b.pool")
        Path("a.pool").write_bytes(b"another")
        with pytest.raises(StoreError, match=r"was replaced .* the 4 rows of this run are in a\.pool\.rescued"):
            file.append([row])
    assert Path("a.pool.rescued").read_bytes() == whole and Path("a.pool").read_bytes() == b"another"


def test_exports_that_are_damaged_are_refused_by_array() -> None:
    collector = SlideSkill().collector()
    made(6)
    with collector.open("a.pool", readonly=True) as file:
        collector.export(file, "a.npz", "x")
    arrays = dict(np.load("a.npz"))
    for name in ("seed", "parameters", "context", "measures"):
        for bad in (None, arrays[name][:2], np.array("text"), np.full(arrays[name].shape, "x")):
            changed = {k: v for k, v in {**arrays, name: bad}.items() if v is not None}
            np.savez("bad.npz", **changed)
            with pytest.raises((ConfigError, StoreError), match=r"bad\.npz.*(seed|parameters|context|measures)"):
                pool.load("bad.npz", SlideSkill())
    for x, score in ((np.zeros((3, 3)), np.array(["a"] * 3)), (np.full((3, 3), np.nan), np.zeros(3)), (np.zeros(3), 1)):
        np.savez("bare.npz", x=x, score=score)
        with pytest.raises(ConfigError, match=r"bare\.npz"):
            pool.load("bare.npz", SlideSkill())


def test_what_is_appended_is_there_or_not(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "file")
    file.append(b"one", lambda: b"", "1 row")
    with full_disk(12), pytest.raises(StoreError):
        file.append(b"a longer row", lambda: b"one", "1 row")
    file.append(b"two", lambda: b"one", "1 row")
    file.close()
    assert (tmp_path / "file").read_bytes() == b"onetwo"


# -- processes --------------------------------------------------------------------------------------


def square(number: int) -> int:
    return number * number


def die_once(number: int, folder: str) -> int:
    """Kills its process the first time that it is called with 3."""
    mark = Path(folder) / "died"
    if number == 3 and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_always(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number: int) -> int:
    from memristor_bdnn.errors import PlanningError

    raise PlanningError("no_ik", f"nothing for {number}")


def test_work_lost_with_a_worker_is_done_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert dict(workers.results(square, [(k,) for k in range(9)], 2)) == {k: k * k for k in range(9)}
    found = list(workers.results(die_once, [(k, str(tmp_path)) for k in range(9)], 2))
    assert sorted(found) == [(k, k) for k in range(9)]
    assert "a worker process died; what it was doing is done again" in capfd.readouterr().err


def test_work_that_kills_every_worker_ends_with_one_line() -> None:
    with pytest.raises(workers.WorkerLost, match="a worker process died 3 times at the same work"):
        list(workers.results(die_always, [(k,) for k in range(5)], 2))
    with pytest.raises(Exception, match="nothing for 0"):
        list(workers.results(refuse, [(0,)], 2))


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text() if Path(f"/proc/{pid}").exists() else ""
    return [int(word) for word in text.split()]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is waited for by nobody does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_collect_killed_leaves_no_worker_and_every_row(tmp_path: Path) -> None:
    words = [str(COMMAND), "collect", "--skill", "pushing", "--trials", "600", "--out", "p.pool", "--workers", "2"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until(lambda: len(children(process.pid)) >= 3, 60)  # the workers and multiprocessing's own helper
        helpers = children(process.pid)
        time.sleep(1.0)
    finally:
        process.kill()
        process.wait()
    until(lambda: not any(map(alive, helpers)), 20)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_collect_goes_on_when_a_worker_is_killed(tmp_path: Path) -> None:
    words = [str(COMMAND), "collect", "--skill", "pushing", "--trials", "640", "--workers", "2", "--out", "p.pool"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def spawned() -> list[int]:
        return [pid for pid in children(process.pid) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]

    until(lambda: len(spawned()) == 2 or process.poll() is not None, 60)
    time.sleep(1.0)
    for pid in spawned()[:1]:
        os.kill(pid, signal.SIGKILL)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0 and "640 trials" in output and "Traceback" not in errors, errors
    assert "a worker process died" in errors


def test_a_node_that_cannot_start_says_why_and_a_lost_log_folder_stops_nobody(tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    from memristor_bdnn.nodes.arguments import NodeCommand
    from memristor_bdnn.nodes.supervisor import NodeDied, Supervisor

    (tmp_path / "file").write_text("")
    said: list[str] = []
    environment = fresh_environment()

    def command(results: Path) -> NodeCommand:
        values = {"results": str(results)}
        return NodeCommand("recorder", "recorder_node", "", "", values, "info", False, environment)

    failing = Supervisor([command(tmp_path / "file" / "below")], log=said.append)
    try:
        failing.start()
        deadline = time.monotonic() + 60
        with pytest.raises(NodeDied, match=r"node recorder died \(exit code 1\): .*[Nn]ot a directory"):
            while time.monotonic() < deadline:
                failing.poll()
                time.sleep(0.05)
    finally:
        failing.stop()
    running = Supervisor([command(tmp_path / "ok")], log=said.append, log_folder=tmp_path / "removed")
    try:
        running.start()
        until(lambda: any("active (recording" in line for line in said), 60)
        running.poll()
    finally:
        running.stop()
    assert any("removed/recorder.log: No such file or directory; recorder goes on without it" in s for s in said)
