"""How often the verdict on a CSV file without R(l) is right: five laws, each the truth of a hundred files.

    python -m tests.benchmarks.users_csv --out users_csv.csv

A file has seven context lengths, six dataset sizes and three seeds. Its losses are 2 + 3/sqrt(l) + G(l, D) with
normal noise of 0.01. ``read_loss_table`` estimates R(l) from them, and ``compare`` is offered nine laws.

    right      the true law is named alone
    among      the laws cannot be told apart, and the true one is among those named
    wrong      another law is named, or the true law is not among those named, or all are rejected
"""

import argparse
import multiprocessing
import pathlib
import tempfile
import warnings

import numpy as np
import pandas as pd
from tqdm import tqdm

from theory import compare, read_loss_table, verdict
from theory.laws import (
    CorrelationHorizonLaw,
    FineTuningDimensionLaw,
    Law,
    NearestNeighbourLaw,
    OffsetDimensionLaw,
    PolynomialThresholdLaw,
    PowerLaw,
    QuantaLaw,
    SaturatingLaw,
    TableLaw,
)
from theory.laws.base import Truth

LENGTHS = np.array((2, 4, 8, 16, 32, 64, 128))
SIZES = np.array((1000, 4000, 16_000, 64_000, 256_000, 1_000_000))
EVERY = np.arange(129)
TRUTH = Truth(np.append(5.0, 2 + 3 / EVERY[1:] ** 0.5), EVERY.astype(np.float64), "nats")
TRUE: dict[str, Law] = {
    law.name: law
    for law in (
        PowerLaw(30.0, 0.6, 0.45),
        SaturatingLaw(400.0, 0.9, 0.9),
        TableLaw(1.05, classes=31),
        CorrelationHorizonLaw(60.0, 0.9),
        NearestNeighbourLaw(0.3),
    )
}
OFFERED = (
    *TRUE.values(), OffsetDimensionLaw(), PolynomialThresholdLaw(), FineTuningDimensionLaw(), QuantaLaw(),
)  # fmt: skip


def judged(job: tuple[str, int]) -> dict[str, object]:
    """One file: what the verdict on it names."""
    truth, index = job
    rng = np.random.default_rng([index, *truth.encode()])
    length, size = (axis.ravel() for axis in np.meshgrid(LENGTHS, SIZES, indexing="ij"))
    exact = TRUTH.bayes_risk[length] + TRUE[truth].approximation_loss(length, size.astype(np.float64), TRUTH)
    rows = pd.DataFrame({"context_length": length, "dataset_size": size, "loss": exact}).loc[
        lambda of: of.index.repeat(3)
    ]
    rows["seed"], rows["loss"] = np.arange(len(rows)) % 3, rows["loss"] + 0.01 * rng.normal(size=len(rows))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = pathlib.Path(folder) / "losses.csv"
        rows.to_csv(path, index=False)
        decision = verdict(compare(read_loss_table(path), OFFERED, n_bootstrap=0))
    alone = decision.outcome == "law"
    said = "wrong" if truth not in decision.laws else "right" if alone else "among"
    return {"truth": truth, "index": index, "said": said, "laws": "; ".join(decision.laws)}


def main() -> None:
    """Judge every file and print the shares."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("users_csv.csv"), help="a row for each file")
    parser.add_argument("--files", type=int, default=100, help="files of each truth (default: 100)")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    jobs = [(truth, index) for index in range(options.files) for truth in TRUE]
    results = []
    with multiprocessing.Pool(options.processes) as pool:
        for row in tqdm(pool.imap(judged, jobs), total=len(jobs)):
            results.append(row)
            pd.DataFrame(results).to_csv(options.out, index=False)
    print(pd.crosstab(pd.DataFrame(results)["truth"], pd.DataFrame(results)["said"]).to_string())


if __name__ == "__main__":
    main()
