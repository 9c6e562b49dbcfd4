"""Which law a comparison speaks for, or why it is undecided."""

import dataclasses

import numpy as np
import xarray as xr

STAYS = "l* stays"
"""Name of the baseline without a theory: l* stays what it was at the largest fitted dataset size."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Which law a comparison speaks for.

    Attributes:
        laws: the law, or the laws that cannot be told apart.
        decided: whether the comparison speaks for one law.
        reason: the scores behind it, or why it is undecided.
    """

    laws: tuple[str, ...]
    decided: bool
    reason: str

    def __str__(self) -> str:
        return f"{' or '.join(self.laws)}: {self.reason}" if self.decided else f"undecided: {self.reason}"


def verdict(comparison: xr.Dataset) -> Verdict:
    """The law with the highest score, if resampled seeds do not change it; otherwise "undecided" with the reason.

    The verdict is undecided in four cases: no law wins in a share ``level`` of the resamples; there was nothing to
    resample; every held-out l* lies at the edge of the measured lengths; the regret of the winner is no smaller than
    that of the baseline without a theory.
    """
    laws = comparison.sel(law=comparison["law"] != STAYS)
    level, wins, score = comparison.attrs["level"], laws["wins"].values, laws["score"].values
    names = laws["law"].values.tolist()
    order = np.argsort(-score, kind="stable")
    best = names[order[0]]
    second = f"{names[order[1]]} {score[order[1]]:.3f}" if len(order) > 1 else "none"
    scores = f"score {score[order[0]]:.3f} nats a cell, runner-up {second}"
    if np.isnan(wins).any():
        return Verdict(tuple(names), False, f"no resamples of the seeds (one seed, or n_bootstrap = 0); {scores}")
    if not int(comparison["n_scored"].max()):
        return Verdict((best,), False, f"every held-out l* lies at an edge of the grid; {best}: {scores}")
    share = f"first in {wins[order[0]]:.0%} of resamples"
    if wins[order[0]] < level:
        rivals = tuple(names[i] for i in order if wins[i] > (1 - level) / 2)
        return Verdict(rivals, False, f"{best} is {share}, {level:.0%} asked; {scores}")
    regret, stays = (float(comparison["mean_regret"].sel(law=law)) for law in (best, STAYS))
    if regret >= stays > 0:
        reason = f"{best} predicts best, but with regret {regret:.4g}, no smaller than {stays:.4g} without any theory"
        return Verdict((best,), False, f"{reason}; {scores}")
    return Verdict((best,), True, f"{scores}; {share}")
