"""Tasks that know their exact truth, learners, and studies over context length, dataset size and seed.

study = Study(task=..., learner=..., context_lengths=(...), dataset_sizes=(...), seeds=4)
results = run(study, store="runs")
"""

from simulator.machine.platform import PlatformError
from simulator.machine.stopping import Stopped
from simulator.machine.workers import WorkerError
from simulator.studies.networks import load_predictor
from simulator.studies.optimisation import limited_by_optimisation
from simulator.studies.plan import Plan, plan
from simulator.studies.results import load_results, save_results
from simulator.studies.run import run
from simulator.studies.run_until import run_until
from simulator.studies.slurm import SlurmError, run_on_slurm
from simulator.studies.store import StoreError
from simulator.studies.study import Study

__all__ = [
    "Plan",
    "PlatformError",
    "SlurmError",
    "Stopped",
    "StoreError",
    "Study",
    "WorkerError",
    "limited_by_optimisation",
    "load_predictor",
    "load_results",
    "plan",
    "run",
    "run_on_slurm",
    "run_until",
    "save_results",
]
