"""Options of the mSGLD learner, with the published value of each as its default."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from memristor_bdnn.config import option
from memristor_bdnn.errors import ConfigError
from memristor_bdnn.learners.base import LearnerConfig
from memristor_bdnn.network.exsitu import ExSituConfig, following
from memristor_bdnn.network.window import weight_offset_ua, weight_scale_ua

if TYPE_CHECKING:
    from memristor_bdnn.device.presets import DevicePreset


@dataclass(frozen=True)
class MSGLDConfig(LearnerConfig):
    """Options of in situ Bayesian learning; P = paper, C = authors' code, D = measured by us."""

    of_two = ("label_noise", "deployment_share", "reference_rows")

    hidden: tuple[int, ...] = option((50, 50), "units of the hidden layers", low=1, high=10_000, source="P")
    chains: int = option(
        1,
        "independent networks side by side on the chips; their reads are samples of one posterior",
        low=1,
        high=1000,
        source="D",
    )
    devices_per_weight: int = option(3, "memristors whose currents add up to one weight", low=1, high=16, source="P")
    offset_ua: float | None = option(
        None,
        "sum of a weight's currents that means weight 0; empty: from the preset's window (6.66 on the published one)",
        unit="uA",
        source="C, D",
    )
    scale_ua: float | None = option(
        None,
        "current per unit of weight; empty: from the preset's window (1.1 on the published one) or largest_weight",
        low=1e-9,
        high=1e6,
        unit="uA",
        source="C",
    )
    largest_weight: float | None = option(
        None,
        "weight that a window's edge stands for, where scale_ua is empty; empty: 4.9 as published",
        low=1e-3,
        high=1e3,
        source="D",
    )
    calibrate_offset: bool = option(
        True,
        "after deployment shift the offset by the measured mean write error, as was done for the chips",
        source="D",
    )

    reads: int = option(10, "reads of all cells per step (M of the loss)", low=1, high=1000, source="C")
    evaluations: int = option(
        5, "gradient evaluations that vote on the marks; they share the step's reads", low=1, high=100, source="P"
    )
    mark_votes: float = option(0.5, "share of evaluations that must mark a weight", low=0.0, high=1.0, source="C")
    mark_fraction: float = option(
        0.125 * 0.51, "fraction p of the weights marked at first", low=0.0, high=1.0, source="C"
    )
    mark_decay: float = option(
        0.9, "factor on p at every transition (1: no smooth transition)", low=0.0, high=1.0, source="C"
    )
    mark_decay_every: int = option(20, "epochs between transitions of p", low=1, high=10_000, source="C")
    restart_marks: bool = option(
        True, "start p afresh whenever labels were added; False decays over the whole run", source="D"
    )
    rms_decay: float = option(0.99, "decay of the centred RMS average of the gradient", low=0.0, high=1.0, source="C")
    update: str = option(
        "sign",
        "what a marked weight gets: one pulse (sign), or pulses in proportion to its gradient (magnitude); or "
        "plain SGD on all weights without marks (sgd)",
        choices=("sign", "magnitude", "sgd"),
        source="P",
    )
    sgd_rate: float = option(0.03, "plain SGD: pulses per unit of gradient", low=0.0, high=1e3, source="assumption")
    max_pulses: int = option(
        5, "largest number of pulses per device and step (magnitude, sgd)", low=1, high=100, source="assumption"
    )

    kl_layers: str = option(
        "last", "layers whose KL to the prior is in the loss", choices=("none", "last", "all"), source="P"
    )
    beta: float = option(1.0, "weight of the KL term", low=0.0, high=1e3, source="C")
    prior_sd: float = option(0.19, "SD of the Gaussian prior on a weight", low=1e-3, high=1e3, source="C")
    prior_mean: str = option(
        "zero",
        "centre of that prior in situ: zero, or the weights that were deployed (what fit() learned is kept, the labels "
        "correct it)",
        choices=("zero", "deployed"),
        source="D",
    )

    max_epochs: int = option(110, "in situ epochs per call of learn", low=1, high=100_000, source="P")
    stop_accuracy: float = option(
        0.98, "training accuracy that ends in situ learning; above 1 never", low=0.0, high=1.1, source="P"
    )
    stop_patience: int = option(3, "epochs in a row at stop_accuracy", low=1, high=1000, source="P (several)")

    label_noise: float = option(
        0.0,
        "scale of the logistic noise that a repeat of a trial adds to its score 2 y - 1; targets are the chance that "
        "the repeat succeeds, predictions are carried from their mean to the share of successes; 0 learns bits",
        low=0.0,
        high=10.0,
        source="D",
    )
    memory_samples: int = option(
        0,
        "posterior samples kept from the in situ trajectory; they join the live reads in predictions",
        low=0,
        high=10_000,
        source="D",
    )
    memory_every: int = option(1, "epochs between the samples kept", low=1, high=1000, source="D")
    memory_skip: int = option(
        0, "epochs of each learn() before the first sample is kept", low=0, high=10_000, source="D"
    )
    replay_rows: int = option(0, "rows of fit() that go on being learned in situ", low=0, high=100_000, source="D")
    replay_weight: float = option(0.1, "weight of a replayed row against a new one", low=0.0, high=10.0, source="D")

    deployment_share: float = option(
        0.0,
        "share of successes among the candidates that predictions are for; 0 takes that of the labels of fit() "
        "(prior-probability shift: Saerens et al. 2002)",
        low=0.0,
        high=0.99,
        source="D",
    )

    refit_growth: float | None = option(
        None,
        "train ex situ anew and deploy when the labels are so many times those of the last time; empty: never",
        low=1.01,
        high=100.0,
        source="D",
    )
    reference_rows: int | None = option(
        None,
        "candidates kept as a fair sample, on which the share of successes is estimated when labels were asked for; "
        "empty: none, the share of the labels of fit() counts",
        low=1,
        high=100_000,
        source="D",
    )

    ex_situ: ExSituConfig = field(default_factory=ExSituConfig)

    def __post_init__(self) -> None:
        """Validate fields, and those that depend on each other."""
        super().__post_init__()
        if self.reads % self.evaluations:
            raise ConfigError(
                f"MSGLDConfig.reads = {self.reads}: must be a multiple of evaluations = {self.evaluations}"
            )
        if not self.hidden:
            raise ConfigError("MSGLDConfig.hidden = (): at least one hidden layer is needed")

    def following(self, preset: DevicePreset) -> MSGLDConfig:
        """The options with every current that they leave to the device taken from its preset."""
        devices, scale = self.devices_per_weight, self.scale_ua
        return replace(
            self,
            offset_ua=weight_offset_ua(preset, devices) if self.offset_ua is None else self.offset_ua,
            scale_ua=weight_scale_ua(preset, devices, self.largest_weight) if scale is None else scale,
            largest_weight=None,
            ex_situ=following(self.ex_situ, preset),
        )
