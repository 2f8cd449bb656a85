"""Search methods, one a file; a method of your own is a subclass of `AbstractMethod` that has been imported."""

from applications.nas.methods.base import AbstractMethod, Progress, Rule, Stage, known_methods
from applications.nas.methods.darts import Darts
from applications.nas.methods.pcdarts import PCDarts
from applications.nas.methods.pdarts import PDarts

__all__ = ["AbstractMethod", "Darts", "PCDarts", "PDarts", "Progress", "Rule", "Stage", "known_methods"]
