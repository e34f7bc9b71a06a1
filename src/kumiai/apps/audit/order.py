"""Does the log follow from what the committee decided? Batches, quorums, places and times, anew."""

from __future__ import annotations

from kumiai.adapters.store.log import SqliteLog
from kumiai.adapters.store.order_file import read_order
from kumiai.apps.audit.subject import Subject
from kumiai.base import events
from kumiai.base.log import Record, append_record
from kumiai.consensus.pbft.committee import Schnorr
from kumiai.consensus.pbft.proofs import is_decided
from kumiai.nodes.order import OrderReader
from kumiai.rounds.control import FOUNDING, make_committee
from kumiai.rounds.run import step
from kumiai.rounds.state import RunState


def check_order(subject: Subject) -> int:
    """Each batch was signed by a quorum, and the log is what the fold makes of all of them.

    Nothing was left out, put in, moved or given another time. For runs that a committee orders; the
    committee of each epoch is the one that the log up to there seats.
    """
    state, report, path = subject.replay.state, subject.report, subject.run_dir.order
    if not path.exists():
        report.error(path.name, "missing, though the log says that a committee orders")
        return 0
    committee, scheme = make_committee(state, FOUNDING), Schnorr()
    reader, folded, seen, count = OrderReader(), RunState(), set[str](), 0
    last: Record | None = None
    with SqliteLog.open_readonly(subject.run_dir.log) as log:
        records = log.read()
        for decided in read_order(path):
            count += 1
            where = f"{path.name}, epoch {committee.epoch}, place {decided.proof.sequence}"
            if not is_decided(committee, scheme, decided.proof):
                report.error(where, "no quorum of the committee signed it")
            if decided.batch.digest != decided.proof.digest:
                report.error(where, "its batch is not the one that was decided")
            for event, time_ms in reader.read(decided):
                if event.id in seen or events.check_event(event) is not None:
                    continue
                record = append_record(last, time_ms, event)
                outcome = step(folded, record)
                if outcome.reject is not None:
                    continue
                if next(records, None) != record:
                    report.error(where, f"the log has another record at height {record.height}")
                    return count
                last, folded = record, outcome.state
                seen.add(event.id)
            if len(folded.epochs) != committee.epoch:  # this batch was the last of its committee
                committee = make_committee(folded, len(folded.epochs))
                reader.begin_epoch()
        left = next(records, None)
        if left is not None:
            report.error(path.name, f"no batch has the log's record at height {left.height}")
    return count
