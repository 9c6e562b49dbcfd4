"""How fast each sequence model trains, and PyTorch the same Transformer.

    python -m tests.benchmarks.models [model ...]

on one core: a step of two blocks of width 64, and of 16, on batches of 64 samples, 64 tokens and a start, in float32
and mixed precision; tokens a second, and three times the formula's products (forward and both gradients, all tokens in
all blocks) over the measured matmul peak. Only the last token passes the last block, so the share can exceed 100 %.
With ``pip install -e ".[bench]"`` PyTorch's Transformer is timed, too, eager and compiled.
"""

import importlib.util
import os
import sys

from simulator.learners import GradientDescent, Run
from simulator.machine.workers import available_cores
from simulator.models import GRU, LSTM, RWKV4, LinearAttention, Mamba, MinGRU, RetNet, SequenceModel, Transformer
from simulator.tasks import Retrieval
from tests.benchmarks.children import run_pinned
from tests.benchmarks.roofline import matmul_peak, step_times

LENGTH, BATCH, WIDTHS = 64, 64, (64, 16)
TASK = Retrieval(1, 16, LENGTH, n_distractors=16)
MODELS: tuple[type[SequenceModel], ...] = (Transformer, LinearAttention, RetNet, RWKV4, Mamba, MinGRU, GRU, LSTM)


def main() -> None:
    """Print the table, a row as it is ready."""
    os.sched_setaffinity(0, {available_cores()[0]})
    known = {model.__name__: model for model in MODELS}
    peaks = {"float32": matmul_peak("float32"), "mixed": matmul_peak("bfloat16")}
    print("width  model             precision   1000 tokens/s   of the peak   compile s")
    for width in WIDTHS:
        for model in (known[name] for name in sys.argv[1:] or known):
            for precision, peak in peaks.items():
                learner = GradientDescent(model=model(width=width), steps=1000, batch_size=BATCH, precision=precision)
                compiling, step = step_times(TASK, learner, Run(LENGTH, 100_000, 0))
                share = 3 * BATCH * learner.model.flops(TASK, LENGTH) / step / peak
                speed = BATCH * (LENGTH + 1) / step / 1e3
                print(
                    f"{width:5d}  {model.__name__:17s} {precision:9s} {speed:15.1f} {100 * share:11.0f} % "
                    f"{compiling:11.1f}",
                    flush=True,
                )
        if importlib.util.find_spec("torch"):
            pytorch(width)


def pytorch(width: int) -> None:
    """Rows of PyTorch's Transformer."""
    for precision in ("float32", "bfloat16"):
        for compiled in ((), ("--compiled",)):
            command = ["tests.benchmarks.pytorch_transformer", precision, "--width", str(width), *compiled]
            (figures,) = run_pinned([[*command, "--batch", str(BATCH)]], [available_cores()[:1]])
            name = f"PyTorch {'compiled' if compiled else 'eager'}"
            print(f"{width:5d}  {name:17s} {precision:9s} {figures['tokens_per_second'] / 1e3:15.1f}", flush=True)


if __name__ == "__main__":
    main()
