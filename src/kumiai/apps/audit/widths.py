"""Did every member keep to its width? From the log and the blobs alone; no hold-out is needed."""

from __future__ import annotations

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.apps.audit.compute import open_compute
from kumiai.apps.audit.subject import Subject
from kumiai.rounds.widths import is_live


def check_widths(subject: Subject) -> int:
    """No update that changes more than its member's width is counted, none is blamed for nothing.

    Only in runs whose members work at different widths; needs no hold-out.
    """
    task = subject.replay.state.task
    assert task is not None
    if not is_live(task):
        return 0
    compute, count = open_compute(subject, {}), 0
    decoded = DecodedBlobs(subject.blobs, compute.engine.layout.size, compute.codec)
    for number, found in sorted(subject.replay.rounds.items()):
        included = {member for member, _, _ in found.included}
        for judgement in found.judgements:
            key = judgement.member
            given = found.assignments[key]
            update_P = decoded.find("update", given.blob)
            if update_P is None:
                continue
            count += 1
            is_inside = not update_P[compute.find_outside(given.width_ppm)].any()
            is_blamed = judgement.reason == "outside"
            if is_inside == is_blamed or (not is_inside and key in included):
                what = "stays within" if is_inside else "changes the model outside of"
                subject.report.error(
                    f"round {number}",
                    f"{subject.replay.state.members[key].name}'s update {what} its width of "
                    f"{given.width_ppm} ppm, judged {judgement.reason}",
                )
    return count
