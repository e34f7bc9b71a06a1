"""The work of a task: which network, which data, how members train, how they are judged.

Every field has a default, a unit and bounds; the defaults are those of the demo's kind of run (a
handful of members, minutes on a laptop). Names, defaults and bounds are part of the hashed form:
changing one changes what an old document means, so it needs a changelog entry.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from kumiai.base.amounts import PPM
from kumiai.tasks.codecs import DENSE_FIXED, DESCRIPTION_LENGTH_MAX
from kumiai.tasks.fields import (
    COMPONENT_PATTERN,
    FRAGMENTS_MAX,
    OPTION_COUNT_MAX,
    RATIO_PPM_MAX,
    RECIPE_PATTERN,
    ROUNDS_MAX,
    SOURCE_PATTERN,
    STALENESS_MAX,
    TRAINERS_MAX,
    VALIDATORS_MAX,
    CodecText,
    Options,
    Section,
    Text,
    Widths,
    one_of,
    setting,
    share,
)

# DiLoCo's outer optimiser (A. Douillard et al., 2023, section 3): Nesterov, rate 0.7, momentum 0.9
DILOCO_SERVER_LEARNING_RATE_PPM = 700_000
DILOCO_SERVER_MOMENTUM_PPM = 900_000

# of the server, per weight and round: a step of an adaptive rule is about its rate, whatever the
# size of the updates
ADAPTIVE_SERVER_OPTIMIZERS = ("adagrad", "yogi", "adam")
ADAPTIVE_SERVER_LEARNING_RATE_PPM = 30_000


class ModelSection(Section):
    """Which network is trained, and in which widths it can be handed out."""

    recipe: Text = setting(
        "mlp",
        "recipe",
        "The network: mlp, cnn, resnet18, transformer, lora (adapters on a language model in a "
        "folder: docs/lora.md), or FILE.py:function of your own.",
        pattern=RECIPE_PATTERN,
        max_length=200,
    )
    options: Options = setting(
        {}, "table", "Arguments of the recipe, by name.", max_length=OPTION_COUNT_MAX
    )
    widths_ppm: Widths = setting(
        (250_000, 500_000, 750_000, 1_000_000),
        "ppm",
        "The widths a member can receive, as shares of the full network, ascending, the last 1.",
        min_length=1,
        max_length=16,
    )


class DataSection(Section):
    """Which data, how it is divided among the trainers, and what is kept aside."""

    mode: Literal["private", "assigned"] = one_of(
        "private",
        "private: each trainer keeps its own data; assigned: the customer hands out the shards.",
    )
    source: Text = setting(
        "mnist5k",
        "source",
        "The data: mnist5k, digits, penguins, sotu, or FILE.py:function of your own.",
        pattern=SOURCE_PATTERN,
        max_length=200,
    )
    options: Options = setting(
        {}, "table", "Arguments of the data loader, by name.", max_length=OPTION_COUNT_MAX
    )
    partition: Literal["dirichlet", "iid", "quantity", "owner"] = one_of(
        "dirichlet",
        "How the data is divided: dirichlet (unequal labels), iid, quantity (unequal sizes), "
        "owner (the data's natural owners).",
    )
    alpha_ppm: int = share(
        500_000,
        "Concentration of the dirichlet and quantity partitions: small is unequal.",
        ge=1_000,
        le=RATIO_PPM_MAX,
    )
    trainers: int = setting(
        6, "count", "Number of shards, one for each honest trainer.", ge=1, le=TRAINERS_MAX
    )
    holdout_ppm: int = share(
        200_000, "Share of the data that validators score with; never trained on.", ge=1_000
    )
    test_ppm: int = share(
        200_000, "Share of the data that is only reported on: neither trained on nor scored with."
    )
    open_holdout: bool = setting(
        True, "switch", "Publish the hold-out after the run, so that anyone can redo the scores."
    )


class TrainingSection(Section):
    """How the members train, and how their updates become one model."""

    rounds: int = setting(8, "rounds", "How often updates are combined.", ge=1, le=ROUNDS_MAX)
    local_epochs: int = setting(
        1, "epochs", "Passes over a trainer's own data in one round.", ge=1, le=1_000
    )
    local_iterations: int = setting(
        0,
        "iterations",
        "Optimiser updates in one round; 0 lets local_epochs decide.",
        ge=0,
        le=1_000_000,
    )
    batch_size: int = setting(
        32, "samples", "Samples in one optimiser update; the last is filled up.", ge=1, le=65_536
    )
    optimizer: Literal["sgd", "adamw", "muon"] = one_of(
        "sgd",
        "The trainers' optimiser. muon: orthogonal steps for matrices, adamw at a tenth of the "
        "rate for all else; with algorithm diloco it takes the place of adamw.",
    )
    learning_rate_ppm: int = share(
        50_000, "Learning rate of the trainers' optimiser.", ge=1, le=10 * PPM
    )
    lr_schedule: Literal["constant", "linear", "cosine", "step"] = one_of(
        "constant", "How the learning rate goes over the rounds, after the warm-up."
    )
    lr_warmup_rounds: int = setting(
        0,
        "rounds",
        "Rounds in which the learning rate rises to its full value.",
        ge=0,
        le=ROUNDS_MAX,
    )
    lr_final_ppm: int = share(
        100_000, "linear and cosine: share of the learning rate that the last round has."
    )
    lr_step_rounds: int = setting(
        10, "rounds", "step: rounds between two steps.", ge=1, le=ROUNDS_MAX
    )
    lr_step_ppm: int = share(
        100_000, "step: what the learning rate is multiplied by at each step.", ge=1
    )
    momentum_ppm: int = share(0, "Momentum of sgd, and of muon (there 0 means 0.95).", le=999_999)
    weight_decay_ppm: int = share(0, "Weight decay of the trainers' optimiser.")
    algorithm: Literal["fedavg", "fedprox", "fednova", "scaffold", "diloco"] = one_of(
        "fedavg",
        "How local work and the server's update are put together. fednova: an update counts by "
        "direction, not by how many iterations its member made; scaffold: a member corrects its "
        "gradient by how its data usually pulls, against how everybody's does.",
    )
    prox_mu_ppm: int = share(
        10_000, "FedProx: pull towards the global model (mu).", le=RATIO_PPM_MAX
    )
    server_learning_rate_ppm: int = share(
        1_000_000,
        "Share of the combined update that is applied; if left out 0.7 with algorithm diloco, and "
        "0.03 with an adaptive server_optimizer.",
        ge=1,
        le=10 * PPM,
    )
    server_momentum_ppm: int = share(
        0,
        "Momentum of the server's update; with algorithm diloco 0.9 (Nesterov) if left out.",
        le=999_999,
    )
    server_optimizer: Literal["auto", "sgd", "nesterov", "adagrad", "yogi", "adam"] = one_of(
        "auto",
        "How the server moves the model by the combined update; auto: nesterov with algorithm "
        "diloco, else sgd.",
    )
    server_beta_mean_ppm: int = share(
        900_000, "Adaptive server_optimizer: how long the mean update is remembered.", le=999_999
    )
    server_beta_square_ppm: int = share(
        990_000, "adam and yogi of the server: how long the mean square is remembered.", le=999_999
    )
    server_tau_ppm: int = share(
        1_000,
        "Adaptive server_optimizer: what is added to the root of the mean square; small adapts "
        "more.",
        ge=1,
    )
    aggregator: Literal[
        "mean",
        "median",
        "trimmed_mean",
        "krum",
        "multi_krum",
        "geometric_median",
        "centered_clip",
        "norm_clip",
        "trust_root",
    ] = one_of(
        "mean",
        "How updates are combined; all but mean withstand hostile ones by themselves, norm_clip "
        "only in part. trust_root: by what the committee itself learns on its hold-outs.",
    )
    trim_ppm: int = share(
        200_000, "trimmed_mean: share cut off at each end; less than one half.", le=499_999
    )
    byzantine_count: int = setting(
        0,
        "trainers",
        "Hostile trainers that the aggregator itself must withstand.",
        ge=0,
        le=TRAINERS_MAX,
    )
    bucket_size: int = setting(
        1,
        "trainers",
        "Updates averaged by lot before the aggregator sees them; 1 for none. For unequal data.",
        ge=1,
        le=TRAINERS_MAX,
    )
    clip_ppm: int = share(
        PPM,
        "norm_clip, centered_clip: longest step, as a share of the members' median length.",
        ge=1,
        le=RATIO_PPM_MAX,
    )
    clip_norm_ppm: int = share(
        0,
        "norm_clip, centered_clip: longest step as an absolute norm instead; 0 for none.",
        le=RATIO_PPM_MAX,
    )
    aggregator_iterations: int = setting(
        0,
        "iterations",
        "geometric_median, centered_clip: steps of the search; 0 for 32 and 3.",
        ge=0,
        le=1_000,
    )
    weighting: Literal["equal", "samples"] = one_of(
        "equal", "Weight of each update: equal, or by the number of samples that was claimed."
    )
    codec: CodecText = setting(
        DENSE_FIXED,
        "codec",
        "How updates travel: dense-fixed (whole), or stages in a row such as "
        "ef|topk:density=0.01|int2, which send less and lose some.",
        max_length=DESCRIPTION_LENGTH_MAX,
    )
    fragments: int = setting(
        1,
        "fragments",
        "Parts of the model that travel and move in turn, one a round; members keep what they "
        "learnt of the others and go on from it (Streaming DiLoCo). 1: the whole in every round.",
        ge=1,
        le=FRAGMENTS_MAX,
    )
    buffer: int = setting(
        0,
        "commitments",
        "Commitments that close the training phase of a round (FedBuff's K); who is not ready goes "
        "on and commits in a later round. 0: a round waits for everybody.",
        ge=0,
        le=TRAINERS_MAX,
    )
    staleness_max: int = setting(
        0,
        "rounds",
        "Rounds that an update may be older than the round it is committed in; it then counts "
        "1/sqrt(1 + age). 0: what is not ready in its round is lost.",
        ge=0,
        le=STALENESS_MAX,
    )
    slim: bool = setting(True, "switch", "Train every width, so that each is a usable model.")
    slim_distill: bool = setting(
        False,
        "switch",
        "Narrow widths learn the full one's outputs instead of the labels (long training).",
    )
    backend: Literal["auto", "inline", "vectorised", "process", "ray"] = one_of(
        "auto",
        "How the work is executed; auto measures at the start and says what it chose, but never "
        "ray, which needs its extra: pip install 'kumiai[ray]'.",
    )
    flower: Text = setting(
        "",
        "component",
        "A Flower ClientApp that does the members' local work, pkg.module:name beside the task "
        "file; empty: the engine does it.",
        pattern=COMPONENT_PATTERN,
        max_length=200,
    )

    @model_validator(mode="before")
    @classmethod
    def _default_server(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if value.get("server_optimizer") in ADAPTIVE_SERVER_OPTIMIZERS:
            return {"server_learning_rate_ppm": ADAPTIVE_SERVER_LEARNING_RATE_PPM} | value
        if value.get("algorithm") == "diloco":
            return {
                "server_learning_rate_ppm": DILOCO_SERVER_LEARNING_RATE_PPM,
                "server_momentum_ppm": DILOCO_SERVER_MOMENTUM_PPM,
            } | value
        return value


class ValidationSection(Section):
    """How contributions are measured, and what counts as no honest work."""

    ordering: Literal["single", "committee"] = one_of(
        "single",
        "Who gives events their place. single: one orderer; committee: the validators agree on "
        "every place (PBFT); of n, (n - 1) / 3 may do anything.",
    )
    valuation: Literal[
        "gtg",
        "loo",
        "standalone",
        "exact",
        "permutation",
        "tmc",
        "strata",
        "banzhaf",
        "cosine",
        "cgsv",
        "class_cosine",
    ] = one_of(
        "gtg",
        "How a contribution is measured. On the hold-outs: gtg, permutation, tmc, strata and exact "
        "(Shapley value), banzhaf, loo (leave one out), standalone. By the updates alone: cosine, "
        "cgsv, class_cosine.",
    )
    permutations_max: int = setting(
        40,
        "permutations",
        "Orders of the members that are tried at most, or as many models by banzhaf and strata.",
        ge=1,
        le=10_000,
    )
    truncation_ppm: int = share(
        1_000, "gtg: a gain below this many millionths of a nat ends an order early."
    )
    harm_floor_ppm: int = share(
        2_000, "An update is harmful below minus this many millionths of a nat.", le=100 * PPM
    )
    duplicate_cosine_ppm: int = share(
        990_000, "Two updates with at least this cosine count as one, the earlier one's."
    )
    replay_cosine_ppm: int = share(
        980_000, "An update with at least this cosine to the last aggregate counts as a replay."
    )
    work_z_milli: int = setting(
        4_000,
        "thousandths",
        "Least z-score of an update's cosine with any other update or their mean; below is noise.",
        ge=0,
        le=1_000_000,
    )
    canaries: int = setting(
        1,
        "submissions",
        "Submissions of known value a round, mixed in to test the validators.",
        ge=0,
        le=16,
    )
    recheck_ppm: int = share(
        600_000,
        "Share of the score sheets that another validator recomputes on the opened hold-out; a "
        "sheet found false costs its author's held-back pay. 0: none. Needs data.open_holdout.",
    )
    validators: int = setting(
        4,
        "count",
        "Validators that take part: n members tolerate (n-1)//3 faulty ones.",
        ge=1,
        le=VALIDATORS_MAX,
    )
    epoch_rounds: int = setting(
        10,
        "rounds",
        "Rounds after which the committee is drawn anew, by stake, from the validators that were "
        "not put out. 0: one committee for the whole run, unless no quorum of it is left.",
        ge=0,
        le=ROUNDS_MAX,
    )
    seats: int = setting(
        0,
        "validators",
        "Validators in an epoch's committee, which judges, certifies and orders. 0: all of them.",
        ge=0,
        le=VALIDATORS_MAX,
    )
