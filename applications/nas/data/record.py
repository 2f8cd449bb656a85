"""Whether the parts of a task are still those that a search had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from applications.nas.data.task import Task
from mlo import DataError


def split_records(tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the records of all tasks by their names, as plain data for one file."""
    return {task.name: task.split_record() for task in tasks}


def check_split(task: Task, record: Mapping[str, Any]) -> None:
    """Refuse a task whose parts are not those of a record.

    Args:
        task: The task as it is now.
        record: What `Task.split_record` gave once, perhaps read from a file.

    Raises:
        DataError: A part has other images now, or the record is not of that form.
    """
    try:
        before = {name: (int(part["images"]), str(part["sha256"])) for name, part in record["parts"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"the recorded split of task {task.name!r} is not well formed: search again") from error
    now = {name: (part["images"], part["sha256"]) for name, part in task.split_record()["parts"].items()}
    if set(before) != set(now):
        names = f"{', '.join(now)}, in the record {', '.join(before)}"
        raise DataError(f"task {task.name!r} has the parts {names}: take the data settings of the search")
    for name, (count, fingerprint) in now.items():
        if before[name] != (count, fingerprint):
            change = f"{count} images, the search had {before[name][0]}"
            if before[name][0] == count:
                change = f"{count} images, but not those that the search had"
            fix = "restore the data and their settings, or search again"
            raise DataError(f"task {task.name!r}, {name}: {change}: {fix}")


def check_splits(tasks: Sequence[Task], records: Mapping[str, Any]) -> None:
    """Refuse tasks whose parts are not those of the records that `split_records` gave once.

    Args:
        tasks: The tasks as they are now, all those of the search or some.
        records: The records by the tasks' names.

    Raises:
        DataError: As `check_split`; or a task has no record.
    """
    for task in tasks:
        if not isinstance(records, Mapping) or task.name not in records:
            raise DataError(f"task {task.name!r} has no recorded split: take a task of the search")
        check_split(task, records[task.name])
