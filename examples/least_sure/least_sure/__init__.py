"""Example acquisition plugin; see docs/writing_an_acquisition.md of memristor_bdnn."""

from __future__ import annotations

import numpy as np

from memristor_bdnn.acquisitions import acquisition


@acquisition(needs_samples=True)
def least_sure(prediction, rng=None):
    """The posterior samples vote on success; the candidate with the closest vote is asked first (vote entropy)."""
    share = np.clip((prediction.samples > 0.5).mean(axis=0), 1e-9, 1.0 - 1e-9)
    return -(share * np.log(share) + (1.0 - share) * np.log(1.0 - share))
