"""All settings, as frozen dataclasses: they are the configuration file, the command line and the Python API at once."""

from applications.nas.settings.checkpoint import CheckpointSettings
from applications.nas.settings.data import CifarData, Data, DigitsData, FashionData, FolderData, ImageNetData
from applications.nas.settings.device import Device
from applications.nas.settings.formulation import Formulation, Interleaving, MultiTask, SingleTask
from applications.nas.settings.network import CifarForm, ImageNetForm, NetworkForm, TorchvisionForm
from applications.nas.settings.optimizers import ArchitectureSettings, WeightSettings
from applications.nas.settings.parallel import ParallelSettings
from applications.nas.settings.retrain import RetrainData, RetrainSettings, RetrainWeights
from applications.nas.settings.schedule import (
    AbstractSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    Schedule,
)
from applications.nas.settings.search import GradientSettings, SearchSettings, SupernetSettings
from applications.nas.settings.watch import WatchSettings

__all__ = [
    "AbstractSchedule",
    "ArchitectureSettings",
    "CheckpointSettings",
    "CifarData",
    "GradientSettings",
    "CifarForm",
    "CosineSchedule",
    "Data",
    "Device",
    "DigitsData",
    "ExponentialSchedule",
    "FashionData",
    "FolderData",
    "Formulation",
    "ImageNetData",
    "ImageNetForm",
    "Interleaving",
    "LinearSchedule",
    "MultiTask",
    "NetworkForm",
    "RetrainData",
    "RetrainSettings",
    "RetrainWeights",
    "Schedule",
    "SearchSettings",
    "SingleTask",
    "SupernetSettings",
    "TorchvisionForm",
    "WatchSettings",
    "ParallelSettings",
    "WeightSettings",
]
