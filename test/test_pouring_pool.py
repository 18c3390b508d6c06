"""Pools: resumable collection, damage, other versions, re-simulation, export; the commands on top."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from memristor_bdnn import cli
from memristor_bdnn.errors import ConfigError, StoreError
from memristor_bdnn.skills.collect import collect
from memristor_bdnn.skills.pouring import pool
from memristor_bdnn.skills.pouring.skill import PouringSkill
from memristor_bdnn.skills.pouring.world import PouringWorld, WorldConfig
from memristor_bdnn.skills.rows import checksum

POURS = PouringSkill().collector()


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "six.pool"
    collect(path, 6, POURS, show=False)
    return path


def test_rows_can_be_simulated_again_alone(collected: Path) -> None:
    rows = pool.load(collected).rows
    with PouringWorld() as world:
        assert pool.resimulate(world, rows[4]) == rows[4]
        assert pool.simulate(world, 2) == rows[2]


def test_collection_goes_on_where_a_kill_left_it(collected: Path, tmp_path: Path) -> None:
    whole = collected.read_bytes()
    torn = tmp_path / "torn.pool"
    torn.write_bytes(whole[: -pool.ROW.itemsize * 2 - 17])
    assert len(pool.load(torn).x) == 3
    resumed = collect(torn, 6, POURS, show=False)
    assert torn.read_bytes() == whole and len(resumed.x) == 6
    stamp = torn.stat().st_mtime_ns
    collect(torn, 6, POURS, show=False)
    assert torn.read_bytes() == whole and torn.stat().st_mtime_ns >= stamp


def test_a_killed_process_loses_nothing_committed(tmp_path: Path) -> None:
    path = tmp_path / "killed.pool"
    process = subprocess.Popen(
        [sys.executable, "-m", "memristor_bdnn.cli", "collect", "--trials", "400", "--out", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(1200):
        if path.exists() and path.stat().st_size > 16 * pool.ROW.itemsize:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    rows = pool.load(path).rows
    assert len(rows) >= 16 and len(set(rows["seed"].tolist())) == len(rows)
    with PouringWorld() as world:
        assert pool.resimulate(world, rows[-1]) == rows[-1]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"something else entirely", "is not a pool file; nothing was changed"),
        (b"MBPOOL\x63\x00\x02\x00\x00\x00{}", "has pool schema 99, this version reads 1; nothing was changed"),
    ],
)
def test_foreign_files_are_refused_unchanged(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=message):
        collect(path, 5, POURS, show=False)
    assert path.read_bytes() == content


def test_a_damaged_row_is_named_and_kept(collected: Path, tmp_path: Path) -> None:
    content = bytearray(collected.read_bytes())
    content[-3 * pool.ROW.itemsize + 20] ^= 0xFF
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"row 3 is damaged \(checksum\)"):
        pool.PoolFile(path)
    assert path.read_bytes() == bytes(content)


def test_other_settings_are_not_mixed_into_a_file(collected: Path) -> None:
    with pytest.raises(StoreError, match=r"tilt_speed: 1.6 in the file, 0.5 asked"):
        collect(collected, 8, PouringSkill().collector({"tilt_speed": 0.5}), show=False)
    with pytest.raises(ConfigError, match="leave out arm = 'panda'"):
        collect(collected, 8, PouringSkill().collector(WorldConfig(arm="panda")), show=False)
    with pytest.raises(ConfigError, match="trials = 0"):
        collect(collected, 0, POURS, show=False)


def test_an_export_holds_the_same_trials(collected: Path, tmp_path: Path) -> None:
    path = tmp_path / "six.npz"
    with pool.PoolFile(collected, readonly=True) as file:
        pool.export(file, path, "memristor-bdnn collect ...")
    first, second = pool.load(collected), pool.load(path)
    assert np.array_equal(first.x, second.x) and np.array_equal(first.score, second.score)
    with np.load(path, allow_pickle=False) as archive:
        other = {**archive, "schema": np.array(7)}
    np.savez(path, **other)
    with pytest.raises(StoreError, match="pool schema 7, this version reads 1"):
        pool.load(path)
    with pytest.raises(ConfigError, match="no such pool; make one: memristor-bdnn collect"):
        pool.load(tmp_path / "absent")
    assert "6 trials" in POURS.summary(first.rows)


def test_balanced_halves_are_equal() -> None:
    rng = np.random.default_rng(0)
    made = pool.Pool(rng.uniform(-1, 1, (50, 11)), np.repeat([1.0, -1.0], [10, 40]), np.zeros(0, pool.ROW))
    half = made.balanced(rng)
    assert len(half.x) == 20 and half.y.mean() == 0.5


def test_two_processes_collect_what_one_does(collected: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.pool"
    collect(path, 6, POURS, workers=2, show=False)
    rows, single = pool.load(path).rows, pool.load(collected).rows
    assert np.array_equal(rows[np.argsort(rows["seed"])], single)


def test_a_dask_cluster_collects_what_one_process_does(collected: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    path = tmp_path / "dask.pool"
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None) as cluster:
        collect(path, 6, POURS, dask=cluster.scheduler_address, show=False)
    rows, single = pool.load(path).rows, pool.load(collected).rows
    assert np.array_equal(rows[np.argsort(rows["seed"])], single)


def test_a_missing_scheduler_is_named(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        collect(tmp_path / "none", 2, POURS, dask="tcp://127.0.0.1:9", show=False)


def test_the_shipped_pool_is_whole_and_small() -> None:
    if not pool.SHIPPED.exists():
        pytest.skip("this checkout has no shipped pool")
    shipped = pool.load()
    assert pool.SHIPPED.stat().st_size < 2e6 and len(shipped.x) >= 5000
    assert 0.4 < shipped.y.mean() < 0.65 and len(set(shipped.rows["seed"].tolist())) == len(shipped.x)
    row = shipped.rows[17]
    with PouringWorld() as world:
        again = pool.resimulate(world, row)
    # Exact on the machine that made it; elsewhere the outcome may differ by a few beads.
    assert again["beads"] == pytest.approx(int(row["beads"]), abs=2)


def test_validate_world_writes_its_figures(data_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "agreement.json"
    code = cli.main(
        ["validate-world", "--data", str(data_folder / "pouring_paper.npz"), "--rows", "24", "--out", str(out)]
    )
    figures = json.loads(out.read_text())
    assert code == 0 and figures["rows"] == 24
    assert figures["agreement"] > 0.6 and figures["self_agreement"] > 0.6 and figures["trials_per_s"] > 0.2


def test_validate_world_refuses_too_many_rows(collected: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate-world", "--data", str(collected), "--rows", "7"]) == 1
    assert "the file has 6 rows" in capsys.readouterr().err


def pool_bytes(path, rows=3):
    with pool.PoolFile(path) as file:
        for seed in range(rows):
            row = np.zeros((), pool.ROW)
            row["seed"] = seed
            row["crc"] = checksum(row)
            file.append([row])
    return path.read_bytes(), pool.ROW.itemsize


def seeds_of(path, **options):
    with pool.PoolFile(path, **options) as file:
        return file.rows["seed"].tolist()


def test_every_cut_of_a_pool_opens_with_the_rows_before_it(tmp_path):
    whole, size = pool_bytes(tmp_path / "whole")
    header = len(whole) - 3 * size
    for cut in [*range(0, header, 37), *range(header, len(whole), 11)]:
        path = tmp_path / f"cut{cut}"
        path.write_bytes(whole[:cut])
        rows = max(0, (cut - header) // size)
        assert seeds_of(path) == list(range(rows)), cut
        assert path.read_bytes() == whole[: header + rows * size]


def test_a_whole_last_row_that_is_damaged_is_kept_beside_the_pool(tmp_path):
    path = tmp_path / "p"
    whole, size = pool_bytes(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.warns(UserWarning, match=r"moved to .*p\.damaged"):
        assert seeds_of(path) == [0, 1]
    assert (tmp_path / "p.damaged").read_bytes() == whole[-size:-1] + bytes([whole[-1] ^ 1])


def test_rows_twice_a_second_writer_and_a_deleted_pool_are_noticed(tmp_path):
    path = tmp_path / "p"
    whole, size = pool_bytes(path)
    path.write_bytes(whole + whole[-size:])
    with pytest.raises(StoreError, match="seed 2 is there more than once"):
        seeds_of(path)
    assert path.read_bytes() == whole + whole[-size:]
    path.write_bytes(whole)
    with pool.PoolFile(path) as file:
        with pytest.raises(StoreError, match="in use by another process"):
            pool.PoolFile(path)
        path.unlink()
        with pytest.raises(StoreError, match="was deleted while in use: its 3 rows were written to it again"):
            file.append([file.rows[0]])
    assert path.read_bytes() == whole
