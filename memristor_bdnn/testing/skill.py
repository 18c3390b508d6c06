"""What every skill must do, as a pytest class to inherit from.

In a plugin's own test file::

    from memristor_bdnn.testing import SkillConformance

    class TestMine(SkillConformance):
        skill = "mine"
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from memristor_bdnn import config, learners, skills
from memristor_bdnn.active import recipes
from memristor_bdnn.errors import Cancelled, ConfigError, PlanningError
from memristor_bdnn.skills import pool
from memristor_bdnn.skills.protocol import Measured, Skill, World
from memristor_bdnn.spaces import Dimension, Space

Array = npt.NDArray[Any]


class SkillConformance:
    """Tests of the skill protocol; a subclass names the skill.

    Attributes:
        skill: registry name of the plugin.
        arm: arm that plans are made for, where the skill plans any.
        world_options: options that keep its world quick.
        motion_options: options that keep its planner quick.
        heavy: modules that loading the skill must not import; an accelerator host has none of them.
    """

    skill: ClassVar[str] = ""
    arm: ClassVar[str] = "panda"
    world_options: ClassVar[Mapping[str, Any]] = {}
    motion_options: ClassVar[Mapping[str, Any]] = {}
    heavy: ClassVar[tuple[str, ...]] = ("pybullet", "torch", "rclpy")

    def make(self) -> Skill:
        """The skill."""
        return skills.load(self.skill)

    def world(self) -> World:
        """A fresh world without an arm."""
        return self.make().world(options=config.build(self.make().world_options, self.world_options))

    def trial(self, seed: int) -> tuple[Array, Array]:
        """A random context (c,) and valid parameters (p,)."""
        rng = np.random.default_rng(seed)
        context = self.make().sample_context(rng)
        return context, self.make().sample_candidates(context, 1, rng)[0]

    def run(self, world: World, seed: int) -> Measured:
        """One trial of a seed: its own context and parameters, and the world's scene of that seed."""
        context, parameters = self.trial(seed)
        world.reset(seed, context)
        return world.execute(parameters)

    def arms(self) -> tuple[str, ...]:
        """No arm, and one where the skill plans for it."""
        return ("", self.arm) if self.make().phases else ("",)

    # -- what it is ---------------------------------------------------------------------------

    def test_is_listed_and_has_its_name(self) -> None:
        """The registry finds it by the name that its class has."""
        description = skills.available().get(self.skill, "not listed")
        assert not description.startswith("not "), description
        assert self.make().name == self.skill

    def test_loading_it_needs_no_simulator(self) -> None:
        """Spaces, candidates and score are pure maths: nothing heavy is imported before a world is made."""
        code = (
            "import sys; from memristor_bdnn import skills; "
            f"skills.load({self.skill!r}); print([m for m in {self.heavy!r} if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().splitlines()[-1] == "[]", f"loading the skill imports {done.stdout.strip()}"

    def test_spaces_are_described(self) -> None:
        """Every dimension has a name of its own and a range; what people choose or type in has a description."""
        skill = self.make()
        spaces: tuple[Space, ...] = (skill.context_space, skill.parameter_space, skill.measure_space)
        for space in spaces:
            assert isinstance(space, Space)
            for dimension in space.dimensions:
                assert isinstance(dimension, Dimension)
                assert dimension.description, f"{dimension.name} has no description"
        both = (*skill.parameter_space.names, *skill.context_space.names)
        assert len(set(both)) == len(both), f"a parameter and a context share a name: {both}"
        assert len(set(skill.feature_names)) == len(skill.feature_names), "a feature is named twice"

    def test_options_are_dataclasses_with_defaults(self) -> None:
        """Nodes declare the fields as parameters: each set can be made with no options at all."""
        skill = self.make()
        for options in (skill.world_options, skill.motion_options, skill.physical_options):
            assert dataclasses.is_dataclass(options)
            options()
        config.build(skill.motion_options, skill.motion_defaults)
        fields = {field.name for field in dataclasses.fields(skill.physical_options)}
        assert set(skill.arguments) <= fields, f"arguments {skill.arguments} are no fields of physical_options"
        world, planner = skill.node_names
        assert world.isidentifier() and planner.isidentifier() and world != planner

    def test_recipes_fit_the_learners_they_name(self) -> None:
        """Every recipe's options are accepted; the default recipe exists."""
        skill = self.make()
        assert not skill.default_recipe or skill.default_recipe in skill.recipes
        for name, by_learner in skill.recipes.items():
            for learner in by_learner:
                try:
                    options = recipes.options(skill, learner, name)
                    config.build(learners.learner_class(learner).config_type, options)
                except ConfigError as error:
                    raise AssertionError(f"recipe {name} for {learner}: {error}") from error

    # -- pure maths ---------------------------------------------------------------------------

    def test_contexts_lie_in_their_space(self) -> None:
        """Random contexts are checked values, the same for the same generator, and not all alike."""
        skill = self.make()
        drawn = [skill.sample_context(np.random.default_rng(seed)) for seed in range(20)]
        for context in drawn:
            skill.context_space.check(context)
        np.testing.assert_array_equal(drawn[3], skill.sample_context(np.random.default_rng(3)))
        assert any((drawn[0] != other).any() for other in drawn[1:])

    def test_candidates_are_valid_and_in_their_space(self) -> None:
        """As many as asked for, inside, valid, the same for the same generator."""
        skill = self.make()
        for arm in self.arms():
            for seed in range(4):
                context = skill.sample_context(np.random.default_rng(seed))
                for n in (1, 30):
                    rows = skill.sample_candidates(context, n, np.random.default_rng(seed), arm)
                    assert rows.shape == (n, len(skill.parameter_space))
                    skill.parameter_space.check_rows(rows)
                    ok = np.asarray(skill.valid(context, rows, arm))
                    assert ok.shape == (n,) and ok.dtype == bool
                    assert ok.all(), "sample_candidates gave rows that valid() refuses"
                    again = skill.sample_candidates(context, n, np.random.default_rng(seed), arm)
                    np.testing.assert_array_equal(rows, again)

    def test_inputs_of_the_network_are_on_its_scale(self) -> None:
        """One row of finite features in [-1, 1] for each candidate, whatever rows stand beside it."""
        skill = self.make()
        context = skill.sample_context(np.random.default_rng(0))
        rows = skill.sample_candidates(context, 25, np.random.default_rng(1))
        kept = context.copy(), rows.copy()
        x = skill.encode(context, rows)
        alike = np.asarray(skill.likeness(x))
        assert alike.ndim == 2 and len(alike) == len(x) and np.isfinite(alike).all(), "likeness is no (n, k) of numbers"
        assert x.shape == (25, len(skill.feature_names))
        assert np.isfinite(x).all()
        assert (np.abs(x) <= 1 + 1e-6).all(), f"features reach {np.abs(x).max():.4g}"
        assert (x.std(axis=0) > 0).any(), "all candidates look the same to the network"
        for k in (0, 24):
            np.testing.assert_allclose(skill.encode(context, rows[k : k + 1])[0], x[k], atol=1e-12)
        np.testing.assert_array_equal(kept[0], context)
        np.testing.assert_array_equal(kept[1], rows)

    def test_wrong_values_are_refused_by_name(self) -> None:
        """Outside its range, not finite, or too few: the error names the dimension."""
        skill = self.make()
        context, parameters = self.trial(0)
        for space, index_of in ((skill.context_space, 0), (skill.parameter_space, 1)):
            for k, dimension in enumerate(space.dimensions):
                for value in (dimension.high + 0.1 * (dimension.high - dimension.low), np.nan):
                    given = [context.copy(), parameters.copy()]
                    given[index_of][k] = value
                    with pytest.raises(ConfigError, match=dimension.name):
                        skill.encode(given[0], given[1][None])
        with pytest.raises(ConfigError):
            skill.encode(context[:-1], parameters[None])
        with pytest.raises(ConfigError):
            skill.encode(context, parameters[None, :-1])

    def test_the_first_measure_decides_the_score(self) -> None:
        """In [-1, 1], never against the first measure, and also where nobody measured the others."""
        skill = self.make()
        first = skill.measure_space.dimensions[0]
        rows = np.full((101, len(skill.measure_space)), np.nan)
        rows[:, 0] = np.linspace(first.low, first.high, len(rows))
        scores = np.array([skill.score(row) for row in rows])
        assert ((scores >= -1) & (scores <= 1)).all(), f"scores reach from {scores.min()} to {scores.max()}"
        steps = np.diff(scores)
        assert (steps >= -1e-12).all() or (steps <= 1e-12).all(), f"the score goes up and down with {first.name}"
        assert scores.max() > 0 >= scores.min(), "no value of the first measure is a success, or none a failure"
        fractions = np.array([skill.fraction(row) for row in rows])
        assert ((fractions >= 0) & (fractions <= 1)).all(), f"fractions reach {fractions.min()} to {fractions.max()}"

    def test_a_baseline_is_valid_parameters(self) -> None:
        """What a person would choose, where somebody designed it, can be tried."""
        skill = self.make()
        context = skill.sample_context(np.random.default_rng(2))
        candidates = skill.sample_candidates(context, 20, np.random.default_rng(3))
        chosen = skill.baseline(context, candidates)
        if chosen is not None:
            skill.parameter_space.check(chosen)

    def test_a_physical_set_up_is_described_or_refused(self) -> None:
        """The context that stands in a lab, and what a scale tells: values of the spaces, or a ConfigError."""
        skill = self.make()
        options = skill.physical_options()
        try:
            skill.context_space.check(skill.physical_context(options))
        except ConfigError as error:
            assert skill.name in str(error), error
        try:
            measures = skill.weighed(10.0, 20.0, options)
        except ConfigError as error:
            assert skill.name in str(error), error
            return
        self._check_measures(measures)

    # -- the world ----------------------------------------------------------------------------

    def test_a_given_context_is_honoured(self) -> None:
        """A context given to reset() replaces what would be drawn; a drawn one is the seed's."""
        skill, world = self.make(), self.world()
        try:
            context, _ = self.trial(4)
            span = skill.context_space.high - skill.context_space.low
            assert (np.abs(world.reset(1, context) - context) <= 1e-6 * span).all()
            drawn = world.reset(2)
            skill.context_space.check(drawn)
            np.testing.assert_array_equal(drawn, world.reset(2))
        finally:
            world.close()

    def test_trials_measure_what_the_spaces_say(self) -> None:
        """Measures lie in their space, the first is there, and a trial file can hold the details."""
        skill, world = self.make(), self.world()
        try:
            for seed in (1, 2):
                measured = self.run(world, seed)
                self._check_measures(measured.measures)
                assert measured.source == "simulation"
                json.dumps(dict(measured.details), allow_nan=True)
                assert -1 <= skill.score(measured.measures) <= 1
        finally:
            world.close()

    def test_same_seed_same_trial_whatever_ran_before(self) -> None:
        """A trial can be simulated again alone, in another world, and measures the same bit for bit."""
        one, other = self.world(), self.world()
        try:
            first, second = self.run(one, 1), self.run(one, 2)
            np.testing.assert_array_equal(self.run(other, 2).measures, second.measures)
            np.testing.assert_array_equal(self.run(one, 1).measures, first.measures)
        finally:
            one.close()
            other.close()

    def test_a_world_refuses_wrong_values_by_name(self) -> None:
        """Context and parameters outside their ranges, and a trial before any reset."""
        skill, world = self.make(), self.world()
        try:
            context, parameters = self.trial(0)
            with pytest.raises(ConfigError):
                world.execute(parameters)
            outside = context.copy()
            dimension = skill.context_space.dimensions[0]
            outside[0] = dimension.high + 0.1 * (dimension.high - dimension.low)
            with pytest.raises(ConfigError, match=dimension.name):
                world.reset(0, outside)
            world.reset(0, context)
            dimension = skill.parameter_space.dimensions[0]
            wrong = parameters.copy()
            wrong[0] = dimension.low - 0.1 * (dimension.high - dimension.low)
            with pytest.raises(ConfigError, match=dimension.name):
                world.execute(wrong)
        finally:
            world.close()

    def test_progress_and_cancellation(self) -> None:
        """Progress is a phase and a share; a cancelled trial ends, and the next one is as if it had not been."""
        world = self.world()
        try:
            before = self.run(world, 1).measures
            seen: list[tuple[str, float]] = []
            context, parameters = self.trial(2)
            world.reset(2, context)
            try:
                world.execute(parameters, None, lambda phase, share: seen.append((phase, share)), lambda: True)
            except Cancelled:
                pass  # a trial that is over at once may also simply finish
            assert all(isinstance(phase, str) and 0 <= share <= 1 for phase, share in seen)
            np.testing.assert_array_equal(self.run(world, 1).measures, before)
        finally:
            world.close()

    def test_closing_twice_is_harmless(self) -> None:
        """Closing again does nothing, before and after trials."""
        world = self.world()
        world.close()
        world.close()

    def test_pool_rows_come_back_as_they_were(self, tmp_path: Path) -> None:
        """Simulated trials are written, exported and read again without loss, and without pickle."""
        skill, world = self.make(), self.world()
        try:
            rows = [pool.simulate(skill, world, seed) for seed in (11, 12)]
        finally:
            world.close()
        with pool.PoolFile(tmp_path / "pool", skill, {}) as file:
            file.append(rows)
            pool.export(file, tmp_path / "pool.npz", "test")
        for path in (tmp_path / "pool", tmp_path / "pool.npz"):
            found = pool.load(path, skill)
            assert found.x.shape == (2, len(skill.feature_names))
            for k, row in enumerate(rows):
                assert found.score[k] == skill.score(row["measures"].astype(float))

    # -- motion -------------------------------------------------------------------------------

    def test_motion_is_planned_in_the_phases_declared(self) -> None:
        """A plan has the skill's phases, begins where the arm is, and stays within its limits; or none is made."""
        skill = self.make()
        if not skill.phases:
            assert skill.motion(self.arm) is None, "a skill that plans motion declares its phases"
            return
        from memristor_bdnn.motion import arms

        arm = arms.load(self.arm)
        options = config.build(skill.motion_options, {**skill.motion_defaults, **self.motion_options})
        motion = skill.motion(self.arm, options)
        assert motion is not None
        try:
            for seed in range(10):
                rng = np.random.default_rng(seed)
                context = skill.sample_context(rng)
                parameters = skill.sample_candidates(context, 1, rng, self.arm)[0]
                try:
                    plan = motion.plan(context, parameters, seed=seed)
                except PlanningError as error:
                    assert error.reason and str(error)
                    continue
                assert plan.phases == skill.phases
                np.testing.assert_allclose(plan.trajectories[0].start, arm.home, atol=1e-6)
                assert arm.within_limits(plan.whole().positions, margin=-1e-6).all()
                again = motion.plan(context, parameters, seed=seed)
                np.testing.assert_array_equal(again.whole().positions, plan.whole().positions)
                skill.plan_shapes(context, parameters, plan)
                return
            raise AssertionError("none of 10 random trials could be planned")
        finally:
            motion.close()
            motion.close()

    def _check_measures(self, measures: Array) -> None:
        space = self.make().measure_space
        measures = np.asarray(measures)
        assert measures.shape == (len(space),)
        assert np.isfinite(measures[0]), f"{space.names[0]} was not measured"
        for dimension, value in zip(space.dimensions, measures, strict=True):
            slack = 1e-6 * (dimension.high - dimension.low)
            inside = dimension.low - slack <= value <= dimension.high + slack
            assert np.isnan(value) or inside, f"{dimension.text()} measured {value}"
