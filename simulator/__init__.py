"""Tasks that know their exact truth, learners, and studies over context length, dataset size and seed.

study = Study(task=..., learner=..., context_lengths=(...), dataset_sizes=(...), seeds=4)
results = run(study, store="runs")
"""

from simulator.execution.platform import PlatformError
from simulator.execution.slurm import SlurmError, run_on_slurm
from simulator.execution.stopping import Stopped
from simulator.execution.workers import WorkerError
from simulator.planning import Plan, plan
from simulator.results import load_results, save_results
from simulator.running import run
from simulator.store import StoreError
from simulator.study import Study

__all__ = [
    "Plan",
    "PlatformError",
    "SlurmError",
    "Stopped",
    "StoreError",
    "Study",
    "WorkerError",
    "load_results",
    "plan",
    "run",
    "run_on_slurm",
    "save_results",
]
