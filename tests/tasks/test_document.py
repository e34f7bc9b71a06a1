"""The task document: one document, one hash, whichever way it was written down."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kumiai.base import canonical
from kumiai.tasks import (
    TaskDocument,
    TaskError,
    compute_task_id,
    describe_fields,
    list_paths,
    list_warnings,
    parse_task,
    task_from_document,
    task_from_mapping,
    to_document,
)
from kumiai.tasks.reference import write_handbook, write_schema

DOCS = Path(__file__).parents[2] / "docs"
LEAST = 'name = "least"'


def test_defaults_are_those_that_every_room_relies_on() -> None:
    task = parse_task(LEAST)
    assert (task.mode, task.seed, task.training.rounds, task.data.trainers) == ("federate", 0, 8, 6)
    assert task.model.widths_ppm == (250_000, 500_000, 750_000, 1_000_000)
    assert task.validation.validators == 4
    assert task.rewards.locked_ppm == 900_000


def test_id_is_stable() -> None:
    # a change here means that old runs no longer verify: bump the schema, note it in the changelog
    assert (
        compute_task_id(parse_task(LEAST))
        == "4aa79a910e28650a92625ab2be2fd28b424467e46cfc2b66aab69e7d2ba0148f"
    )


def test_id_depends_on_every_field() -> None:
    document = to_document(parse_task(LEAST))
    seen = {canonical.hash_document(document)}
    for path in list_paths():
        changed = copy.deepcopy(document)
        table: Any = changed
        *sections, name = path.split(".")
        for section in sections:
            table = table[section]
        table[name] = [table[name], "changed"]
        seen.add(canonical.hash_document(changed))
    assert len(seen) == len(list_paths()) + 1


def test_document_holds_every_field_and_no_float() -> None:
    document = to_document(parse_task(LEAST))
    flat = []
    for name, value in document.items():
        flat += [f"{name}.{key}" for key in value] if isinstance(value, dict) else [name]
    assert sorted(flat) == sorted(list_paths())
    canonical.encode_checked(document)  # raises on a float


def test_order_and_notation_do_not_matter() -> None:
    one = parse_task(
        'name = "x"\n[training]\nlearning_rate = 0.05\nrounds = 3\n[data]\nalpha = 0.5'
    )
    two = parse_task('name = "x"\n[data]\nalpha_ppm = 500000\n[training]\nrounds = 3')
    assert compute_task_id(one) == compute_task_id(two)


def test_a_task_cannot_be_changed() -> None:
    task = parse_task(LEAST)
    with pytest.raises(ValidationError):
        task.training.rounds = 9  # type: ignore[misc]


@pytest.mark.parametrize("optimizer", ["adagrad", "yogi", "adam"])
def test_an_adaptive_server_brings_its_own_rate_and_has_no_momentum(optimizer: str) -> None:
    text = f'name = "x"\n[training]\nserver_optimizer = "{optimizer}"\n'
    assert parse_task(text).training.server_learning_rate_ppm == 30_000
    own = parse_task(text + 'algorithm = "diloco"\nserver_learning_rate = 0.1')
    assert own.training.server_learning_rate_ppm == 100_000
    assert own.training.server_momentum_ppm == 0
    with pytest.raises(TaskError, match=r"training\.server_momentum_ppm = 500000.*leave it out"):
        parse_task(text + "server_momentum = 0.5")


def test_diloco_brings_its_own_outer_optimiser() -> None:
    task = parse_task('name = "x"\n[training]\nalgorithm = "diloco"')
    assert task.training.server_learning_rate_ppm == 700_000
    assert task.training.server_momentum_ppm == 900_000
    own = parse_task('name = "x"\n[training]\nalgorithm = "diloco"\nserver_momentum = 0')
    assert own.training.server_momentum_ppm == 0
    assert own.training.server_learning_rate_ppm == 700_000


options = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True),
    st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=20), st.booleans()),
    max_size=4,
)


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, Any]:
    inner = draw(st.sets(st.integers(1, 999_999), max_size=5))
    return {
        "name": draw(st.text(min_size=1, max_size=80)),
        "seed": draw(st.integers(0, 2**53 - 1)),
        "mode": draw(st.sampled_from(["federate", "compete"])),
        "model": {"options": draw(options), "widths_ppm": [*sorted(inner), 1_000_000]},
        "data": {"options": draw(options), "trainers": draw(st.integers(3, 10_000))},
        "training": {
            "rounds": draw(st.integers(1, 10_000)),
            "algorithm": draw(st.sampled_from(["fedavg", "fedprox", "diloco"])),
            "aggregator": draw(st.sampled_from(["mean", "median", "multi_krum"])),
            "slim": draw(st.booleans()),
        },
        "rewards": {"budget": draw(st.integers(10_100, 2**53 - 1))},
    }


@settings(max_examples=60, deadline=None)
@given(mappings())
def test_round_trip(mapping: dict[str, Any]) -> None:
    task = task_from_mapping(mapping)
    document = canonical.decode(canonical.encode_checked(to_document(task)), 1_000_000)
    again = task_from_document(document)
    assert again == task
    assert to_document(again) == document
    assert compute_task_id(again) == compute_task_id(task)


@pytest.mark.parametrize("path", list_paths())
def test_hashed_form_must_be_complete(path: str) -> None:
    document = to_document(parse_task(LEAST))
    table: Any = document
    *sections, name = path.split(".")
    for section in sections:
        table = table[section]
    del table[name]
    with pytest.raises(TaskError, match=path.replace(".", r"\.")):
        task_from_document(document)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("training", "learning_rate", 0.05),
        ("training", "rounds", 8.0),
        ("training", "rounds", True),
        ("training", "slim", 1),
        ("training", "surprise", 1),
        ("governance", "owner", None),
    ],
)
def test_hashed_form_takes_no_second_notation(section: str, field: str, value: object) -> None:
    document = to_document(parse_task(LEAST))
    document[section][field] = value
    with pytest.raises(TaskError):
        task_from_document(document)


def test_hashed_form_is_checked_as_a_whole() -> None:
    document = to_document(parse_task(LEAST))
    document["rewards"]["budget"] = 1
    with pytest.raises(TaskError, match=r"rewards\.budget"):
        task_from_document(document)


def test_overrides_win_in_either_notation() -> None:
    toml = 'name = "x"\n[training]\nlearning_rate_ppm = 7\nrounds = 2'
    task = parse_task(toml, {"training.learning_rate": "0.2", "training.rounds": "3"})
    assert (task.training.learning_rate_ppm, task.training.rounds) == (200_000, 3)
    back = parse_task(
        'name = "x"\n[training]\nlearning_rate = 0.2', {"training.learning_rate_ppm": "7"}
    )
    assert back.training.learning_rate_ppm == 7


def test_overrides_read_toml_but_keep_text_as_text() -> None:
    task = parse_task(
        LEAST,
        {
            "name": "33",
            "data.source": "digits",
            "governance.owner": '"true"',
            "data.options.k": "5",
            "model.widths": "[0.5, 1]",
            "training.slim": "false",
        },
    )
    assert (task.name, task.data.source, task.governance.owner) == ("33", "digits", "true")
    assert task.data.options == {"k": 5}
    assert task.model.widths_ppm == (500_000, 1_000_000)
    assert task.training.slim is False


def test_an_override_sets_one_field_only() -> None:
    task = parse_task(LEAST, {"description": "a\nseed = 5"})
    assert (task.description, task.seed) == ("a\nseed = 5", 0)


def test_warnings_name_what_is_weak() -> None:
    quiet = '[governance]\nresponsible = "somebody"'
    assert list_warnings(parse_task(f"{LEAST}\n{quiet}")) == []
    for count, word in ((1, "decides alone"), (3, "no faulty validator")):
        task = parse_task(f"{LEAST}\n{quiet}\n[validation]\nvalidators = {count}")
        (warning,) = list_warnings(task)
        assert word in warning
    weak = parse_task(
        f"{LEAST}\n[rewards]\nalpha = 2\n[validation]\ncanaries = 0\n[data]\nopen_holdout = false"
    )
    assert len(list_warnings(weak)) == 4
    unchecked = parse_task(f"{LEAST}\n{quiet}\n[validation]\nrecheck_ppm = 0")
    (warning,) = list_warnings(unchecked)
    assert warning.startswith("validation.recheck_ppm = 0")
    quiet += "\n[validation]\ncanaries = 0"  # who is rechecked does not go unnoticed
    assert list_warnings(parse_task(f"{LEAST}\n{quiet}")) == []


UNREAD = [
    ("data", "alpha_ppm", 7_000, "partition", "iid", "quantity"),
    ("training", "prox_mu_ppm", 7, "algorithm", "fedavg", "fedprox"),
    ("training", "lr_final_ppm", 7, "lr_schedule", "step", "cosine"),
    ("training", "lr_step_rounds", 7, "lr_schedule", "linear", "step"),
    ("training", "server_tau_ppm", 7, "server_optimizer", "sgd", "adagrad"),
    ("training", "server_beta_square_ppm", 7, "server_optimizer", "adagrad", "yogi"),
    ("training", "trim_ppm", 300_000, "aggregator", "median", "trimmed_mean"),
    ("validation", "truncation_ppm", 7, "valuation", "tmc", "gtg"),
    ("privacy", "noise_multiplier_milli", 7, "mode", "none", "local"),
    ("model_rewards", "personal_epochs", 7, "personalise", "none", "ditto"),
    ("model_rewards", "personal_lambda_ppm", 7, "personalise", "fine_tune", "ditto"),
]


@pytest.mark.parametrize(("section", "field", "value", "key", "idle", "reading"), UNREAD)
def test_what_is_set_and_not_read_is_told(
    section: str, field: str, value: int, key: str, idle: str, reading: str
) -> None:
    def tell(chosen: str) -> list[str]:
        task = task_from_mapping({"name": "x", section: {field: value, key: chosen}})
        return [line for line in list_warnings(task) if line.startswith(f"{section}.{field} ")]

    assert tell(idle) == [f"{section}.{field} = {value}: not used with {section}.{key} = {idle}"]
    assert tell(reading) == []


@pytest.mark.parametrize(
    ("training", "trainers", "told"),
    [
        ({"aggregator": "multi_krum"}, 9, True),
        ({"aggregator": "multi_krum", "byzantine_count": 1}, 9, False),
        ({"aggregator": "krum"}, 9, False),
        ({"aggregator": "trimmed_mean"}, 4, True),
        ({"aggregator": "trimmed_mean"}, 5, False),
        ({"aggregator": "trimmed_mean", "bucket_size": 2}, 8, True),
    ],
)
def test_a_robust_rule_that_drops_nobody_is_told(
    training: dict[str, object], trainers: int, told: bool
) -> None:
    task = task_from_mapping({"name": "x", "data": {"trainers": trainers}, "training": training})
    assert any("it is the mean" in line for line in list_warnings(task)) == told


def test_every_field_says_what_it_is() -> None:
    rows = describe_fields()
    assert [row.path for row in rows] == list_paths()
    for row in rows:
        assert row.unit, row.path
        assert row.description.endswith("."), row.path
        assert row.default or row.path == "name", row.path
        assert row.limits or row.path in UNLIMITED, row.path


UNLIMITED = {  # forms and switches
    "data.open_holdout",
    "settlement.unit",
    "training.slim",
    "training.slim_distill",
}


def test_described_defaults_are_the_real_ones() -> None:
    document = to_document(parse_task(LEAST))
    for row in describe_fields():
        if row.path != "name":
            section, _, name = row.path.rpartition(".")
            table = document[section] if section else document
            assert json.loads(row.default) == table[name], row.path


def test_written_reference_is_up_to_date() -> None:
    # if this fails: make reference
    assert (DOCS / "task.schema.json").read_text(encoding="utf-8") == write_schema()
    assert (DOCS / "TASK.md").read_text(encoding="utf-8") == write_handbook()


def test_the_class_itself_refuses_unknown_fields() -> None:
    with pytest.raises(ValidationError):
        TaskDocument(name="x", surprise=1)  # type: ignore[call-arg]


def test_distillation_needs_narrow_widths() -> None:
    with pytest.raises(TaskError, match=r"training\.slim_distill"):
        parse_task(f"{LEAST}\n[training]\nslim = false\nslim_distill = true")
    assert parse_task(f"{LEAST}\n[training]\nslim_distill = true").training.slim_distill
