"""Figures of labelled results: each comes with the numbers it shows.

figure, numbers = loss_against_context_length(results)
save(figure, numbers, "loss")        # loss.png, loss.pdf, loss.csv
"""

from figures.curves import curves
from figures.loss_against_context_length import loss_against_context_length
from figures.optimal_context_length import optimal_context_length
from figures.style import save
from figures.tasks import task_gallery
from figures.tournament import tournament

__all__ = ["curves", "loss_against_context_length", "optimal_context_length", "save", "task_gallery", "tournament"]
