"""The loss of a trained model against the number of visible tokens."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import xarray as xr

from simulator.learners.evaluation import evaluate
from simulator.learners.network_predictor import NetworkPredictor
from theory.checks import check_integer, check_sequence


def visible_context_sweep(
    predictor: NetworkPredictor, context_lengths: Sequence[int], seed: int = 0, test_size: int = 8192
) -> xr.Dataset:
    """Evaluate one trained network at several visible context lengths, on the same test samples.

    Tokens beyond l are hidden, as for a network trained on l of them. Unlike in a study, the parameters are the same at
    every l. The loss above R(l) is therefore that of a model at a length for which it may not have been trained.

    Args:
        predictor: a trained network, as a learner returns it.
        context_lengths: numbers l of visible tokens, each in 0..L.
        seed: seed of the test samples.
        test_size: number of test samples.

    Returns:
        A Dataset over context_length. It holds ``approximation_loss``, ``test_loss``, their standard errors, and the
        exact ``bayes_risk``.
    """
    task = predictor.task
    lengths = [
        check_integer("a context length", length, 0, task.max_context_length)
        for length in check_sequence("context_lengths", context_lengths)
    ]
    if not lengths:
        raise ValueError("context_lengths must name at least one length; got none")
    measured = [
        dataclasses.asdict(
            evaluate(task, dataclasses.replace(predictor, context_length=np.int32(length)), seed, test_size)
        )
        for length in lengths
    ]
    columns = {name: ("context_length", [row[name] for row in measured]) for name in measured[0]}
    risks = ("context_length", [task.bayes_risk(length) for length in lengths])
    return xr.Dataset({**columns, "bayes_risk": risks}, {"context_length": lengths}, {"unit": task.unit})
