"""When an update is accepted: the declared validation, on what the judge measured itself.

Source: FEDSTR's "Algorithm 3" as its reference code has it (loss against the previous model's, loss
against the peers' mean); a reconstruction, the paper's text is not known to us. Deviation: every
number is the judge's own, on data that the providers do not have; the providers' own words decide
nothing. Thresholds are integers in ppm of a nat, so that a percent is never taken for a fraction.
"""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.market.effects import JudgedLine
from kumiai.market.kinds import Code, Ruling
from kumiai.market.terms import Validation

_FAULTS = {
    "malformed": Code.MALFORMED,
    "duplicate": Code.DUPLICATE,
    "empty": Code.EMPTY,
    "replayed": Code.REPLAYED,
    "diverged": Code.DIVERGED,
    "uncorrelated": Code.NO_GAIN,
    "differs": Code.WORSE_THAN_PEERS,  # from the others of its part, and helps far less
}


def judge_lines(
    lines: Sequence[JudgedLine], validation: Validation
) -> list[tuple[JudgedLine, Ruling, Code]]:
    """Decide over each line of a round.

    Accepted: no fault, gain >= min_gain_ppm, and gain >= mean gain of the faultless ones minus
    peer_margin_ppm. An unknown fault is malformed: nobody is paid for what we do not understand.
    """
    sound = [line.gain for line in lines if not line.fault]
    mean = sum(sound) // len(sound) if sound else 0
    decided = []
    for line in lines:
        if line.fault:
            code = _FAULTS.get(line.fault, Code.MALFORMED)
        elif line.gain < validation.min_gain_ppm:
            code = Code.NO_GAIN
        elif line.gain < mean - validation.peer_margin_ppm:
            code = Code.WORSE_THAN_PEERS
        else:
            code = Code.ACCEPTED
        ruling = Ruling.ACCEPTED if code is Code.ACCEPTED else Ruling.REJECTED
        decided.append((line, ruling, code))
    return decided
