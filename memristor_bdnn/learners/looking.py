"""What a learner says about its devices: deployments that failed, training that taught nothing, unfit presets."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from memristor_bdnn.accelerator.protocol import Accelerator, WriteVerifyReport
from memristor_bdnn.device.concerns import concerns
from memristor_bdnn.errors import AcceleratorError, ConfigError, DeviceWarning
from memristor_bdnn.learners.protocol import LearnReport
from memristor_bdnn.network.bayesian import decided

FEWEST_CELLS = 20
FEWEST_LABELS = 20
MOST_MISSED = 0.25
"""Share of the cells out of tolerance that is said, if they are off by more than :data:`SMALL`."""
SMALL = 0.05
"""Write error, as a share of the window's span, that a network does not feel; during training twice as much."""
UNRELATED = 0.1
"""Correlation of reads with targets below which nothing was written at all."""


class Looking:
    """Collects what is to be said in the next report; every kind of warning is also given once by Python's warnings.

    Args:
        accelerator: whose preset is looked at, once, before the first report.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._looked = False
        self._given: set[str] = set()
        self._found: dict[str, str] = {}
        self._cells = self._within = 0
        self._square_ua2 = 0.0
        self._related: list[float] = []

    def say(self, kind: str, text: str) -> None:
        """Say something in the next report; a later text of the same kind replaces it."""
        self._found[kind] = text

    def deployed(self, written: WriteVerifyReport) -> None:
        """Look at the deployment of a whole network.

        Raises:
            AcceleratorError: nothing was written: no cell within tolerance, or reads that know nothing of the targets.
        """
        if written.cells < FEWEST_CELLS:
            return
        known, text = written.correlation, self._figures(written)
        unrelated = np.isfinite(known) and known < UNRELATED and self._error(written) > SMALL
        if unrelated or (written.within_tolerance == 0 and not known > 0.5):
            said = f", correlation of reads with targets {known:.2f}" if np.isfinite(known) else ""
            raise AcceleratorError(
                f"nothing could be written: {text}{said}. Stuck cells, a window that write-verify does not reach "
                f"(write_verify.reach_ua, max_pulses, step_ua of preset {self.accelerator.preset.name}), or a wrong "
                f"preset; try memristor-bdnn device check{self._hints()}"
            )
        missed = 1 - written.within_tolerance / written.cells
        if written.within_tolerance == 0 or (missed > MOST_MISSED and self._error(written) > SMALL):
            self.say("write-verify", f"deployment failed for many cells: {text}")

    def landed(self, read_ua: npt.NDArray[Any], target_ua: float, span_ua: float) -> None:
        """Look at a first row of cells (n,), all written to one target, by reads of them; no report tells of it.

        Raises:
            AcceleratorError: hardly any cell is near the target.
        """
        near = int((np.abs(read_ua - target_ua) < 0.3 * span_ua).sum())
        if read_ua.size < FEWEST_CELLS or near >= 0.9 * read_ua.size:
            return
        text = (
            f"{near} of {read_ua.size} cells read within {0.3 * span_ua:.3g} uA of {target_ua:.3g} uA, to which they "
            f"were written (median {float(np.median(read_ua)):.3g} uA)"
        )
        if near < 0.05 * read_ua.size:
            raise AcceleratorError(
                f"nothing could be written: {text}. Stuck cells, or a window that writes do not reach "
                f"(blind_write.target_ua, write_verify.reach_ua of preset {self.accelerator.preset.name}); try "
                f"memristor-bdnn device check{self._hints()}"
            )
        self.say("write", f"writing failed for many cells: {text}")

    def pairs(self, aimed_ua: npt.NDArray[Any], read_ua: npt.NDArray[Any]) -> None:
        """Note what cells (n,) were aimed at one by one and what they read; see :meth:`related`."""
        if aimed_ua.size == read_ua.size >= 2 and np.ptp(aimed_ua) > 0 and np.ptp(read_ua) > 0:
            self._related.append(float(np.corrcoef(aimed_ua, read_ua)[0, 1]))

    def related(self) -> None:
        """Look at all pairs noted so far, and forget them.

        Raises:
            AcceleratorError: the reads know nothing of what was aimed at, as those of stuck cells.
        """
        noted, self._related = self._related, []
        if len(noted) < FEWEST_CELLS or float(np.mean(noted)) >= UNRELATED:
            return
        raise AcceleratorError(
            f"nothing could be written: what {len(noted)} rows read has a correlation of {float(np.mean(noted)):.2f} "
            f"with what they were aimed at. Stuck cells, or blind writes of preset {self.accelerator.preset.name} that "
            f"scatter by more than its window (blind_write); try memristor-bdnn device check{self._hints()}"
        )

    def updated(self, written: WriteVerifyReport) -> None:
        """Look at a write of some cells during training; judged together at the end."""
        self._cells += written.cells
        self._within += written.within_tolerance
        if written.cells:
            self._square_ua2 += written.cells * (written.sd_error_ua**2 + written.mean_error_ua**2)

    def taught(self, y: npt.NDArray[Any], accuracy: float) -> None:
        """Look at the accuracy on the labels y (n,) or (n, classes) trained on."""
        majority = float(np.bincount(decided(y)).max()) / len(y)
        if len(y) >= FEWEST_LABELS and majority < 1 and accuracy < min(majority + 0.05, 0.95):
            self.say(
                "accuracy",
                f"training accuracy {accuracy:.2f} on {len(y)} labels, where always saying the same gets "
                f"{majority:.2f}: little or nothing was learned",
            )

    def report(self, report: LearnReport) -> LearnReport:
        """The report with everything that is to be said; what is new is also given as a :class:`DeviceWarning`."""
        preset = self.accelerator.preset
        if self._cells >= FEWEST_CELLS:
            error = float(np.sqrt(self._square_ua2 / self._cells))
            if self._within < (1 - MOST_MISSED) * self._cells and error > 2 * SMALL * self._span:
                self.say(
                    "updates",
                    f"writes during training failed for many cells: {self._within} of {self._cells} read within "
                    f"{preset.write_verify.tolerance_ua:g} uA of their targets (RMS error {error:.3g} uA)",
                )
        self._cells = self._within = 0
        self._square_ua2 = 0.0
        if not self._looked:
            self._looked = True
            self._found = {text: f"preset {preset.name}: {text}" for text in self._concerns()} | self._found
        found, self._found = self._found, {}
        for kind in [kind for kind in found if kind not in self._given]:
            self._given.add(kind)
            warnings.warn(found[kind], DeviceWarning, stacklevel=4)
        hardware = getattr(self.accelerator, "warnings", ())
        said = tuple(dict.fromkeys((*report.warnings, *hardware, *found.values())))
        return dataclasses.replace(report, warnings=said) if said != report.warnings else report

    def _concerns(self) -> list[str]:
        """What of the preset does not go with its window; one that cannot be written at all too."""
        try:
            return concerns(self.accelerator.preset)
        except ConfigError as error:
            return [str(error)]

    def _hints(self) -> str:
        """The first of them, for an error."""
        return "".join(f"; {text}" for text in self._concerns()[:3])

    @property
    def _span(self) -> float:
        low, high = self.accelerator.preset.usable_ua
        return high - low

    def _error(self, written: WriteVerifyReport) -> float:
        """RMS write error as a share of the window's span."""
        return float(np.hypot(written.mean_error_ua, written.sd_error_ua)) / self._span

    def _figures(self, written: WriteVerifyReport) -> str:
        preset = self.accelerator.preset
        within, (low, high) = written.within_tolerance, preset.window_ua
        return (
            f"{within} of {written.cells} cells ({within / written.cells:.0%}) read within "
            f"{preset.write_verify.tolerance_ua:g} uA of their targets (mean error {written.mean_error_ua:+.3g}, "
            f"SD {written.sd_error_ua:.3g} uA; window {low:g} to {high:g} uA)"
        )
