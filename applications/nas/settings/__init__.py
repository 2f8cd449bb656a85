"""All settings, as frozen dataclasses: they are the configuration file, the command line and the Python API at once."""

from applications.nas.settings.data import CifarData, Data, DigitsData, FolderData
from applications.nas.settings.device import Device
from applications.nas.settings.formulation import Formulation, Interleaving, MultiTask, SingleTask
from applications.nas.settings.optimizers import ArchitectureSettings, WeightSettings
from applications.nas.settings.retrain import RetrainSettings
from applications.nas.settings.search import GradientSettings, SearchSettings, SupernetSettings
from applications.nas.settings.watch import WatchSettings

__all__ = [
    "ArchitectureSettings",
    "CifarData",
    "GradientSettings",
    "Data",
    "Device",
    "DigitsData",
    "FolderData",
    "Formulation",
    "Interleaving",
    "MultiTask",
    "RetrainSettings",
    "SearchSettings",
    "SingleTask",
    "SupernetSettings",
    "WatchSettings",
    "WeightSettings",
]
