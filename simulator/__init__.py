"""Tasks that know their exact truth, learners, and studies over context length, dataset size and seed.

study = Study(task=..., learner=..., context_lengths=(...), dataset_sizes=(...), seeds=4)
results = run(study, store="runs")
"""

from simulator.results import load_results, save_results
from simulator.store import StoreError
from simulator.study import Plan, Study, plan, run

__all__ = ["Plan", "StoreError", "Study", "load_results", "plan", "run", "save_results"]
