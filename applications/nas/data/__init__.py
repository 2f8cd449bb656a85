"""Data: tasks in memory or on disk, where they come from, and mini-batches of them."""

from applications.nas.data.augment import Augment, FileAugment
from applications.nas.data.batches import AbstractBatches
from applications.nas.data.cifar import cifar_task
from applications.nas.data.digits import digits_tasks
from applications.nas.data.files import ImageFiles
from applications.nas.data.image_folder import image_folder_task, large_folder_task
from applications.nas.data.imagenet import imagenet_task
from applications.nas.data.images import AbstractImages
from applications.nas.data.memory import Batches, Images
from applications.nas.data.mnist import mnist_task
from applications.nas.data.record import check_split, check_splits, split_records
from applications.nas.data.split import Split
from applications.nas.data.task import Part, Task

__all__ = [
    "AbstractBatches",
    "AbstractImages",
    "Augment",
    "Batches",
    "FileAugment",
    "ImageFiles",
    "Images",
    "Part",
    "Split",
    "Task",
    "check_split",
    "check_splits",
    "cifar_task",
    "digits_tasks",
    "image_folder_task",
    "imagenet_task",
    "large_folder_task",
    "mnist_task",
    "split_records",
]
