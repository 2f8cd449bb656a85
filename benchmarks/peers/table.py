"""All rows."""

from benchmarks.peers import betty_behavior, betty_numbers, other_rows, torchopt_rows
from benchmarks.peers.record import Defect

DEFECTS: tuple[Defect, ...] = (
    *betty_numbers.DEFECTS,
    *betty_behavior.DEFECTS,
    *torchopt_rows.DEFECTS,
    *other_rows.DEFECTS,
)
