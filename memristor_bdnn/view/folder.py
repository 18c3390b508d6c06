"""A results folder as moments over its trials: motions are planned again from the trials, the rest is what was kept."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import skills
from memristor_bdnn.active.checkpoints import mark_of
from memristor_bdnn.active.rounds import Rounds
from memristor_bdnn.active.store import LABEL_PHASES, Trial, TrialStore
from memristor_bdnn.archives import read_file, unpack
from memristor_bdnn.config import build
from memristor_bdnn.errors import ConfigError, MemristorError, StoreError
from memristor_bdnn.motion import arms
from memristor_bdnn.motion.frames import Frames
from memristor_bdnn.motion.kinematics import mounting
from memristor_bdnn.motion.shapes import Shape
from memristor_bdnn.state import unpack_json
from memristor_bdnn.view.arm import ArmModel
from memristor_bdnn.view.hearing import LEDGER, MOST_CELLS
from memristor_bdnn.view.moment import Axis, Chips, Moment, Result

FloatArray = npt.NDArray[np.floating[Any]]

LARGEST_SUMMARY = 2**24
PLAY_S = 6.0
"""A planned motion is played in so many seconds, however long it takes."""
CELLS, IDENTITY = "accelerator.cells.state_ua", "accelerator.identity"
ABSENT = {
    "candidates": "a results folder keeps no candidates: see them live, or in a recording (demo --record)",
    "nodes": "a results folder keeps nothing of the nodes",
    "learning": "nothing had been learned yet",
    "ledger": "nothing had been learned yet",
}


class Folder:
    """Moments of one session.

    Args:
        path: folder with ``trials.jsonl`` as `memristor-bdnn demo` or a coordinator writes it.
        arm: name or YAML file of the arm; left out, that of ``summary.json``.

    Raises:
        ConfigError: no folder, or one without trials, with what is missing; an arm that is unknown.
        StoreError: its files are damaged.
    """

    def __init__(self, path: Path, arm: str = "") -> None:
        if not path.is_dir():
            raise ConfigError(f"{path} is no folder: give a results folder, or a recording (.mcap)")
        if not (path / "trials.jsonl").is_file():
            raise ConfigError(f"{path} has no trials.jsonl: it is no results folder")
        with TrialStore(path / "trials.jsonl", readonly=True) as store:
            self._trials, name = list(store.trials), str(store.metadata.get("skill", ""))
        if not self._trials:
            raise ConfigError(f"{path / 'trials.jsonl'} holds no trials yet")
        self.title = str(path)
        self._rounds = Rounds(path / "rounds.jsonl").read()
        self._absent = dict(ABSENT)
        if not self._rounds:
            self._absent |= dict.fromkeys(("learning", "ledger"), "no rounds.jsonl in this folder")
        self._skill = self._load_skill(name)
        self._model, self._names = self._arm(arm or _summary(path).get("arm", ""))
        self._motion: Any = None
        self._chips = self._read_chips(path)
        self.axes = (
            Axis("trial", "", float(len(self._trials) - 1), 1.0, start=float(len(self._trials) - 1)),
            Axis("motion, planned again", "%", 100.0, 1.0, rate=100.0 / PLAY_S),
        )
        self._planned = lru_cache(maxsize=32)(self._plan)

    def _load_skill(self, name: str) -> Any:
        try:
            return skills.load(name)
        except MemristorError as error:
            self._absent["arm"] = self._absent["scene"] = f"the skill of this session is not here: {error}"
            return None

    def _arm(self, name: Any) -> tuple[ArmModel | None, tuple[str, ...]]:
        """Model and joints of the arm that carried the trials out."""
        if self._skill is not None and not self._skill.phases:
            self._absent["arm"] = f"skill {self._skill.name} moves no arm"
            return None, ()
        if not isinstance(name, str) or not name:
            self._absent.setdefault("arm", "no summary.json says which arm it was: give --arm")
            return None, ()
        self._arm_name = name
        arm = arms.load(name)
        return ArmModel(Frames(arm).description(), mounting(arm)), (*arm.joint_names, *arm.gripper_joints)

    def _read_chips(self, path: Path) -> Chips | None:
        """The chips of the last checkpoint, where it is of chips whose cells are known."""
        file = path / "learner.npz"
        if not file.is_file():
            self._absent["chips"] = "no learner.npz in this folder"
            return None
        try:
            arrays = unpack(file, read_file(file), only=(CELLS, IDENTITY))
            if set(arrays) != {CELLS, IDENTITY}:
                self._absent["chips"] = "the accelerator of this session keeps no currents of its cells"
                return None
            identity = unpack_json(arrays[IDENTITY], IDENTITY)
            preset = identity["preset"]
            shape = tuple(int(preset[name]) for name in ("chips", "rows", "columns"))
            maps = np.full(int(np.prod(shape)), np.nan, dtype=np.float32)
            if maps.size > MOST_CELLS or arrays[CELLS].shape != maps.shape or arrays[CELLS].dtype.kind != "f":
                raise ConfigError(f"{arrays[CELLS].size} cells do not fit {shape} chips, rows and columns")
            used = int(identity["n_cells"])
            maps[:used] = arrays[CELLS][:used]
            mark = mark_of(file)
        except (MemristorError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
            self._absent["chips"] = f"learner.npz cannot be read: {error}"
            return None
        known = "at the last checkpoint" if mark is None else f"as saved after trial {max(mark.trials - 1, 0)}"
        return Chips(maps.reshape(shape), known)

    # -- moments ------------------------------------------------------------------------------

    def moment(self, at: tuple[float, ...]) -> Moment:
        """After the trial of number ``at[0]``, at ``at[1]`` per cent of its motion."""
        number = min(max(round(at[0]), 0), len(self._trials) - 1)
        done = self._trials[: number + 1]
        labels = sum(t.feasible and t.phase in LABEL_PHASES for t in done)
        rounds = tuple(_numbers(r) for r in self._rounds if int(r["labels"]) <= labels)
        scene, plan, why = self._planned(number)
        joints: dict[str, float] = {}
        if plan is not None and self._model is not None:
            q, _ = plan[0].sample(plan[0].duration * at[1] / 100.0)
            joints = dict(zip(self._names, (*q.tolist(), *plan[1]), strict=True))
        absent = {**self._absent, **why}
        known = {"learning": bool(rounds), "ledger": bool(rounds), "chips": self._chips is not None}
        trial = done[-1]
        return Moment(
            when=f"trial {number} (of {len(self._trials)}), {trial.phase}: "
            + (f"score {trial.score:.2f}" if trial.feasible else "no motion was found"),
            arm=self._model,
            joints=joints,
            shapes=scene,
            rounds=rounds,
            results=tuple(map(_result, range(len(done)), done)),
            ledger={k: v for k, v in rounds[-1].items() if k in LEDGER} if rounds else None,
            chips=self._chips,
            absent={name: text for name, text in absent.items() if not known.get(name)},
        )

    def _plan(self, number: int) -> tuple[dict[str, tuple[Shape, ...]], Any, dict[str, str]]:
        """Of a trial: shapes by who draws them, trajectory and fingers (None without a plan), and what is absent."""
        skill, trial, absent = self._skill, self._trials[number], {}  # type: ignore[var-annotated]
        if skill is None:
            return {}, None, {}
        context, parameters = np.array(trial.context), np.array(trial.parameters)
        shapes: dict[str, tuple[Shape, ...]] = {}
        try:
            shapes[skill.node_names[0]] = self._scene(trial, context)
        except Exception as error:  # a skill of another package, or a simulator that is not installed
            absent["scene"] = f"the skill's world cannot be made here: {error}"
        if self._model is None:
            return shapes, None, absent
        try:
            if self._motion is None:
                self._motion = skill.motion(self._arm_name, build(skill.motion_options, dict(skill.motion_defaults)))
            plan = self._motion.plan(context, parameters, seed=trial.seed)
            shapes[skill.node_names[1]] = tuple(skill.plan_shapes(context, parameters, plan))
            arm = arms.load(self._arm_name)
            return shapes, (plan.whole(), arm.finger_positions(plan.grip_width)), absent
        except Exception as error:  # the same
            absent["arm"] = f"no motion for this trial: {error}"
            return shapes, None, absent

    def _scene(self, trial: Trial, context: FloatArray) -> tuple[Shape, ...]:
        world = self._skill.world("", None)
        try:
            world.reset(trial.seed, context)
            return tuple(world.shapes())
        finally:
            world.close()

    def label(self, trial: int, words: list[str]) -> None:
        """There is nobody to tell."""
        raise MemristorError("a results folder takes no labels")

    def close(self) -> None:
        """Close the collision world of the motion."""
        if self._motion is not None and hasattr(self._motion, "close"):
            self._motion.close()
        self._motion = None


def _summary(path: Path) -> dict[str, Any]:
    """summary.json; empty where there is none, as of a session that was interrupted."""
    file = path / "summary.json"
    if not file.exists():
        return {}
    try:
        value = json.loads(read_file(file, LARGEST_SUMMARY))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise StoreError(f"{file} is no JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in row.items() if isinstance(v, int | float) and np.isfinite(v)}


def _result(number: int, trial: Trial) -> Result:
    predicted = None if trial.phase == "initial" else trial.predicted_mean
    return Result(number, trial.score, trial.phase, trial.feasible, predicted)
