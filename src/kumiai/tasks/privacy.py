"""Privacy in a task: what a member's updates may tell, and how that is kept small.

Like `sections`, part of the hashed form: names, defaults and bounds are kept once published.
"""

from __future__ import annotations

from typing import Literal

from kumiai.tasks.fields import RATIO_PPM_MAX, Section, one_of, setting, share
from kumiai.tasks.secure import GROUP_SIZE_MAX, GROUP_SIZE_MIN


class PrivacySection(Section):
    """What a member's updates may tell about one of its samples, and how that is kept small."""

    mode: Literal["none", "local", "secure"] = one_of(
        "none",
        "none: updates are sent as they are; local: each member trains by DP-SGD, so that its "
        "updates hide every single sample from everybody else; secure: updates are masked, and "
        "only their sums by group can be opened.",
    )
    group_size: int = setting(
        3,
        "trainers",
        "secure: least trainers whose updates are summed before anybody sees them, put together "
        "by lot every round; more hides better and tells less about who contributed what.",
        ge=GROUP_SIZE_MIN,
        le=GROUP_SIZE_MAX,
    )
    noise_multiplier_milli: int = setting(
        1_000,
        "thousandths",
        "local: noise on a batch's summed gradients, in units of clip_norm; more hides better.",
        ge=0,
        le=1_000_000,
    )
    clip_norm_ppm: int = share(
        1_000_000,
        "local: a single sample's gradient is cut to this length.",
        le=RATIO_PPM_MAX,
    )
    delta_ppb: int = setting(
        10_000,
        "billionths",
        "local: probability with which epsilon may not hold; less than one over a shard's samples.",
        ge=0,
        le=1_000_000_000,
    )
