"""What goes together with model_rewards.policy = "aequa-live", and why the rest does not (yet).

Members then work at different widths in one round. Every rule that looks at whole updates, or keeps
something as long as the model from round to round, would need a meaning for numbers that a member
was not given. What has none is refused here, before anybody is asked to pay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kumiai.base.errors import InputError
from kumiai.tasks.codecs import DENSE_FIXED

if TYPE_CHECKING:
    from kumiai.tasks.document import TaskDocument

ALGORITHMS = ("fedavg", "fedprox", "diloco")


def list_live_problems(task: TaskDocument) -> list[InputError]:
    """Return what contradicts aequa-live; nothing for other policies."""
    if task.model_rewards.policy != "aequa-live":
        return []
    with_live = "with model_rewards.policy = aequa-live"
    training = task.training
    wanted: list[tuple[bool, str, object, str]] = [
        (
            len(task.model.widths_ppm) > 1,
            "model.widths_ppm",
            list(task.model.widths_ppm),
            f"{with_live} there must be narrower widths to earn: give two or more",
        ),
        (
            task.mode == "federate",
            "mode",
            task.mode,
            f"{with_live} set federate: a narrow update cannot become the whole model",
        ),
        (
            training.slim,
            "training.slim",
            training.slim,
            f"{with_live} set true: wide members must train the narrow networks too",
        ),
        (
            training.algorithm in ALGORITHMS,
            "training.algorithm",
            training.algorithm,
            f"{with_live} there is no common step to normalise or correct: choose "
            + ", ".join(ALGORITHMS),
        ),
        (
            training.aggregator == "mean",
            "training.aggregator",
            training.aggregator,
            f"{with_live} it would withstand nobody where few members are wide: set mean",
        ),
        (
            training.codec == DENSE_FIXED,
            "training.codec",
            training.codec,
            f"{with_live} updates of changing widths have no common memory: set {DENSE_FIXED}",
        ),
        (
            training.fragments == 1,
            "training.fragments",
            training.fragments,
            f"{with_live} parts of the model would be cut twice: set 1",
        ),
        (
            not training.flower,
            "training.flower",
            training.flower,
            f"{with_live} the program would have to know about widths: leave it out",
        ),
        (
            training.backend != "ray",
            "training.backend",
            training.backend,
            f"{with_live} its workers build the full network only: choose auto or process",
        ),
        (
            task.privacy.mode == "none",
            "privacy.mode",
            task.privacy.mode,
            f"{with_live} private training of narrow networks is not built yet: set none",
        ),
    ]
    return [InputError(field, value, fix) for is_fine, field, value, fix in wanted if not is_fine]
