"""Rechecks in a task: whether other validators recompute the sheets on which money was paid.

A sheet can be recomputed by whoever has what `kumiai verify` has: the updates, which stay in the
run's blobs, and the hold-out, once the customer has opened it. So every task whose hold-out is
opened can be rechecked, whatever its codec, privacy, valuation or aggregator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kumiai.tasks.document import TaskDocument

JUDGES_MIN = 3  # with fewer, all but the accused are no quorum: nobody could be convicted


def is_rechecked(task: TaskDocument) -> bool:
    """Tell whether drawn sheets are recomputed at the end of this task's run."""
    terms = task.validation
    return terms.recheck_ppm > 0 and task.data.open_holdout and terms.validators >= JUDGES_MIN


def list_recheck_warnings(task: TaskDocument) -> list[str]:
    """Return how validators could go unnoticed; that there are too few of them `rules` says."""
    terms = task.validation
    warnings = []
    if terms.canaries == 0 and not is_rechecked(task):
        warnings.append("validation.canaries = 0: a validator that does not work goes unnoticed")
    if not task.data.open_holdout:
        warnings.append(
            "data.open_holdout = false: the scores themselves cannot be recomputed by others, and "
            "validators are tested by probes alone"
        )
    elif terms.recheck_ppm == 0:
        warnings.append(
            "validation.recheck_ppm = 0: a validator that writes zeros, or repeats the last "
            "round's scores, passes the probes and goes unnoticed"
        )
    return warnings
