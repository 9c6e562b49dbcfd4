"""The tournament of growth laws: l*(D) under each mechanism, and the law that the measurements support.

Seven learners realise one mechanism of growth each, on tasks whose Bayes risk is exact. Every law is fitted to every
study. Networks follow, whose law is not known. Where the expected risk of a learner is known, its exact l*(D) stands
beside the measured one.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import figures
from paper_reproduction.reproduction import Reproduction, Result, Scale
from simulator import Study, run
from simulator.learners import (
    ContextTable,
    CorrelationScreening,
    GradientDescent,
    Learner,
    LeastSquares,
    NearestNeighbour,
    ParityPosterior,
    PolynomialRidge,
    Ridge,
)
from simulator.models import MLP, Transformer
from simulator.tasks import (
    GaussianLookBack,
    IrrelevantTokens,
    LagCopy,
    ManifoldTeacher,
    MarkovChain,
    SparseParity,
    Task,
    ZipfQuanta,
)
from simulator.tasks.parity import MultitaskParity
from theory import compare, comparison_as_text, verdict
from theory.laws import (
    CorrelationHorizonLaw,
    IntrinsicDimensionLaw,
    Law,
    LogThresholdLaw,
    NearestNeighbourLaw,
    PolynomialThresholdLaw,
    PowerLaw,
    SaturatingLaw,
    TableLaw,
    VarianceLimitedLaw,
)
from theory.measured.verdict import REJECTED

TITLE = "Optimal context length under each mechanism, and the law the measurements speak for"

_SMOKE = ("least squares", "ridge on pairs of bits")


@dataclasses.dataclass(frozen=True)
class Entrant:
    """One study of the tournament.

    Attributes:
        study: what is measured.
        law: the law of its mechanism; None where it is not known.
    """

    study: Study
    law: type[Law] | None = None


def entrants(scale: Scale) -> dict[str, Entrant]:
    """Every study by its name; at scale ``smoke`` small versions of two."""
    chain, parities = _slow_chain(10), SparseParity.pareto(n_tasks=32, max_context_length=128, nearest=2, exponent=0.6)
    arfima = GaussianLookBack.arfima(d=0.4, max_context_length=128)
    quanta = ZipfQuanta(
        n_tasks=60,
        max_context_length=128,
        alpha=1.0,
        distance_exponent=1.0,
        nearest=2,
        bits_per_task=2,
        distances="coupled",
    )
    some, more = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128), (181, 256, 362, 512)
    clouds, doubling = range(1, 9), [256 * 2**i for i in range(8)]
    per_task = [round(16 * 64 * 2 ** (i / 2)) for i in range(9)]
    near = (3, 4, 5, 6, 8, 10, 12, 14, 17, 20, 24, 29, 34, 40, 48)

    def study(task: Task, learner: Learner, lengths: Sequence[int], sizes: Sequence[int], seeds: int, test: int):
        if scale == "smoke":
            return Study(task, learner, lengths[:12:3], sizes[1:5], seeds=2, test_size=512)
        return Study(task, learner, lengths, sizes, seeds=seeds if scale == "laptop" else 4 * seeds, test_size=test)

    neighbours = NearestNeighbour(labels="bayes")
    smooth, steep = (ManifoldTeacher(8, n_frequencies=1, equal_slopes=equal) for equal in (False, True))
    decades = [2**i for i in range(5, 17)]
    designed = GaussianLookBack.designed(C0=1.0, C=1.0, gamma=1.0, b=1.0, max_context_length=256)
    least_squares = study(designed, LeastSquares(), some + more[:2], doubling, 64, 4096)
    screening = study(
        GaussianLookBack.independent(C0=0.5, C=1.0, gamma=1.0, b=1.0, max_context_length=512),
        CorrelationScreening(),
        some + more,
        doubling,
        16,
        4096,
    )
    kernel = study(
        SparseParity.pareto(n_tasks=16, max_context_length=48, nearest=2, exponent=0.8),
        PolynomialRidge(degree=2, penalty=0.1),
        near,
        per_task,
        4,
        4096,
    )
    bayes = study(parities, ParityPosterior(noise_prior=0.9), some, [32 * n for n in range(4, 18)], 16, 4096)
    table = study(chain, ContextTable(), range(1, 11), [2**i for i in range(5, 18)], 16, 4096)
    known = {
        "nearest neighbour, smooth teacher": Entrant(
            study(smooth, neighbours, clouds, decades, 6, 2048), IntrinsicDimensionLaw
        ),
        "nearest neighbour, steep teacher": Entrant(
            study(steep, neighbours, clouds, decades, 6, 2048), NearestNeighbourLaw
        ),
        "least squares": Entrant(least_squares, VarianceLimitedLaw),
        "correlation screening": Entrant(screening, CorrelationHorizonLaw),
        "ridge on pairs of bits": Entrant(kernel, PolynomialThresholdLaw),
        "posterior over parities": Entrant(bayes, LogThresholdLaw),
        "table of contexts": Entrant(table, TableLaw),
        "least squares, long memory": Entrant(
            study(arfima, LeastSquares(), some, doubling, 64, 4096), VarianceLimitedLaw
        ),
        "ridge, long memory": Entrant(study(arfima, Ridge(0.02), some, doubling, 64, 4096)),
        "least squares, one in four relevant": Entrant(
            study(
                IrrelevantTokens(designed, relevant_fraction=0.25), LeastSquares(), some + more[:2], doubling, 16, 4096
            )
        ),
        "posterior over quanta": Entrant(study(quanta, ParityPosterior(noise_prior=0.9), some, decades[:10], 16, 4096)),
    }
    everyone = known | {name: Entrant(of) for name, of in _networks(scale).items()}
    return {name: everyone[name] for name in _SMOKE} if scale == "smoke" else everyone


def _slow_chain(order: int) -> MarkovChain:
    """A chain of two tokens. The influence of a token on the next one is linear and falls as distance^-0.75."""
    newest_first = (np.arange(2**order)[:, None] >> np.arange(order)) % 2
    weights = np.arange(1.0, order + 1) ** -0.75
    one = 0.5 + (newest_first - 0.5) @ (0.4 * weights / weights.sum())
    return MarkovChain(transition=np.stack([1 - one, one], axis=1).tolist(), max_context_length=order)


def _networks(scale: Scale) -> dict[str, Study]:
    """An MLP and a Transformer, on parities of two tokens and on copies of one token."""
    smoke = scale == "smoke"
    parities = SparseParity.pareto(n_tasks=12, max_context_length=32, nearest=2, exponent=0.7)
    copies = LagCopy(vocabulary_size=3, beta=1.0, first_probability=0.24, max_context_length=32)
    lengths = (2, 3, 4, 6, 8, 11, 16, 23, 32)
    sizes = {"MLP": (512, 724, 1024, 1448, 2048, 2896, 4096, 5793), "Transformer": (512, 1024, 2048, 4096, 8192, 16384)}

    seeds = {"MLP": 4, "Transformer": 2}

    def learner(model: Any, learning_rate: float) -> GradientDescent:
        steps = 50 if smoke else 3000
        return GradientDescent(
            model, steps=steps, learning_rate=learning_rate, weight_decay=0.3, validation_size=1024, precision="mixed"
        )

    models = {
        "MLP": learner(MLP((64, 64)), 1e-3),
        "Transformer": learner(Transformer(depth=2, width=32, heads=2), 3e-3),
    }
    return {
        f"{model}, {what}": Study(task, how, lengths[::4], sizes[model][:4], seeds=2, test_size=512)
        if smoke
        else Study(task, how, lengths, sizes[model], seeds=seeds[model] if scale == "laptop" else 8, test_size=4096)
        for what, task in (("parities", parities), ("lag copy", copies))
        for model, how in models.items()
    }


def laws(study: Study) -> list[Law]:
    """One law for each mechanism, and two that could describe any: the power law and the saturating law.

    The number of tasks, the bits of each task and the prior of a Bayesian learner are given to the laws. The law of
    tables is in nats, so it is left out where the loss is a squared error.
    """
    task = study.task
    parity = isinstance(task, MultitaskParity)
    degree, n_tasks = (len(task.subsets()[0]), task.n_queries) if parity else (2, 1)
    known: list[Law] = [
        IntrinsicDimensionLaw(),
        NearestNeighbourLaw(),
        VarianceLimitedLaw(),
        CorrelationHorizonLaw(),
        PolynomialThresholdLaw(degree=degree, n_tasks=n_tasks),
        LogThresholdLaw(degree=degree, n_tasks=n_tasks, noise_prior=getattr(study.learner, "noise_prior", 0.0)),
        PowerLaw(),
        SaturatingLaw(),
    ]
    return known + ([TableLaw(classes=task.n_classes)] if task.n_classes else [])


def exact_optimum(study: Study, dataset_size: int) -> int | None:
    """l* of the exact expected risk on the study's grid; None where it is not known."""
    expected_risk = getattr(study.learner, "expected_risk", None)
    if expected_risk is None:
        return None
    risks = np.array([expected_risk(study.task, length, dataset_size) for length in study.context_lengths])
    return int(study.context_lengths[int(np.nanargmin(risks))])


def play(entrant: Entrant, store: pathlib.Path, workers: int, n_bootstrap: int = 50) -> tuple[xr.Dataset, xr.Dataset]:
    """The results, and their comparison with the laws. The exact l* and its regret are added where they are known."""
    study = entrant.study
    results = run(study, store, workers=workers)
    comparison = compare(results, laws(study), n_bootstrap=n_bootstrap)
    sizes = comparison["dataset_size"].values
    exact = np.array([np.nan if (l := exact_optimum(study, int(D))) is None else l for D in sizes])
    mean = results["loss"].mean("seed").sel(dataset_size=sizes).transpose("context_length", "dataset_size")
    at = np.searchsorted(results["context_length"].values, np.nan_to_num(exact, nan=study.context_lengths[0]))
    regret = mean.values[at, np.arange(len(sizes))] / mean.values.min(axis=0) - 1
    regret = np.where(np.isnan(exact), np.nan, regret)
    return results, comparison.assign(exact=("dataset_size", exact), exact_regret=("dataset_size", regret))


def verdicts(
    comparisons: dict[str, xr.Dataset], players: dict[str, Entrant], nearly: dict[str, tuple[str, ...]]
) -> pd.DataFrame:
    """One row for each entrant: its mechanism, the verdict, the nearest two laws, and the worst regret of the exact l*.

    Args:
        comparisons: the comparison of each entrant.
        players: the entrants.
        nearly: the laws that are not rejected at a tolerance of 2 %.
    """
    rows = []
    for name, comparison in comparisons.items():
        last = comparison.isel(dataset_size=-1)
        row = last.sel(law=last["misfit"].notnull()).sortby("misfit")
        own, told = players[name].law, verdict(comparison)
        worst = comparison["exact_regret"].max().item()
        mine = row.sel(law=own.name) if own else None
        rows.append(
            {
                "entrant": name,
                "own law": own.name if own else "unknown",
                "its misfit": "-" if mine is None else f"{float(mine['misfit']):.3g}",
                "its p within": "-" if mine is None else f"{float(mine['p_adequate']):.3f}",
                "verdict": {"law": "named", "undecided": "undecided", "none": "none is right"}[told.outcome],
                "nearest": row["law"].values[0],
                "misfit": f"{float(row['misfit'][0]):.3g}",
                "p exact": f"{float(row['p_exact'][0]):.3f}",
                "p within": f"{float(row['p_adequate'][0]):.3f}",
                "next": row["law"].values[1],
                "misfit of the next": f"{float(row['misfit'][1]):.3g}",
                "p equal": f"{float(row['p_equal'][1]):.3f}",
                "right within 2 %": " or ".join(nearly[name]) or "none",
                "since D": "-" if told.since is None else f"{told.since:,}",
                "mean |log2 error|": round(float(row["mean_log2_error"].values[0]), 3),
                "exact l*, worst regret": "unknown" if np.isnan(worst) else f"{worst:.3%}",
            }
        )
    return pd.DataFrame(rows)


def make(scale: Scale, folder: pathlib.Path, workers: int) -> Result:
    """Run every study, and compare each with all laws."""
    players = entrants(scale)
    tables, comparisons, nearly, texts, studies = {}, {}, {}, [], {}
    for name, entrant in players.items():
        place = name.replace(", ", "-").replace(" ", "_")
        print(f"\n-- {name} --")
        results, comparisons[name] = play(entrant, folder / place / "runs", workers, 2 if scale == "smoke" else 50)
        tables[f"{place}/results"], studies[f"{place}/study.json"] = results, entrant.study.to_json()
        coarse = compare(results, laws(entrant.study), n_bootstrap=0, tolerance=0.02).isel(dataset_size=-1)
        nearly[name] = tuple(coarse["law"].values[coarse["p_adequate"].values > REJECTED])
        unit = entrant.study.task.unit
        texts.append(f"== {name} ==\n\n{comparison_as_text(comparisons[name], f'({unit})')}")
    table = verdicts(comparisons, players, nearly)
    own = {name: entrant.law.name for name, entrant in players.items() if entrant.law}
    first = list(own)[:7]
    rows = table.set_index("entrant").loc[first]
    nearest = int((rows["nearest"] == rows["own law"]).sum())
    named = int(((rows["nearest"] == rows["own law"]) & (rows["verdict"] == "named")).sum())
    summary = "\n".join(
        [
            "misfit: squared misses per degree of freedom, in units of the scatter of the seeds and of a tolerance of",
            "0.2 % of R(0) - R(L). p exact, p within: p-values of the law as it is, and to within the tolerance.",
            "p equal: equal merit of the nearest law and the next. Right within 2 %: not rejected at that tolerance.",
            "",
            table.to_string(index=False),
            "",
            f"the law of its own mechanism is the nearest for {nearest} of {len(first)} regimes, and named for {named}",
        ]
    )
    return Result(
        tables,
        {"optimal_context_laws": figures.draw_tournament(comparisons, own, TITLE)},
        "\n\n\n".join([summary, *texts]),
        summary,
        {"verdicts.csv": table.to_csv(index=False), **studies},
    )


REPRODUCTION = Reproduction(
    TITLE,
    claim="Every theory has its own l*(D); which of them do measurements support?",
    source="the sources of the seven laws, see theory/laws",
    make=make,
)
