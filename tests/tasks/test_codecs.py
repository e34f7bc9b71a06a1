"""The codec of a task: one text for one codec, refused at the door with what would be right."""

from __future__ import annotations

import pytest

from kumiai.tasks import (
    TaskDocument,
    TaskError,
    compute_task_id,
    list_warnings,
    parse_task,
    task_from_document,
    to_document,
)
from kumiai.tasks.codecs import DENSE_FIXED, STAGES, canonicalise
from kumiai.tasks.rules import LOSSY_STAGES


def make_task(codec: str, **overrides: str) -> TaskDocument:
    return parse_task('name = "x"', {"training.codec": codec, **overrides})


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("", DENSE_FIXED),
        (" dense-fixed ", DENSE_FIXED),
        ("dense", "dense"),
        (
            "ef | topk:density=0.01 | int2",
            "ef:decay_ppm=1000000|topk:density_ppm=10000,chunk=0|int2:block=64",
        ),
    ],
)
def test_the_document_holds_the_canonical_text(written: str, canonical: str) -> None:
    task = make_task(written)
    assert task.training.codec == canonical == canonicalise(canonical)
    assert compute_task_id(task) == compute_task_id(make_task(canonical))
    assert task_from_document(to_document(task)) == task


def test_a_task_without_a_codec_sends_updates_whole() -> None:
    assert parse_task('name = "x"').training.codec == DENSE_FIXED


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("gzip", "'gzip' is unknown: use one of ef, dct"),
        ("topk", "topk needs density_ppm"),
        ("int2|ef", "the order is ef"),
        ("ef|dense-fixed", "'dense-fixed' is unknown"),
        ("int8:block=0", "block 0 is outside 1..65536"),
        ("int8:" + "block=1," * 40, "more than 200 characters"),
        ("sign\ud800", "not valid Unicode"),
    ],
)
def test_a_codec_that_there_is_not_names_field_and_fix(written: str, named: str) -> None:
    with pytest.raises(TaskError, match=r"training\.codec") as caught:
        make_task(written)
    assert named in str(caught.value)


def test_a_hashed_document_with_another_writing_is_refused() -> None:
    document = to_document(make_task("ef|sign"))
    document["training"]["codec"] = "ef|sign"
    with pytest.raises(TaskError, match="canonical"):
        task_from_document(document)


@pytest.mark.parametrize("stage", sorted(LOSSY_STAGES))
def test_what_loses_for_good_is_warned_of(stage: str) -> None:
    text = {"topk": "topk:density=0.1"}.get(stage, stage)
    assert stage in STAGES
    assert any("lost for good" in line for line in list_warnings(make_task(text)))
    assert not any("lost for good" in line for line in list_warnings(make_task(f"ef|{text}")))


def test_the_middle_of_sparse_updates_is_warned_of() -> None:
    sparse, dense = "ef|topk:density=0.1", "ef|sign"
    for aggregator in ("median", "trimmed_mean", "mean"):
        heard = [
            any("hardly moves" in line for line in list_warnings(task))
            for task in (
                make_task(codec, **{"training.aggregator": aggregator}) for codec in (sparse, dense)
            )
        ]
        assert heard == [aggregator != "mean", False]
