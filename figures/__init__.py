"""Figures of labelled results. Every function returns a figure and the numbers that it shows.

figure, numbers = draw_losses(results)
save(figure, numbers, "loss")        # loss.png, loss.pdf, loss.csv
"""

from figures.curves import draw_curves
from figures.loss_against_context_length import draw_losses
from figures.loss_parts import draw_loss_parts
from figures.optimal_context_length import draw_optima
from figures.style import save
from figures.tasks import draw_gallery
from figures.tournament import draw_tournament
from figures.training_curves import draw_training_curves

__all__ = [
    "draw_curves",
    "draw_gallery",
    "draw_loss_parts",
    "draw_losses",
    "draw_optima",
    "draw_tournament",
    "draw_training_curves",
    "save",
]
