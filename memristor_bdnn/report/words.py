"""What a session learned, in one sentence: only what its trials measured, with its error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from memristor_bdnn import skills


def learned_in_words(summary: Mapping[str, Any]) -> str:
    """What random trials did and what the learned skill does; says so where a part was not measured.

    Args:
        summary: of a session, as :func:`memristor_bdnn.report.summary.summarise` makes it or ``summary.json`` holds it.
    """
    words, done = skills.load(str(summary["skill"])).words, _key(summary)
    tried, before = summary.get("random_trials"), summary.get(f"{done}_random")
    if before is None:
        said = "no random trials were made"
    else:
        said = f"{_count(tried, 'random trial')} {words.past.format(share(before))}"
    labels = summary.get("evaluation_labels", summary.get("labels"))
    shown, after = int(summary.get("evaluation_trials") or 0), summary.get(done)
    if not shown or after is None:
        return f"{_capital(said)}; what was learned after {_count(summary.get('labels'), 'trial')} was not evaluated."
    error = summary.get(f"{done}_error")
    value = with_error(after, error)
    place = words.unseen if summary.get("evaluation_unseen") else ""
    how = f"{_count(shown, 'evaluation trial')}{', no error known' if error is None else ''}"
    return f"{_capital(said)}; after {_count(labels, 'trial')} it {words.present.format(value)}{place} ({how})."


def share(value: float) -> str:
    """A share to two decimals, or three where it would look like all or nothing and is neither."""
    return f"{value:.2f}" if value in (0.0, 1.0) or 0.005 <= value < 0.995 else f"{value:.3f}"


def with_error(value: float, error: float | None) -> str:
    """A share with its standard error, to two decimals, or three where the error would vanish."""
    if error is None:
        return share(value)
    digits = 3 if 0 < error < 0.005 else 2
    return f"{value:.{digits}f} +- {error:.{digits}f}"


def grown_in_words(summary: Mapping[str, Any]) -> str:
    """The title of a session's picture: from what, to what, by how many questions; or what is missing for that."""
    skill, key = skills.load(str(summary["skill"])), _key(summary)
    name = "Share of successes" if key == "success_rate" else _capital(skill.fraction_label)
    before, after, asked = summary.get(f"{key}_random"), summary.get(key), int(summary.get("queries") or 0)
    while_asking = f"while it asks for {_count(asked, 'trial')}" if asked else "without asking"
    if before is None:
        if after is None:
            return f"{name}: no random and no evaluation trials"
        return f"{name}: {share(after)} {while_asking}; no random trials to compare with"
    if after is None:
        return f"{name}: {share(before)} at random; what was learned was not evaluated"
    change = round(after, 2) - round(before, 2)
    verb = "grows" if change > 0 else "falls" if change < 0 else "stays the same,"
    return f"{name} {verb} from {share(before)} to {share(after)} {while_asking}"


def mean_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean of values (n,); None of fewer than two."""
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)


def share_error(good: int, n: int) -> float | None:
    """Standard error of a share of successes, with two successes and two failures added; None of no trials.

    Source: Agresti and Coull 1998. Four of four are no certainty, which the plain formula would call them.
    """
    if n < 1:
        return None
    share = (good + 2) / (n + 4)
    return math.sqrt(share * (1 - share) / (n + 4))


def _key(summary: Mapping[str, Any]) -> str:
    skill = skills.load(str(summary["skill"]))
    return "success_rate" if skill.words.by == "success" else skill.fraction_name


def _count(n: Any, what: str) -> str:
    if n is None:
        return f"{what}s"
    return f"{n} {what}{'' if n == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
