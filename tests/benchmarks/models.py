"""How fast each sequence model trains.

    python -m tests.benchmarks.models

on one core: a step of two blocks of width 64 on batches of 64 samples, 64 tokens and a question, in float32 and mixed
precision; tokens a second, and three times the formula's products (forward and both gradients, all tokens in all
blocks) over the measured matmul peak.
"""

from simulator.learners import GradientDescent, Run
from simulator.models import GRU, LSTM, RWKV4, LinearAttention, Mamba, MinGRU, RetNet, SequenceModel, Transformer
from simulator.tasks import Retrieval
from tests.benchmarks.roofline import matmul_peak, step_times

LENGTH, BATCH, WIDTH = 64, 64, 64
MODELS: tuple[type[SequenceModel], ...] = (Transformer, LinearAttention, RetNet, RWKV4, Mamba, MinGRU, GRU, LSTM)


def main() -> None:
    """Print the table, a row as it is ready."""
    task = Retrieval(1, 16, LENGTH, n_distractors=16)
    peaks = {"float32": matmul_peak("float32"), "mixed": matmul_peak("bfloat16")}
    print("model             precision   1000 tokens/s   of the peak   compile s")
    for model in MODELS:
        for precision, peak in peaks.items():
            learner = GradientDescent(model=model(width=WIDTH), steps=1000, batch_size=BATCH, precision=precision)
            compiling, step = step_times(task, learner, Run(LENGTH, 100_000, 0))
            share = 3 * BATCH * learner.model.flops(task, LENGTH) / step / peak
            speed = BATCH * (LENGTH + 1) / step / 1e3
            print(
                f"{model.__name__:17s} {precision:9s} {speed:15.1f} {100 * share:11.0f} % {compiling:11.1f}", flush=True
            )


if __name__ == "__main__":
    main()
