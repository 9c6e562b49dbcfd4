"""What is measured inside trained networks."""

from simulator.measurement.attention_heads import echo_and_induction_scores, retrieval_heads

__all__ = ["echo_and_induction_scores", "retrieval_heads"]
