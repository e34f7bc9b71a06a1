"""Every way to write a task wrongly gets an answer that names the field, the value and the fix."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.base.errors import InputError
from kumiai.tasks import TaskError, parse_task, task_from_mapping

# (what is written after the name, the field that the answer names, words of the fix)
WRONG = [
    ("rounds = 3", "rounds", "did you mean training.rounds?"),
    ("[training]\nround = 3", "training.round", "did you mean training.rounds?"),
    ("[training]\nlearning_rat = 0.1", "training.learning_rat", "training.learning_rate_ppm"),
    ("[trainings]\nrounds = 3", "trainings", "did you mean training"),
    ("[data]\nqwxyz = 1", "data.qwxyz", "remove it"),
    ("training = 3", "training", "section"),
    ('[training]\nrounds = "3"', "training.rounds", "must be an integer"),
    ("[training]\nrounds = 3.0", "training.rounds", "must be an integer"),
    ("[training]\nrounds = true", "training.rounds", "must be an integer"),
    ("[training]\nrounds = 0", "training.rounds", "at least 1"),
    ("[training]\nrounds = 10001", "training.rounds", "at most 10000"),
    ("[training]\nslim = 1", "training.slim", "true or false"),
    ("[data]\ntrainers = 0", "data.trainers", "at least 1"),
    ("[validation]\nvalidators = 32", "validation.validators", "at most 31"),
    ('[training]\naggregator = "crum"', "training.aggregator", "multi_krum"),
    ("[training]\nrounds = 3\nlr_warmup_rounds = 3", "training.lr_warmup_rounds", "below"),
    ('[training]\nlr_schedule = "cos"', "training.lr_schedule", "cosine"),
    (
        '[training]\nalgorithm = "fednova"\nweighting = "samples"\noptimizer = "adamw"',
        "training.optimizer",
        "set sgd",
    ),
    ('[training]\nalgorithm = "fednova"', "training.weighting", "needs samples"),
    ('[model_rewards]\npersonalise = "apfl"', "model_rewards.personalise", "ditto"),
    (
        '[model_rewards]\npersonalise = "ditto"\n[privacy]\nmode = "local"',
        "model_rewards.personalise",
        "what privacy.mode hides",
    ),
    (
        '[training]\nflower = "app:client"\n[model_rewards]\npersonalise = "fine_tune"',
        "model_rewards.personalise",
        "does the members' local work",
    ),
    ("[training]\nfragments = 65", "training.fragments", "64"),
    ("[training]\nfragments = 5\nrounds = 4", "training.fragments", "never move"),
    (
        '[training]\nfragments = 2\nalgorithm = "scaffold"\nlocal_iterations = 3',
        "training.fragments",
        "whole update",
    ),
    (
        '[training]\nfragments = 2\naggregator = "centered_clip"',
        "training.fragments",
        "another fragment",
    ),
    (
        '[training]\nfragments = 2\nslim = false\nflower = "app:client"',
        "training.fragments",
        "starts from the global model alone",
    ),
    ('[training]\nalgorithm = "scaffold"', "training.weighting", "needs samples"),
    (
        '[privacy]\nmode = "local"\n[training]\naggregator = "trust_root"',
        "training.aggregator",
        "show its hold-outs",
    ),
    (
        '[privacy]\nmode = "local"\n[training]\nslim = false\nflower = "a.b:c"',
        "training.flower",
        "account for",
    ),
    (
        '[training]\nalgorithm = "scaffold"\nlocal_iterations = 3\naggregator = "trust_root"',
        "training.aggregator",
        "no reference",
    ),
    (
        '[training]\nalgorithm = "scaffold"\nmomentum = 0.5\nlocal_iterations = 3',
        "training.momentum_ppm",
        "momentum 0",
    ),
    (
        'mode = "compete"\n[training]\nalgorithm = "scaffold"\nlocal_iterations = 3',
        "training.algorithm",
        "one update becomes the model",
    ),
    ('[model]\nrecipe = "resnet"', "model.recipe", "FILE.py:function"),
    ('[model]\nrecipe = "my.py:1x"', "model.recipe", "FILE.py:function"),
    ('[data]\nsource = "mnist"', "data.source", "mnist5k"),
    ("[model.options]\ndropout = 0.1", "model.options.dropout", "dropout_ppm"),
    ('[data.options]\n"a-b" = 1', "data.options.a-b", "letters"),
    (f"[data.options]\na = {2**53}", "data.options.a", "integer"),
    ("[data.options]\na = [1]", "data.options.a", "integer"),
    ("[model]\nwidths = [0.5, 0.25, 1]", "model.widths_ppm", "ascend"),
    ("[model]\nwidths = [0.5, 0.5, 1]", "model.widths_ppm", "ascend"),
    ("[model]\nwidths = [0.25, 0.5]", "model.widths_ppm", "end in 1000000"),
    ("[model]\nwidths = [0, 1]", "model.widths_ppm", "between 1"),
    ("[model]\nwidths = []", "model.widths_ppm", "at least 1 item"),
    ("[model]\nwidths_ppm = 5", "model.widths_ppm", "list"),
    ("[training]\nlearning_rate = 0.0000001", "training.learning_rate", "more decimals"),
    ("[training]\nlearning_rate = 0.12345678", "training.learning_rate", "0.123457"),
    (f"[training]\nlearning_rate = 0.05{'0' * 40}1", "training.learning_rate", "0.05"),
    ("[training]\nlearning_rate = 1e-9999", "training.learning_rate", "decimals"),
    ("[training]\nlearning_rate = 1e9999", "training.learning_rate", "finite"),
    ("[training]\nlearning_rate = nan", "training.learning_rate", "finite"),
    ("[training]\nlearning_rate = inf", "training.learning_rate", "finite"),
    ('[training]\nlearning_rate = "fast"', "training.learning_rate", "number"),
    ("[training]\nlearning_rate = true", "training.learning_rate", "number"),
    ("[training]\nmomentum = 1.5", "training.momentum_ppm", "at most 999999"),
    ("[training]\nmomentum = 0.5\nmomentum_ppm = 500000", "training.momentum", "one of the two"),
    ("[data]\nholdout = 0.5\ntest = 0.5", "data.holdout_ppm", "nothing is left"),
    ("[rewards]\nbudget = 9", "rewards.budget", "raise it to 10"),
    (f"[rewards]\nbudget = {2**53}", "rewards.budget", "at most"),
    ("[rewards]\ngamma = 0.6", "rewards.gamma_ppm", "at most 500000"),
    ("[training]\nbyzantine_count = 1", "training.byzantine_count", "mean withstands none"),
    (
        '[training]\naggregator = "multi_krum"\nbyzantine_count = 2',
        "training.byzantine_count",
        "at most 1 with data.trainers = 6",
    ),
    (
        '[data]\ntrainers = 2\n[training]\naggregator = "multi_krum"',
        "training.aggregator",
        "at least 3 trainers",
    ),
    (
        '[training]\naggregator = "median"\nbyzantine_count = 3',
        "training.byzantine_count",
        "at most 2",
    ),
    (
        '[training]\naggregator = "trimmed_mean"\nbyzantine_count = 3\ntrim = 0.49',
        "training.byzantine_count",
        "at most 2",
    ),
    (
        '[training]\naggregator = "trimmed_mean"\nbyzantine_count = 2\ntrim = 0.2',
        "training.trim_ppm",
        "raise it to 333334",
    ),
    ('[training]\naggregator = "trimmed_mean"\ntrim = 0.5', "training.trim_ppm", "at most 499999"),
    (
        '[training]\naggregator = "krum"\nbyzantine_count = 2',
        "training.byzantine_count",
        "krum withstands at most 1 with data.trainers = 6",
    ),
    (
        '[training]\naggregator = "geometric_median"\nbyzantine_count = 3',
        "training.byzantine_count",
        "at most 2",
    ),
    (
        '[training]\naggregator = "centered_clip"\nbyzantine_count = 3',
        "training.byzantine_count",
        "at most 2",
    ),
    (
        '[training]\naggregator = "norm_clip"\nbyzantine_count = 1',
        "training.byzantine_count",
        "bounds what each can do but withstands none",
    ),
    (
        '[training]\naggregator = "krum"\nbyzantine_count = 1\nbucket_size = 2',
        "training.bucket_size",
        "leaves 3 buckets, krum needs 5: set at most 1",
    ),
    (
        'data.trainers = 10\ntraining = {aggregator="median",byzantine_count=2,bucket_size=3}',
        "training.bucket_size",
        "leaves 4 buckets, median needs 5: set at most 2",
    ),
    (
        '[training]\naggregator = "geometric_median"\nbucket_size = 6',
        "training.bucket_size",
        "leaves 1 buckets, geometric_median needs 2: set at most 5",
    ),
    (
        '[training]\naggregator = "median"\nbyzantine_count = 3\nbucket_size = 2',
        "training.bucket_size",
        "set 1 and lower training.byzantine_count",
    ),
    ("[training]\nbucket_size = 2", "training.bucket_size", "the mean of buckets' means"),
    ("[training]\nbucket_size = 0", "training.bucket_size", "at least 1"),
    ("[training]\nclip = 0.5", "training.clip_ppm", "only norm_clip and centered_clip use it"),
    ("[training]\nclip_norm = 0.5", "training.clip_norm_ppm", "only norm_clip and centered_clip"),
    (
        '[training]\naggregator = "norm_clip"\nclip = 0.5\nclip_norm = 2',
        "training.clip_ppm",
        "not both",
    ),
    ('[training]\naggregator = "norm_clip"\nclip = 0', "training.clip_ppm", "at least 1"),
    (
        '[training]\naggregator = "median"\naggregator_iterations = 4',
        "training.aggregator_iterations",
        "only geometric_median and centered_clip use it",
    ),
    (
        'mode = "compete"\n[training]\naggregator = "trust_root"',
        "training.aggregator",
        "mode compete",
    ),
    ("[deadlines]\ntrain_ms_min = 700000", "deadlines.train_ms_min", "600000"),
    ('[settlement]\nunit = "a b"', "settlement.unit", "short name"),
    (f'[governance]\nowner = "{"x" * 201}"', "governance.owner", "at most 200"),
    ("this is not toml", "task file", "line"),
    (f"seed = {'9' * 5000}", "task file", "digits"),
    (f"description = '{'x' * 70_000}'", "task file", "65536"),
]


@pytest.mark.parametrize(("written", "field", "words"), WRONG)
def test_wrong_task(written: str, field: str, words: str) -> None:
    with pytest.raises(TaskError) as caught:
        parse_task(f'name = "x"\n{written}')
    first = caught.value.problems[0]
    assert first.field_name == field
    assert words in first.fix
    assert str(first) in str(caught.value)
    assert caught.value.exit_code == 2
    assert "pydantic" not in str(caught.value)
    assert "Decimal" not in str(caught.value)


def test_boundary_values_are_allowed() -> None:
    """The other side of each cross-field rule: what is refused above is refused by one only."""
    parse_task('name = "x"\n[rewards]\nbudget = 10')
    parse_task('name = "x"\n[training]\naggregator = "multi_krum"\nbyzantine_count = 1')
    parse_task('name = "x"\n[training]\naggregator = "median"\nbyzantine_count = 2')
    trimmed = 'name = "x"\n[training]\naggregator = "trimmed_mean"\nbyzantine_count = 2\n'
    parse_task(trimmed + "trim_ppm = 333334")
    with pytest.raises(TaskError):
        parse_task(trimmed + "trim_ppm = 333333")
    for fine in (
        'krum"\nbyzantine_count = 1',
        'geometric_median"\nbyzantine_count = 2',
        'geometric_median"\nbucket_size = 5\naggregator_iterations = 1',
        'centered_clip"\nbyzantine_count = 1\nbucket_size = 2\nclip = 0.5',
        'norm_clip"\nclip_norm = 1000',
        'trust_root"\nbyzantine_count = 5',
    ):
        parse_task(f'name = "x"\n[training]\naggregator = "{fine}')
    parse_task('name = "x"\n[data]\nholdout = 0.5\ntest = 0.499999')
    parse_task('name = "x"\n[data]\ntrainers = 1\n[validation]\nvalidators = 1')
    parse_task('name = "x"\n[deadlines]\ntrain_ms_min = 600000')


def test_name_is_required() -> None:
    with pytest.raises(TaskError, match="name = None: is required"):
        parse_task("")
    with pytest.raises(TaskError, match="at least 1 character"):
        parse_task('name = ""')


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(TaskError) as caught:
        parse_task(
            'name = "x"\nrounds = 1\n[training]\nlearning_rate = nan\nrounds = -1\n'
            "[validation]\nvalidators = 99"
        )
    assert [problem.field_name for problem in caught.value.problems] == [
        "training.learning_rate",
        "training.rounds",
        "validation.validators",
        "rounds",
    ]
    assert str(caught.value).count("\n") == 3


def test_contradictions_are_told_at_once() -> None:
    with pytest.raises(TaskError) as caught:
        parse_task('name = "x"\n[rewards]\nbudget = 1\n[model]\nwidths = [0.5]')
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("training.round", "3", "did you mean training.rounds?"),
        ("rounds", "3", "did you mean training.rounds?"),
        ("training.rounds", "many", "must be an integer"),
        ("training..rounds", "3", "section.field=value"),
        ("", "3", "section.field=value"),
        ("a.b.c.d", "3", "section.field=value"),
        ("name.x", "3", "name is not a section"),
        ("training.rounds", "3\nseed = 4", "must be an integer"),
    ],
)
def test_wrong_override(path: str, value: str, words: str) -> None:
    with pytest.raises(TaskError) as caught:
        parse_task('name = "x"', {path: value})
    assert words in caught.value.problems[0].fix


def test_text_from_a_program_must_be_unicode() -> None:
    with pytest.raises(TaskError, match="valid Unicode"):
        task_from_mapping({"name": "\ud800"})
    with pytest.raises(TaskError, match="valid Unicode"):
        task_from_mapping({"name": "x", "data": {"options": {"a": "\ud800"}}})


def test_floats_from_a_program_convert_exactly_or_not_at_all() -> None:
    task = task_from_mapping({"name": "x", "training": {"learning_rate": 0.1}})
    assert task.training.learning_rate_ppm == 100_000
    for value in (1 / 3, math.nan, math.inf):
        with pytest.raises(TaskError, match=r"training\.learning_rate"):
            task_from_mapping({"name": "x", "training": {"learning_rate": value}})


@given(st.integers(1, 10_000_000))
@settings(max_examples=50, deadline=None)
def test_a_decimal_is_its_integer(ppm: int) -> None:
    written = f"{ppm // 1_000_000}.{ppm % 1_000_000:06d}"
    task = parse_task(f'name = "x"\n[training]\nlearning_rate = {written}')
    assert task.training.learning_rate_ppm == ppm


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_text_gives_a_task_or_a_plain_answer(written: str) -> None:
    try:
        parse_task(f'name = "x"\n{written}')
    except InputError:
        return  # any other exception is a fault of ours and fails the test


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.sampled_from(["model", "data", "training", "rewards", "name", "x"]), json_like)
@settings(max_examples=150, deadline=None)
def test_any_value_gives_a_task_or_a_plain_answer(name: str, value: object) -> None:
    try:
        task_from_mapping({"name": "x", name: value})
    except InputError:
        return  # any other exception is a fault of ours and fails the test


def test_an_error_needs_a_problem() -> None:
    with pytest.raises(ValueError, match="at least one"):
        TaskError([])


def test_a_flood_of_problems_is_cut() -> None:
    with pytest.raises(TaskError, match="and 150 more"):
        task_from_mapping({"name": "x"} | {f"field{i}": 0 for i in range(200)})
