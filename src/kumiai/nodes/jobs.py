"""The jobs that the log asks for: the same for validators, recheckers and verifiers."""

from __future__ import annotations

from kumiai.base import canonical
from kumiai.base.amounts import PPM
from kumiai.nodes.ports import AggregateJob, ScoreJob, UpdateRef
from kumiai.rounds.state import RoundState


def make_aggregate_job(
    current: RoundState, model: str, server_state: str, model_previous: str
) -> AggregateJob:
    """Return the aggregation that the log asks for: the same for validators and verifiers."""
    widths = tuple(current.assignments[member].width_ppm for member, _, _ in current.included)
    included = {member for member, _, _ in current.included}
    return AggregateJob(
        round=current.index,
        model=model,
        server_state=server_state or None,
        included=current.included,
        previous_model=model_previous or None,
        seed=current.beacon,
        roots=current.roots,
        widths_ppm=widths if any(width < PPM for width in widths) else (),
        groups=tuple(group for group in current.opened if included & {*group.members}),
    )


def make_score_job(
    current: RoundState,
    validator: str,
    model: str,
    model_previous: str,
    wants_root: bool = False,
) -> ScoreJob:
    """Return the scoring that the log asks one validator for."""
    updates = list_updates(current)
    if current.opened:
        updates = tuple(
            UpdateRef(group.name, canonical.hash_document(list(group.masked)), place)
            for place, group in enumerate(current.opened)
        )
    return ScoreJob(
        round=current.index,
        validator=validator,
        model=model,
        previous_model=model_previous or None,
        updates=updates,
        seed=current.beacon,
        wants_root=wants_root,
        groups=current.opened,
        shown=current.shown,
    )


def list_updates(current: RoundState) -> tuple[UpdateRef, ...]:
    """Return the revealed updates that the log asks to judge, in the order of commitment."""
    revealed = (current.assignments[member] for member in current.revealed)
    return tuple(
        UpdateRef(a.member, a.blob, a.commit_height, a.width_ppm, a.staleness) for a in revealed
    )
