"""The contenders of the active-learning benchmark: mSGLD recipes and software baselines, by name."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn import accelerator, skills
from memristor_bdnn.active import recipes
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.protocol import Prediction
from memristor_bdnn.network.bayesian import BayesianNetwork, layer_shapes
from memristor_bdnn.network.exsitu import Adam
from memristor_bdnn.network.features import feature_map
from memristor_bdnn.skills import Skill

FloatArray = npt.NDArray[np.floating[Any]]
SAMPLES = 20


class LearnerMethod:
    """A learner by a skill's recipe, on freshly made chips.

    Args:
        skill: whose recipe and inputs.
        learner: registry name.
        recipe: name; empty for the skill's default.
        seed: of chips and learner.
        prior: simulated inputs and scores to fit ex situ first; the labels are then learned in situ only.
        chips: accelerator by name.
        changes: options that differ from the recipe.
    """

    def __init__(
        self,
        skill: Skill,
        learner: str,
        recipe: str,
        seed: int,
        prior: tuple[FloatArray, FloatArray] | None = None,
        chips: str = "simulated",
        **changes: Any,
    ) -> None:
        self.accelerator = accelerator.create(chips, seed=seed)
        self.learner: Any = recipes.make(skill, learner, self.accelerator, recipe, changes, seed)
        self.prior = prior
        # the published 20 reads; half of them where the kept trajectory speaks too
        remembers = getattr(getattr(self.learner, "config", None), "memory_samples", 0)
        self.samples = SAMPLES // 2 if remembers else SAMPLES

    def consider(self, x: FloatArray) -> None:
        """Show a learner that has use for them the inputs that it will be asked about."""
        if hasattr(self.learner, "consider"):
            self.learner.consider(x)

    def prepare(self) -> bool:
        """Ex situ on the prior's rows and deploy, where there is a prior: no label has been seen then."""
        if self.prior is None:
            return False
        rows, scores = self.prior
        self.learner.fit(rows, (scores + 1.0) / 2.0)
        return True

    def fit(self, x: FloatArray, score: FloatArray) -> None:
        """In situ on the labels, after :meth:`prepare`; without a prior ex situ on them first, and deployed."""
        if self.prior is None:
            self.learner.fit(x, (score + 1.0) / 2.0)
        self.learn(x, score)

    def learn(self, x: FloatArray, score: FloatArray) -> None:
        """In situ on all labels."""
        self.learner.learn(x, (score + 1.0) / 2.0)

    def predict(self, x: FloatArray) -> Prediction:
        """From live reads and the kept trajectory."""
        return self.learner.predict(x, self.samples)

    def ask(self, x: FloatArray) -> Prediction:
        """What the next question is chosen by."""
        return self.predict(x)

    def shortlist(self, x: FloatArray, value: Any) -> tuple[npt.NDArray[np.intp], Prediction]:
        """Candidates that may be the best ones, and what they are chosen by."""
        if hasattr(self.learner, "shortlist"):
            return self.learner.shortlist(x, self.samples, value)
        return np.arange(len(x)), self.ask(x)

    def costs(self) -> dict[str, float]:
        """Programming pulses and device energy since the chips were made."""
        ledger = self.accelerator.ledger
        return {
            "pulses": float(ledger.set_pulses + ledger.reset_pulses),
            "energy_j": ledger.device_energy_j,
            "system_energy_j": ledger.system_energy_j,
        }


class MemristorMethod(LearnerMethod):
    """A recipe of mSGLD for pouring; the other arguments are those of :class:`LearnerMethod`."""

    def __init__(
        self, recipe: str, seed: int, prior: tuple[FloatArray, FloatArray] | None = None, **changes: Any
    ) -> None:
        super().__init__(skills.load("pouring"), "msgld", recipe, seed, prior, **changes)


class _Software(abc.ABC):
    """Standardised inputs (or features) and no costs."""

    def __init__(self, seed: int, features: str = "") -> None:
        self.rng = np.random.default_rng([seed, 7])
        self.seed = seed
        self.features = feature_map(features)
        self._kept: tuple[FloatArray, FloatArray] | None = None

    def prepare(self) -> bool:
        return False

    def fit(self, x: FloatArray, score: FloatArray) -> None:
        z = self.features(x)
        self.mean, self.sd = z.mean(axis=0), z.std(axis=0) + 1e-9
        self.learn(x, score)

    def scaled(self, x: FloatArray) -> FloatArray:
        if self._kept is None or self._kept[0] is not x:
            self._kept = (x, (self.features(x) - self.mean) / self.sd)
        return self._kept[1]

    @abc.abstractmethod
    def learn(self, x: FloatArray, score: FloatArray) -> None:
        """Take in all labels so far."""

    @abc.abstractmethod
    def predict(self, x: FloatArray) -> Prediction:
        """Success probability with its spread."""

    def ask(self, x: FloatArray) -> Prediction:
        return self.predict(x)

    def costs(self) -> dict[str, float]:
        return {}


class Refitted(_Software):
    """A model refitted from scratch when it is asked, so that passive runs cost nothing between measurements."""

    def learn(self, x: FloatArray, score: FloatArray) -> None:
        """Keep the labels until somebody asks."""
        self.labels: tuple[FloatArray, FloatArray] | None = (np.array(x), np.array(score))

    @abc.abstractmethod
    def refit(self, x: FloatArray, score: FloatArray) -> None:
        """Fit from scratch."""

    def predict(self, x: FloatArray) -> Prediction:
        """Refit where labels came, then predict."""
        if self.labels is not None:
            self.refit(*self.labels)
            self.labels = None
        return self.predicted(x)

    @abc.abstractmethod
    def predicted(self, x: FloatArray) -> Prediction:
        """Predict with the fitted model."""


class GaussianProcess(Refitted):
    """Matern 5/2 regression of the score, one length scale per input, refitted every 16 labels."""

    model: Any = None

    def refit(self, x: FloatArray, score: FloatArray) -> None:
        """Fit; hyperparameters by marginal likelihood at every 16th label."""
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        z = self.scaled(x)
        fresh = len(x) % 16 == 0 or self.model is None
        kernel = (
            ConstantKernel(1.0) * Matern(2.0 * np.ones(z.shape[1]), (0.1, 100.0), nu=2.5)
            + WhiteKernel(0.2, (1e-3, 10.0))
            if fresh
            else self.model.kernel_
        )
        self.model = GaussianProcessRegressor(
            kernel, normalize_y=True, optimizer="fmin_l_bfgs_b" if fresh else None, random_state=self.seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.fit(z, score)

    def predicted(self, x: FloatArray) -> Prediction:
        """The score's posterior on the scale p = (score + 1) / 2, so that 0.5 is the decision boundary."""
        mean, sd = self.model.predict(self.scaled(x), return_std=True)
        p = np.clip((mean + 1.0) / 2.0, 0.0, 1.0)
        return Prediction(p, sd / 2.0, np.stack([np.clip(p - sd / 2, 0, 1), np.clip(p + sd / 2, 0, 1)]))


class RandomForest(Refitted):
    """Fifty trees on bits; the spread is over the trees."""

    def refit(self, x: FloatArray, score: FloatArray) -> None:
        """Fit on bits."""
        from sklearn.ensemble import RandomForestClassifier

        self.model = RandomForestClassifier(50, min_samples_leaf=2, random_state=self.seed)
        self.model.fit(self.scaled(x), score > 0)

    def predicted(self, x: FloatArray) -> Prediction:
        """Votes of the trees."""
        if len(self.model.classes_) == 1:
            votes = np.full((2, len(x)), float(self.model.classes_[0]))
        else:
            z = self.scaled(x).astype(np.float32)
            votes = np.stack([t.predict_proba(z)[:, 1] for t in self.model.estimators_])
        return Prediction(votes.mean(axis=0), votes.std(axis=0), votes)


class _Networks(_Software):
    """Several 50-50 networks trained together by Adam with weight decay; 300 epochs first, 30 per label."""

    members = 5
    decay = 1e-2

    def fit(self, x: FloatArray, score: FloatArray) -> None:
        width = self.features(x[:1]).shape[1]
        self.network = BayesianNetwork(layer_shapes(width, (50, 50), devices=1), 0.0, 1.0)
        sizes = [(i, o) for i, o, _ in self.network.shapes]
        self.flat: FloatArray = np.concatenate(
            [self.rng.normal(0, 2.0 / np.sqrt(i), (self.members, i * o)) for i, o in sizes], axis=1
        ).astype(np.float32)
        self.adam = Adam(self.flat.size, 0.01)
        self.epochs = 300
        super().fit(x, score)
        self.epochs = 30

    def learn(self, x: FloatArray, score: FloatArray) -> None:
        z, y = self.scaled(np.array(x)), (score > 0).astype(np.float64)
        for _ in range(self.epochs):
            flat, mask = self.dropped(self.flat)
            gradient = self.network.gradient(z, y, flat, groups=self.members).gradient * mask
            gradient = gradient / len(x) + self.decay / len(x) * self.flat
            self.flat = self.flat + self.adam.step(gradient.ravel()).reshape(self.flat.shape)

    def dropped(self, flat: FloatArray) -> tuple[FloatArray, FloatArray | float]:
        return flat, 1.0


class DeepEnsemble(_Networks):
    """Five networks from different starts; the spread is over the members."""

    def predict(self, x: FloatArray) -> Prediction:
        """One sample per member."""
        p = self.network.forward_flat(self.scaled(x), self.flat)
        return Prediction(p.mean(axis=0), p.std(axis=0), p)


class MCDropout(_Networks):
    """One network, hidden units dropped with probability 0.2 in training and in 20 predictions."""

    members = 1
    rate = 0.2

    def learn(self, x: FloatArray, score: FloatArray) -> None:
        """Adam with a fresh dropout mask every epoch."""
        super().learn(x, score)

    def dropped(self, flat: FloatArray) -> tuple[FloatArray, FloatArray | float]:
        """Weights with the rows of dropped units taken out, and the mask."""
        masks = []
        for layer, (i, o, _) in enumerate(self.network.shapes):
            keep = np.ones((len(flat), i, 1), dtype=np.float32)
            if layer:
                keep[:, :-1] = (self.rng.random((len(flat), i - 1, 1)) >= self.rate) / (1 - self.rate)
            masks.append(np.broadcast_to(keep, (len(flat), i, o)).reshape(len(flat), -1))
        mask = np.concatenate(masks, axis=1)
        return flat * mask, mask

    def predict(self, x: FloatArray) -> Prediction:
        """Twenty masks."""
        flat, _ = self.dropped(np.repeat(self.flat, SAMPLES, axis=0))
        p = self.network.forward_flat(self.scaled(x), flat)
        return Prediction(p.mean(axis=0), p.std(axis=0), p)


class Guided:
    """One contender learns and answers, another one asks: tells whether questions or learning limit.

    Args:
        learner: whose predictions and costs count.
        asker: learns the same labels; its predictions choose the questions.
    """

    def __init__(self, learner: Any, asker: Any) -> None:
        self.learner, self.asker = learner, asker
        self.predict, self.ask, self.costs = learner.predict, asker.predict, learner.costs

    def prepare(self) -> bool:
        """Neither has a prior."""
        return False

    def fit(self, x: FloatArray, score: FloatArray) -> None:
        """Both learn the first labels."""
        self.learner.fit(x, score)
        self.asker.fit(x, score)

    def learn(self, x: FloatArray, score: FloatArray) -> None:
        """Both learn all labels."""
        self.learner.learn(x, score)
        self.asker.learn(x, score)


BASELINES: dict[str, Callable[..., Any]] = {
    "gp": GaussianProcess,
    "mc_dropout": MCDropout,
    "deep_ensemble": DeepEnsemble,
    "random_forest": RandomForest,
}
METHODS: dict[str, str] = {
    "msgld": "our recipe on lip features and labels with noise (with --prior: its prior form)",
    "msgld_asked": "as msgld, trained anew as labels grow and its share of successes estimated on the pool's inputs",
    "msgld_paper": "the published method on the raw inputs",
    "eapu": "error-aware probabilistic update, raw inputs",
    "mcmc": "Metropolis-Hastings on rows, raw inputs and their squares",
    "eapu_lip": "as eapu, on the lip features",
    "mcmc_lip": "as mcmc, on the lip features and their squares",
    "gp": "Gaussian process on the score, raw inputs",
    "mc_dropout": "Monte Carlo dropout, raw inputs",
    "deep_ensemble": "five networks, raw inputs",
    "random_forest": "50 trees, raw inputs",
    "gp_lip": "as gp, on the lip features",
    "mc_dropout_lip": "as mc_dropout, on the lip features",
    "deep_ensemble_lip": "as deep_ensemble, on the lip features",
    "random_forest_lip": "as random_forest, on the lip features",
    "msgld_asked_by_gp": "msgld, learning what gp_lip asks for",
    "gp_asked_by_msgld": "gp_lip, learning what msgld asks for",
}
GUIDED = {"msgld_asked_by_gp": ("msgld", "gp_lip"), "gp_asked_by_msgld": ("gp_lip", "msgld")}
LIP_CONTENDERS = ("msgld", "msgld_asked", *GUIDED, *(name for name in METHODS if name.endswith("_lip")))
"""Those on lip features: they get the bowl sizes that --sizes says. All others see the inputs as recorded."""
NO_SAMPLES = ("gp", "gp_lip", "msgld_asked_by_gp")
"""Contenders whose questions come from a mean and a standard deviation; what they give as samples are two quantiles."""
NEED_SKLEARN = ("gp", "random_forest", "gp_lip", "random_forest_lip", *GUIDED)


def recipe_name(method: str, prior: bool) -> str:
    """The recipe behind an mSGLD contender; "" for software."""
    if method == "msgld" or method in GUIDED:
        return "pouring_prior" if prior else "pouring"
    return {"msgld_paper": "paper", "msgld_asked": "pouring_asked"}.get(method, "")


def make(name: str, seed: int, prior: tuple[FloatArray, FloatArray] | None = None, chips: str = "simulated") -> Any:
    """A fresh contender, learners on an accelerator by name; raises ConfigError listing the names."""
    from memristor_bdnn.skills.pouring.recipes import LIP

    if name not in METHODS and name not in plugins():
        raise ConfigError(f"--learner {name}: choose from {', '.join([*METHODS, *plugins()])}")
    if name in GUIDED:
        return Guided(*(make(part, seed, None, chips) for part in GUIDED[name]))
    recipe = recipe_name(name, prior is not None)
    if recipe:
        return MemristorMethod(recipe, seed, prior, chips=chips)
    base, lip = (name[:-4], LIP) if name.endswith("_lip") and name in METHODS else (name, "")
    if base not in BASELINES:
        changes: dict[str, Any] = {"features": lip} if lip else {}
        return LearnerMethod(skills.load("pouring"), base, "", seed, None, chips, **changes)
    return BASELINES[base](seed, lip)


def plugins() -> list[str]:
    """Registered learners that are no contender of their own here: other packages' plugins."""
    from memristor_bdnn import learners

    return [name for name in learners.names() if name not in METHODS]
