"""Data: tasks in memory, where they come from, and mini-batches of them."""

from applications.nas.data.augment import Augment
from applications.nas.data.batches import Batches
from applications.nas.data.cifar import cifar_task
from applications.nas.data.digits import digits_tasks
from applications.nas.data.image_folder import image_folder_task
from applications.nas.data.task import Images, Task

__all__ = ["Augment", "Batches", "Images", "Task", "cifar_task", "digits_tasks", "image_folder_task"]
