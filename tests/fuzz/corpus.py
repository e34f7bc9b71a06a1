"""All doors by name."""

from __future__ import annotations

from tests.fuzz.doors import Door, audits, committee, files, fold, market, nips, pbft_wire, replica

DOORS: dict[str, Door] = {
    door.name: door
    for door in (
        pbft_wire.MESSAGE,
        pbft_wire.EVIDENCE,
        committee.FRAMES,
        committee.ENTRY,
        files.EVENT,
        files.ORDER,
        files.EVIDENCE,
        files.RECEIPT,
        audits.LEAVES,
        audits.LINES,
        audits.CONTENT,
        replica.REPLICA,
        *fold.FOLDS,
        *nips.DOORS,
        *market.DOORS,
    )
}
