"""Flags that follow from the bytes of updates alone, so that anybody can recompute them."""

MALFORMED = 1  # not safetensors, wrong name, shape or dtype, bigger than the cap
DUPLICATE = 2  # a near-copy of an update committed earlier in this round
REPLAY = 4  # a near-copy of the previous round's aggregate
NO_WORK = 8  # uncorrelated with everybody else's update: noise
ZERO = 16  # (almost) nothing but zeros
OUTSIDE = 32  # changes numbers outside of the width that the member was given
SHOWN = 64  # a near-copy of what another member showed in one of the rounds before

ALL = MALFORMED | DUPLICATE | REPLAY | NO_WORK | ZERO | OUTSIDE | SHOWN
# the first that is set names the verdict
EACH = (MALFORMED, OUTSIDE, DUPLICATE, SHOWN, REPLAY, ZERO, NO_WORK)
