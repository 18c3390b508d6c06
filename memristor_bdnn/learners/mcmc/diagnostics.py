"""Whether a chain has walked: how much was accepted, and how many independent samples that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
MOST_ON_ONE_ROW = 0.5
"""Weight of a single row in predictions above which a chain is said to be stuck."""


def effective_samples(trace: FloatArray) -> float:
    """How many independent draws a chain's trace (n,) is worth, 1 to n.

    n over the integrated autocorrelation time, summed while the sums of neighbouring lags are positive (Geyer 1992).
    """
    n = len(trace)
    centred = np.asarray(trace, dtype=np.float64) - np.mean(trace)
    scale = float(np.abs(centred).max(initial=0.0))
    if n < 4 or scale == 0.0:
        return 1.0
    spectrum = np.fft.rfft(centred / scale, 2 * n)
    correlation = np.fft.irfft(spectrum * spectrum.conj())[:n]
    pairs = correlation[: n - n % 2].reshape(-1, 2).sum(axis=1) / correlation[0]
    ended = np.flatnonzero(pairs <= 0.0)
    time = 2.0 * float(pairs[: ended[0] if len(ended) else None].sum()) - 1.0
    return float(np.clip(n / max(time, 1.0), 1.0, n))


def figures(
    accepted: int, proposals: int, rows: int, counters: npt.NDArray[np.int64], trace: FloatArray
) -> dict[str, float]:
    """What a call of ``fit`` or ``learn`` reports of its chain.

    Args:
        accepted: proposals accepted in the call.
        proposals: proposals made in it.
        rows: rows that predictions are made from and that were accepted after the burn-in.
        counters: weights of all rows that predictions are made from, (m,).
        trace: log posterior after every proposal of the call that came after the burn-in, (n,).

    Returns:
        ``acceptance``, ``accepted``, ``proposals``, ``rows_after_burn_in``, ``heaviest_weight`` (share of a
        prediction that one row decides), ``effective_samples`` (of the call; no more than the rows it accepted).
    """
    found = {
        "acceptance": accepted / max(proposals, 1),
        "accepted": float(accepted),
        "proposals": float(proposals),
        "rows_after_burn_in": float(rows),
        "heaviest_weight": float(counters.max() / counters.sum()),
    }
    if len(trace):
        distinct = 1 + int(np.count_nonzero(np.diff(trace)))
        found["effective_samples"] = min(effective_samples(trace), float(distinct))
    return found


def stuck(found: dict[str, float], wanted: int, burn_in: int) -> str:
    """What is to be said of a chain that did not get where it was sent, or an empty text.

    Args:
        found: see :func:`figures`.
        wanted: proposals that were to be accepted.
        burn_in: those of them that were to be left behind.
    """
    accepted, proposals = f"{found['accepted']:.0f}", f"{found['proposals']:.0f}"
    reasons = []
    if burn_in and found["accepted"] < burn_in:
        reasons.append(f"the burn-in of {burn_in} rows is not finished")
    elif found["accepted"] - burn_in < (wanted - burn_in) / 2:
        reasons.append(
            f"only {found['rows_after_burn_in']:.0f} rows are from after the burn-in, others are from it"
            if burn_in
            else f"only {accepted} of {wanted} rows were replaced by samples of the present posterior"
        )
    if found["heaviest_weight"] > MOST_ON_ONE_ROW:
        reasons.append(f"one row carries {found['heaviest_weight']:.0%} of a prediction")
    if not reasons:
        return ""
    return (
        f"the chain did not get far: {accepted} of {proposals} proposals accepted, {wanted} wanted; "
        f"{', '.join(reasons)}. Predictions are no fair posterior: fewer inputs, a smaller weight_span or "
        "proposal_sd_ua, or more max_proposals would help"
    )
