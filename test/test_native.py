"""Compiled kernels give the numbers of their NumPy references and refuse wrong arrays; NumPy runs without them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memristor_bdnn
from memristor_bdnn import native
from memristor_bdnn.motion import arms
from memristor_bdnn.motion.ik import solvers
from memristor_bdnn.motion.ik.turns import apart
from memristor_bdnn.motion.kinematics import Chain

compiled = pytest.mark.skipif(native.kernels is None, reason=f"no compiled kernels: {native.status()}")
every_arm = pytest.mark.parametrize("name", arms.BUILT_IN)


def standing(name: str) -> Any:
    """The closed form of an arm, without its mount."""
    solver: Any = solvers.create(arms.load(name))
    return getattr(solver, "_standing", solver)


def configurations(name: str, n: int, seed: int) -> np.ndarray:
    low, high = arms.load(name).limits()
    return np.random.default_rng(seed).uniform(low, high, (n, len(low)))


@compiled
@every_arm
def test_solutions_are_those_of_numpy_in_the_same_order(name: str) -> None:
    solver, q = standing(name), configurations(name, 4000, 0)
    poses, free = solver.chain.fk(q), solver.free_of(q)
    poses[::3, :3, 3] *= np.linspace(0.2, 3.0, len(poses[::3]))[:, None]  # also what lies out of reach, or too near
    ours, valid = solver.solve(poses, free)
    theirs, also = solver.reference(poses, free)
    assert np.array_equal(valid, also)
    assert 1000 < valid.sum() and not valid[::3].all() and not valid.any(axis=1).all()
    np.testing.assert_allclose(ours[valid], theirs[valid], rtol=0, atol=1e-9)


@compiled
@every_arm
def test_at_singularities_the_same_branches_reach_the_pose(name: str) -> None:
    """There the angles of one pose are many, or the arc cosine's slope is infinite: 1e-16 in, 1e-8 out."""
    solver, q = standing(name), configurations(name, 900, 1)
    low, high = arms.load(name).limits()
    for k in range(q.shape[1]):  # each joint in turn at 0, at a quarter and half a turn, and close to it
        some = q[k::9]
        some[:, k] = np.clip(np.resize([0.0, np.pi / 2, np.pi, -np.pi / 2, 1e-12], len(some)), low[k], high[k])
    poses, free = solver.chain.fk(q), solver.free_of(q)
    ours, valid = solver.solve(poses, free)
    theirs, also = solver.reference(poses, free)
    assert np.array_equal(valid, also) and valid.any(axis=1).all()
    for rows, which in ((ours, valid), (theirs, also)):
        reached = solver.chain.fk(rows[which])
        np.testing.assert_allclose(reached, np.repeat(poses, which.sum(axis=1), axis=0), rtol=0, atol=1e-11)
    difference = apart(ours, theirs)[valid]
    assert (difference < 1e-9).mean() > 0.99
    assert (difference < 1e-6).mean() > 0.999


@compiled
@every_arm
def test_frames_are_those_of_numpy(name: str) -> None:
    chain, q = standing(name).chain, configurations(name, 300, 2)
    tilted = Chain(chain.origins, np.tile(np.array([0.6, 0.0, 0.8]), (len(chain.axes), 1)), chain.tool)
    for each in (chain, tilted):
        np.testing.assert_allclose(each.frames(q), each.reference_frames(q), rtol=0, atol=1e-12)
        np.testing.assert_allclose(each.fk(q), each.reference_frames(q)[:, -1], rtol=0, atol=1e-12)
    assert chain.frames(q.reshape(3, 100, -1)).shape == (3, 100, q.shape[1] + 1, 4, 4)
    assert np.array_equal(chain.fk(q[::2]), chain.fk(q)[::2])
    assert np.array_equal(chain.fk(q[5].tolist()), chain.fk(q)[5])
    assert chain.fk(q[:0]).shape == (0, 4, 4)


@compiled
def test_arrays_of_any_layout_are_read_and_wrong_ones_refused() -> None:
    solver, q = standing("panda"), configurations("panda", 6, 3)
    poses = solver.chain.fk(q)
    wanted, valid = solver.solve(poses, q[:, 6])
    layouts = (np.asfortranarray(poses), np.repeat(poses, 2, axis=0)[::2], poses.astype(">f8"), poses.tolist())
    for other in layouts:
        found, also = solver.solve(other, q[:, 6])
        assert np.array_equal(found, wanted) and np.array_equal(also, valid)
    spread = np.broadcast_to(poses[0], (4, 4, 4))
    assert np.array_equal(solver.solve(spread, np.full(4, q[0, 6]))[0], np.repeat(wanted[:1], 4, axis=0))
    for bad in (poses[:, :3], poses[:, :, :3], poses[:5], poses.reshape(3, 2, 4, 4)):
        with pytest.raises((ValueError, TypeError)):
            solver.solve(bad, q[:, 6])
    out, ok = np.empty((6, 8, 7)), np.empty((6, 8), bool)
    for arguments in (
        (b"", poses, q[:, 6], out, ok),
        (solver._constants, poses, q[:, 6], out[:5], ok),
        (solver._constants, poses, q[:, 6], out, ok[:, ::2]),
        (solver._constants, poses, q[:, 6], out.astype(np.int64), ok),
    ):
        with pytest.raises((ValueError, TypeError, BufferError)):
            native.kernels.panda(*arguments)
    with pytest.raises(ValueError):
        native.kernels.frames(solver.chain._constants, 7, q, np.empty((6, 3)))
    assert np.isnan(solver.solve(np.full((1, 4, 4), np.nan), np.zeros(1))[0]).any()
    assert not solver.solve(np.full((1, 4, 4), np.nan), np.zeros(1))[1].any()


@compiled
def test_a_library_of_another_number_or_a_broken_one_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Path(native.kernels.__spec__.origin)
    for name in ("broken", "good"):
        (tmp_path / name / "native").mkdir(parents=True)
    (tmp_path / "broken" / "native" / library.name).write_bytes(b"no library")
    shutil.copy(library, tmp_path / "good" / "native" / library.name)
    found, where = native.find([tmp_path / "nothing", tmp_path / "broken", tmp_path / "good"])
    assert found is not None and where.startswith(str(tmp_path / "good"))
    assert native.find([tmp_path / "broken"])[0] is None
    monkeypatch.setattr(native, "ABI", native.kernels.ABI + 1)
    found, why = native.find([tmp_path / "good"])
    assert found is None and f"ABI {native.kernels.ABI}" in why


def test_without_a_library_numpy_does_it_and_info_says_so(tmp_path: Path) -> None:
    code = (
        "from memristor_bdnn.motion import arms; from memristor_bdnn.motion.ik import solvers\n"
        "import numpy as np; arm = arms.load('panda'); solver = solvers.create(arm)\n"
        "q = np.full((1, 7), 0.3); print(solver.solve(solver.chain.fk(q), q[:, 6])[1].sum())"
    )
    said = {}
    for off in ("", "1"):
        environment = {**os.environ, "MEMRISTOR_BDNN_NO_KERNELS": off}
        info = [sys.executable, "-m", "memristor_bdnn.cli", "info", "--json"]
        report = json.loads(subprocess.run(info, env=environment, capture_output=True, text=True).stdout)
        solved = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        said[off] = (report["kernels"], solved.stdout)
    assert said["1"][0] == "NumPy (MEMRISTOR_BDNN_NO_KERNELS is set)"
    found, where = native.find(memristor_bdnn.__path__)
    assert said[""][0] == (where if found is not None else f"NumPy ({where})")
    assert said[""][1] == said["1"][1]


def test_an_installed_package_has_the_library() -> None:
    """A build that compiled nothing would run everywhere, slowly, and nobody would hear of it."""
    installed = [Path(folder) for folder in memristor_bdnn.__path__ if Path(folder).parent.name.endswith("-packages")]
    holding = [folder for folder in installed if (folder / "native" / "__init__.py").is_file()]
    if not holding:
        pytest.skip("no installed package with this folder: make build")
    for folder in holding:
        found, why = native.find([folder])
        assert found is not None, why
        assert not list((folder / "native").glob("*.[ch]"))
