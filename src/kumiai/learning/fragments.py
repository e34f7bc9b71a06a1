"""Streaming DiLoCo: each round only one fragment of the model travels and moves.

A model of P numbers is cut into `count` fragments, and round t (from 1) is the turn of fragment
(t - 1) mod count: members send it alone, and the server's step moves it alone. All else of what a
member learnt stays with the member, which goes on from there in the next round.

Douillard et al., "Streaming DiLoCo with overlapping communication: Towards a Distributed Free
Lunch", 2025. We know the paper from secondary sources, so this is a reconstruction: fragments in
turn, an outer Nesterov step for each with a momentum of its own. With h what a member holds back:

    local start  = global + h;  d = local end - global;  sent: d[turn]
    h'[turn] = d[turn] - sent, which is 0 for a codec without loss;  h'[rest] = d[rest]

That is the paper's worker, which trains its own copy and only overwrites the fragment that was just
synchronised. h is the memory of the codec's error feedback, so it advances with what entered the
model (docs/adr/0013) and survives a killed run.

Deviations. The paper's fragments are groups of layers; ours are slices of equal length of the flat
model, so that every round costs the same bytes. The paper sends while it trains on, takes the
result some iterations later and mixes it with the local copy; a certified round has no such
overlap: this is its case of no delay and full overwriting. Its fragments take turns within the
iterations of one outer round, ours between rounds. The state of the local optimiser is fresh in
every round here. What is held back when the last round ends is never sent.

Slices: K = ceil(P / count) numbers from min(turn * K, P - K). The last ones may overlap, by less
than K; so no payload has padding, which a lossy packer would fill with something.
"""

from __future__ import annotations

from kumiai.tasks.fields import FRAGMENTS_MAX


def compute_turn(number: int, count: int) -> int:
    """Return which of `count` fragments has its turn in round `number`, counted from 1."""
    if number < 1:
        raise ValueError(f"round {number} is less than 1")
    return (number - 1) % count


def compute_length(size: int, count: int) -> int:
    """Return K, the numbers in each of `count` fragments of `size` numbers."""
    if size < 1 or not 1 <= count <= FRAGMENTS_MAX:
        raise ValueError(f"{count} fragments of {size} numbers: expected 1..{FRAGMENTS_MAX} of 1+")
    return -(-size // count)


def compute_span(size: int, count: int, turn: int) -> slice:
    """Return where fragment `turn` lies; ValueError if there is no such fragment."""
    if not 0 <= turn < count:
        raise ValueError(f"fragment {turn} is outside 0..{count - 1}")
    length = compute_length(size, count)
    begin = min(turn * length, size - length)
    return slice(begin, begin + length)
