"""Tasks: GLUE-shaped data sets, all normalized to one DatasetDict.

A row of `TASKS` is all that a new GLUE-shaped task needs. This module imports nothing heavy.
"""

from sensibert.tasks.table import TASKS, Task

__all__ = ["TASKS", "Task"]
