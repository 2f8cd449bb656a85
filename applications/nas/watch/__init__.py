"""Watching a search for collapse: skip connections, discretization gap, largest eigenvalue of the Hessian."""

from applications.nas.watch.collapse import Alarm, Alarms, signs_in_cell, signs_in_hessian
from applications.nas.watch.eigenvalue import largest_eigenvalue, sharpened
from applications.nas.watch.files import EPOCHS, WARNINGS, write_epochs, write_warnings
from applications.nas.watch.measure import Sight, Watch, first_batch

__all__ = [
    "EPOCHS",
    "WARNINGS",
    "Alarm",
    "Alarms",
    "Sight",
    "Watch",
    "first_batch",
    "largest_eigenvalue",
    "sharpened",
    "signs_in_cell",
    "signs_in_hessian",
    "write_epochs",
    "write_warnings",
]
