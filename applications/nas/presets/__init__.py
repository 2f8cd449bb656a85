"""Named settings, each with a line that says what it is."""

from applications.nas.presets.retrain import RETRAIN
from applications.nas.presets.search import SEARCH

__all__ = ["RETRAIN", "SEARCH"]
