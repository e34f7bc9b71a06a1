"""What must hold between fields: each rule names the field to change and the value that would do.

What holds for aggregators alone is in `aggregators`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError
from kumiai.tasks.aggregators import count_rows, list_aggregator_problems
from kumiai.tasks.audit import list_audit_problems, list_audit_warnings
from kumiai.tasks.buffered import list_buffer_problems, list_buffer_warnings
from kumiai.tasks.codecs import DENSE_FIXED, parse_description
from kumiai.tasks.committees import list_committee_problems, list_committee_warnings
from kumiai.tasks.live import list_live_problems
from kumiai.tasks.rechecks import list_recheck_warnings
from kumiai.tasks.sections import ADAPTIVE_SERVER_OPTIMIZERS
from kumiai.tasks.secure import list_secure_problems, list_secure_warnings

if TYPE_CHECKING:
    from kumiai.tasks.document import TaskDocument

LOSSY_STAGES = frozenset({"sign", "int2", "topk", "powersgd"})  # biased: need error feedback

# (section, fields, the field that decides whether they are read, with which values; () for all but
# "none"). What is set away from its default there and not read is told.
READERS: tuple[tuple[str, tuple[str, ...], str, tuple[str, ...]], ...] = (
    ("data", ("alpha_ppm",), "partition", ("dirichlet", "quantity")),
    ("training", ("prox_mu_ppm",), "algorithm", ("fedprox",)),
    ("training", ("lr_final_ppm",), "lr_schedule", ("linear", "cosine")),
    ("training", ("lr_step_rounds", "lr_step_ppm"), "lr_schedule", ("step",)),
    (
        "training",
        ("server_beta_mean_ppm", "server_tau_ppm"),
        "server_optimizer",
        ADAPTIVE_SERVER_OPTIMIZERS,
    ),
    ("training", ("server_beta_square_ppm",), "server_optimizer", ("yogi", "adam")),
    ("training", ("trim_ppm",), "aggregator", ("trimmed_mean",)),
    ("validation", ("truncation_ppm",), "valuation", ("gtg",)),
    ("privacy", ("noise_multiplier_milli", "clip_norm_ppm", "delta_ppb"), "mode", ("local",)),
    ("privacy", ("group_size",), "mode", ("secure",)),
    ("model_rewards", ("personal_epochs", "personal_test_ppm"), "personalise", ()),
    ("model_rewards", ("personal_lambda_ppm",), "personalise", ("ditto",)),
)


def list_contradictions(task: TaskDocument) -> list[InputError]:
    """Return what the fields, each fine by itself, get wrong together."""
    return [
        *_check_widths(task),
        *_check_slim(task),
        *_check_data(task),
        *list_aggregator_problems(task),
        *_check_server(task),
        *_check_schedule(task),
        *_check_algorithm(task),
        *_check_fragments(task),
        *list_buffer_problems(task),
        *_check_personal(task),
        *list_live_problems(task),
        *_check_flower(task),
        *_check_budget(task),
        *_check_deadlines(task),
        *_check_privacy(task),
        *list_secure_problems(task),
        *list_audit_problems(task),
        *list_committee_problems(task),
    ]


def _check_slim(task: TaskDocument) -> list[InputError]:
    """Distillation needs a full width that teaches and narrow ones that learn."""
    if task.training.slim_distill and not task.training.slim:
        fix = "false, or set training.slim = true: without slim no narrow width is trained"
        return [InputError("training.slim_distill", True, fix)]
    return []


def list_warnings(task: TaskDocument) -> list[str]:
    """Return what is allowed but should be known before the run: one sentence each."""
    warnings = list_committee_warnings(task)
    warnings += _warn_of_codec(task) + _warn_of_aggregator(task) + _warn_of_unread(task)
    if task.training.algorithm == "fednova" and task.training.local_iterations:
        warnings.append(
            "training.algorithm = fednova: with training.local_iterations set all members work "
            "equally long, and it does what fedavg does"
        )
    if task.privacy.mode == "local" and task.validation.work_z_milli > 0:
        warnings.append(
            f"validation.work_z_milli = {task.validation.work_z_milli}: private updates carry "
            "noise and may be taken for no work; 0 turns the test off"
        )
    warnings += list_secure_warnings(task) + list_buffer_warnings(task) + list_audit_warnings(task)
    if task.rewards.alpha > 1:
        warnings.append(
            f"rewards.alpha = {task.rewards.alpha}: a big stake earns more than its share"
        )
    warnings += list_recheck_warnings(task)
    if not task.governance.responsible:
        warnings.append('governance.responsible = "": nobody is on record as answering for the run')
    return warnings


def _warn_of_codec(task: TaskDocument) -> list[str]:
    codec, aggregator = task.training.codec, task.training.aggregator
    names = [] if codec == DENSE_FIXED else [name for name, _ in parse_description(codec)]
    warnings = []
    lossy = [name for name in names if name in LOSSY_STAGES]
    if lossy and "ef" not in names:
        warnings.append(
            f'training.codec = "{codec}": what {" and ".join(lossy)} leaves out is lost for good; '
            "ef in front sends it later"
        )
    if "topk" in names and aggregator in ("median", "trimmed_mean"):
        warnings.append(
            f"training.aggregator = {aggregator}: with topk most updates are zero at most weights, "
            "and so is their middle; the model hardly moves"
        )
    return warnings


def _warn_of_aggregator(task: TaskDocument) -> list[str]:
    """A robust rule that drops nobody is the mean, whatever its name promises."""
    training = task.training
    rows = count_rows(task.data.trainers, training.bucket_size)
    if training.aggregator == "multi_krum" and training.byzantine_count == 0:
        reason = "training.byzantine_count = 0 leaves nobody out"
    elif training.aggregator == "trimmed_mean" and rows * training.trim_ppm // PPM == 0:
        reason = f"training.trim_ppm = {training.trim_ppm} cuts off none of {rows}"
    else:
        return []
    return [f"training.aggregator = {training.aggregator}: {reason}; it is the mean"]


def _warn_of_unread(task: TaskDocument) -> list[str]:
    warnings = []
    for name, fields, key, readers in READERS:
        section = getattr(task, name)
        chosen = getattr(section, key)
        if chosen in readers or (not readers and chosen != "none"):
            continue
        for field in fields:
            value = getattr(section, field)
            if value != type(section).model_fields[field].default:
                warnings.append(f"{name}.{field} = {value}: not used with {name}.{key} = {chosen}")
    return warnings


def _check_widths(task: TaskDocument) -> list[InputError]:
    widths = task.model.widths_ppm
    field = "model.widths_ppm"
    if any(not 1 <= width <= PPM for width in widths):
        return [InputError(field, list(widths), f"each width must lie between 1 and {PPM} ppm")]
    if any(low >= high for low, high in pairwise(widths)):
        return [InputError(field, list(widths), "must ascend, each width once")]
    if widths[-1] != PPM:
        return [InputError(field, list(widths), f"must end in {PPM}, the full network")]
    return []


def _check_data(task: TaskDocument) -> list[InputError]:
    kept_ppm = task.data.holdout_ppm + task.data.test_ppm
    if kept_ppm < PPM:
        return []
    test_ppm = task.data.test_ppm
    fix = f"with data.test_ppm = {test_ppm} nothing is left to train on: lower one of the two"
    return [InputError("data.holdout_ppm", task.data.holdout_ppm, fix)]


def _check_server(task: TaskDocument) -> list[InputError]:
    training = task.training
    momentum, optimizer = training.server_momentum_ppm, training.server_optimizer
    if momentum and optimizer in ADAPTIVE_SERVER_OPTIMIZERS:
        fix = f"server_optimizer = {optimizer} has none: leave it out, or set server_beta_mean_ppm"
        return [InputError("training.server_momentum_ppm", momentum, fix)]
    return []


def _check_schedule(task: TaskDocument) -> list[InputError]:
    warmup, rounds = task.training.lr_warmup_rounds, task.training.rounds
    if warmup < rounds:
        return []
    fix = f"must be below training.rounds = {rounds}: no round would have the full rate after it"
    return [InputError("training.lr_warmup_rounds", warmup, fix)]


def _check_algorithm(task: TaskDocument) -> list[InputError]:
    training, name = task.training, task.training.algorithm
    if name not in ("fednova", "scaffold"):
        return []
    if training.optimizer != "sgd":
        fix = f"{name} knows the length of sgd's path only: set sgd, or choose another algorithm"
        return [InputError("training.optimizer", training.optimizer, fix)]
    if name == "scaffold" and training.momentum_ppm:
        fix = "scaffold reads the mean gradient off the update, which needs momentum 0"
        return [InputError("training.momentum_ppm", training.momentum_ppm, fix)]
    if name == "scaffold" and training.aggregator in ("centered_clip", "trust_root"):
        fix = "scaffold combines gradients too, for which there is no reference: choose another"
        return [InputError("training.aggregator", training.aggregator, fix)]
    if name == "scaffold" and task.mode == "compete":
        fix = "with mode = compete one update becomes the model: scaffold has nothing to correct"
        return [InputError("training.algorithm", name, fix)]
    if training.weighting != "samples" and not training.local_iterations:
        fix = (
            f"{name} needs samples, or training.local_iterations: a member's iterations follow "
            "from the samples it claims"
        )
        return [InputError("training.weighting", training.weighting, fix)]
    return []


def _check_fragments(task: TaskDocument) -> list[InputError]:
    training, field = task.training, "training.fragments"
    count = training.fragments
    if count == 1:
        return []
    if count > training.rounds:
        fix = f"with training.rounds = {training.rounds} some would never move: lower it"
        return [InputError(field, count, fix)]
    if training.algorithm in ("fednova", "scaffold"):
        fix = f"{training.algorithm} needs a round's whole update: set 1, or another algorithm"
        return [InputError(field, count, fix)]
    if training.aggregator == "centered_clip":
        fix = "centered_clip starts from the last step, which was another fragment's: set 1"
        return [InputError(field, count, fix)]
    if training.flower:
        fix = f"training.flower = {training.flower} starts from the global model alone: set 1"
        return [InputError(field, count, fix)]
    return []


def _check_personal(task: TaskDocument) -> list[InputError]:
    field, mode = "model_rewards.personalise", task.model_rewards.personalise
    if mode == "none":
        return []
    if task.privacy.mode != "none":
        fix = "a member's own model would show what privacy.mode hides: set none for one of them"
        return [InputError(field, mode, fix)]
    if task.training.flower:
        fix = f"training.flower = {task.training.flower} does the members' local work: set none"
        return [InputError(field, mode, fix)]
    return []


def _check_flower(task: TaskDocument) -> list[InputError]:
    """A ClientApp does its own local work: what would change ours must not be asked for."""
    training, problems = task.training, []
    if training.flower and training.slim:
        fix = f"training.flower = {training.flower} trains the full network only: set slim = false"
        problems.append(InputError("training.slim", True, fix))
    if training.flower and training.algorithm not in ("fedavg", "diloco"):
        fix = f"training.flower = {training.flower} does its own local work: set fedavg or diloco"
        problems.append(InputError("training.algorithm", training.algorithm, fix))
    if training.flower and training.lr_schedule != "constant":
        fix = f"training.flower = {training.flower} has its own rates: set constant"
        problems.append(InputError("training.lr_schedule", training.lr_schedule, fix))
    return problems


def _check_budget(task: TaskDocument) -> list[InputError]:
    members = task.data.trainers + task.validation.validators
    least = task.rewards.payout_min * members
    if task.rewards.budget >= least:
        return []
    fix = (
        f"cannot pay {members} members rewards.payout_min = {task.rewards.payout_min} each: "
        f"raise it to {least} or lower the minimum payout"
    )
    return [InputError("rewards.budget", task.rewards.budget, fix)]


def _check_deadlines(task: TaskDocument) -> list[InputError]:
    least, most = task.deadlines.train_ms_min, task.deadlines.train_ms_max
    if least <= most:
        return []
    fix = f"must not exceed deadlines.train_ms_max = {most}"
    return [InputError("deadlines.train_ms_min", least, fix)]


def _check_privacy(task: TaskDocument) -> list[InputError]:
    privacy, backend = task.privacy, task.training.backend
    if privacy.mode != "local":
        return []
    problems = []
    with_mode = f'with privacy.mode = "{privacy.mode}"'
    if privacy.noise_multiplier_milli == 0:
        fix = f'{with_mode} must be at least 1: without noise nothing is hidden; or set mode "none"'
        problems.append(InputError("privacy.noise_multiplier_milli", 0, fix))
    if privacy.clip_norm_ppm == 0:
        fix = f"{with_mode} must be at least 1: a gradient of length 0 teaches nothing"
        problems.append(InputError("privacy.clip_norm_ppm", 0, fix))
    if not 0 < privacy.delta_ppb < 1_000_000_000:
        fix = f"{with_mode} must lie between 1 and 999999999, for example 10000 (1e-5)"
        problems.append(InputError("privacy.delta_ppb", privacy.delta_ppb, fix))
    if backend not in ("auto", "inline"):
        fix = f'{with_mode} members train one by one: choose "auto" or "inline"'
        problems.append(InputError("training.backend", backend, fix))
    if task.training.aggregator == "trust_root":
        fix = f"{with_mode} the committee's own updates would show its hold-outs: choose another"
        problems.append(InputError("training.aggregator", "trust_root", fix))
    if task.training.flower:
        fix = f"{with_mode} the noise must be ours to account for: leave it out, or set mode none"
        problems.append(InputError("training.flower", task.training.flower, fix))
    return problems
