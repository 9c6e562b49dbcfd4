# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How long a context, with only D samples?
#
# The loss of a model that sees the last *l* tokens is a sum of two terms,
#
# $$\mathrm{loss}(l, D) = R(l) + \mathrm{KL}(P_l \,\|\, Q_l),$$
#
# the Bayes risk, which falls with *l*, and what a model trained on *D* samples falls short of it by, which grows with
# *l* and shrinks with *D*. So there is a best context length *l\*(D)*. Here a task is drawn that knows its Bayes risk
# exactly, networks are trained on it, and the measured *l\*(D)* is held against theories that were fitted on smaller
# *D* only.

# %% [markdown]
# ## Where this runs
#
# The next cell installs the package if it is missing, and leaves the `jax` of the runtime as it is. Change what stands
# in capitals, or set the environment variable of that name:
#
# * `SOURCE`: what `pip` installs from: a folder, such as a clone on a drive, or `git+https://...`;
# * `STORE`: where finished runs are kept. On Colab put it on a drive, for instance
#   `/content/drive/MyDrive/context_scaling`, and a lost session costs nothing: the run cell skips what is there;
# * `ACCELERATOR`: `cpu`, `gpu` or `tpu` to insist on one, `any` to take what there is;
# * `SCALE`: `smoke` (a minute, for a look), `laptop`, or `paper`.

# %%
import importlib.metadata
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE = os.environ.get("SOURCE", "../..")
STORE = pathlib.Path(os.environ.get("STORE", "results"))
ACCELERATOR = os.environ.get("ACCELERATOR", "any")
SCALE = os.environ.get("SCALE", "laptop")

if importlib.util.find_spec("paper_reproduction") is None:
    installed = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as kept:
        kept.writelines(f"{name}=={installed[name]}\n" for name in ("jax", "jaxlib") if name in installed)
        kept.flush()
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", SOURCE, "--constraint", kept.name], check=True
        )

import jax

if ACCELERATOR != "any" and jax.default_backend() != ACCELERATOR:
    raise RuntimeError(
        f"ACCELERATOR is {ACCELERATOR!r}, but JAX runs on {jax.default_backend()!r}: choose a runtime that has one "
        "(Runtime > Change runtime type), or set ACCELERATOR to 'any'"
    )
for name in ("context-scaling", "jax", "flax", "optax", "numpy"):
    print(f"{name:16}{importlib.metadata.version(name)}")
print(f"{'devices':16}{', '.join(str(device.device_kind) for device in jax.devices())}")

# %%
# %matplotlib inline

# %% [markdown]
# ## A task that knows its truth
#
# Fair bits; the question names two of them, and the answer is their XOR. Bit 1 is the newest. Until both are in sight
# the answer is a fair coin, so the Bayes risk is ln 2 times the share of questions that reach further than *l*.

# %%
import figures
from paper_reproduction.parity_mlp.make import study as parity_study
from simulator.tasks.worked_example import truth_of_task, worked_example

study = parity_study(SCALE)
print(worked_example(study.task, 0))
figures.draw_gallery([truth_of_task(study.task, 0)])[0]

# %% [markdown]
# ## A study
#
# Every context length with every dataset size and seed. `plan` says what it will take and trains nothing. Run the
# second cell as often as you like: what is finished is not run again, and the table is the same to the bit.

# %%
from simulator import plan, run

runs = STORE / SCALE / "parity_mlp" / "runs"
print(plan(study, runs))

# %%
results = run(study, store=runs)
figures.draw_losses(results, "MLP on position-weighted sparse parity")[0]

# %% [markdown]
# Each curve has its lowest point further right than the one above it: more data, longer context.
#
# ## *l\*(D)* against theory
#
# Each law is fitted on the smaller dataset sizes and foretells the larger ones. *l\* stays* is the guess that nothing
# changes. A law earns its place by beating it.

# %%
from paper_reproduction.study_report import LAWS
from theory import compare, comparison_as_text, optimal_context_length

comparison = compare(results, LAWS, keep_limited=True)  # also cells that more training would improve
figures.draw_optima(comparison, "the best context grows with the data")[0]

# %%
print(optimal_context_length(results).to_dataframe().to_string(float_format="{:.4g}".format))
print()
print(comparison_as_text(comparison, f"({study.task.unit})"))

# %% [markdown]
# The verdict above may be *undecided*: then it says why. Change the task, the learner or the grid in `study` and run
# again; `simulator.tasks` has eighteen tasks, `simulator.learners` and `simulator.models` what can learn them.
