"""Descriptions: one canonical form, and errors that say what would be right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.learning.codecs import build_codec, parse_description, write_description
from kumiai.learning.codecs.parse import STAGES

SHAPES = [(4, 5), (10,)]


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("dense", "dense"),
        (" bf16 ", "bf16"),
        ("int8", "int8:block=256,stochastic=0"),
        ("int4:stochastic=1,block=32", "int4:block=32,stochastic=1"),
        ("topk:density=0.01", "topk:density_ppm=10000,chunk=0|dense"),
        ("topk:density_ppm=10000|int2", "topk:density_ppm=10000,chunk=0|int2:block=64"),
        ("ef | topk : density=1", None),
        ("ef|sign", "ef:decay_ppm=1000000|sign:block=256"),
        ("ef:decay=0.95|sign", "ef:decay_ppm=950000|sign:block=256"),
        (
            ["ef", "dct:chunk=8", "topk:density=0.5", "bf16"],
            "ef:decay_ppm=1000000|dct:chunk=8|topk:density_ppm=500000,chunk=0|bf16",
        ),
        ("powersgd:rank=4|int8:block=128", "powersgd:rank=4|int8:block=128,stochastic=0"),
    ],
)
def test_canonical_form(written, canonical):
    if canonical is None:
        with pytest.raises(ValueError, match="unknown"):
            build_codec(written, SHAPES)
        return
    codec = build_codec(written, SHAPES)
    assert codec.description == canonical
    assert build_codec(canonical, SHAPES) == codec
    assert build_codec(canonical.split("|"), SHAPES) == codec
    assert write_description(parse_description(written)) == canonical


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "'' is unknown: use one of ef, dct"),
        ([], "codec without a stage: write dense"),
        ("gzip", "'gzip' is unknown: use one of"),
        ("topk", "topk needs density_ppm: write topk:density_ppm=10000"),
        ("topk:density=0", "density_ppm 0 is outside 1..1000000"),
        ("topk:density=1.5", "density_ppm 1500000 is outside"),
        ("topk:density=0.0000001", "no integer of ppm"),
        ("topk:density=1e-2", "'density=1e-2' is no option"),
        ("topk:density=-1", "no option"),
        ("topk:density=0.1,density_ppm=100000", "density_ppm is given twice"),
        ("topk:rate=3", "topk has no option 'rate': it has density_ppm, chunk"),
        ("dense:block=2", "dense has no option 'block': it has none"),
        ("int8:block=0", "block 0 is outside 1..65536"),
        ("int8:block=2.5", "no integer"),
        ("int8:", "'' is no option"),
        ("int8:block", "'block' is no option: write name=integer"),
        ("int8:block=٣", "no option"),
        ("dct:chunk=65", "chunk 65 is outside 2..64"),
        ("powersgd:rank=65", "rank 65 is outside 1..64"),
        ("sign|topk:density=0.1", "'topk' cannot follow 'sign': the order is ef"),
        ("topk:density=0.1|topk:density=0.1", "'topk' cannot follow 'topk'"),
        ("topk:density=0.1|dct", "'dct' cannot follow 'topk'"),
        ("dct|powersgd", "'powersgd' cannot follow 'dct'"),
        ("int8|sign", "'sign' cannot follow 'int8'"),
        ("dense|ef", "'ef' cannot follow 'dense'"),
        ("ef|ef|sign", "'ef' cannot follow 'ef'"),
        ("ef", "'ef' alone has nothing"),
        ("powersgd|topk:density=0.1", "factors are not sparse"),
        ("dense" + " " * 300, "more than 200 characters"),
    ],
)
def test_errors_say_what_would_be_right(written, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        build_codec(written, SHAPES)


def test_powersgd_needs_shapes_that_add_up():
    with pytest.raises(ValueError, match="needs the shapes"):
        build_codec("powersgd")
    for description in ("powersgd", "dct"):
        codec = build_codec(description, SHAPES)
        with pytest.raises(ValueError, match="2 tensors hold 30 numbers, the update 31"):
            codec.compute_size_bytes(31)


@given(st.text(alphabet="efdctopkint248sign:,=|._0159 ", max_size=60))
def test_any_text_is_a_codec_or_a_value_error(text):
    try:
        codec = build_codec(text, SHAPES)
    except ValueError:
        return
    assert build_codec(codec.description, SHAPES) == codec


def test_every_option_changes_the_codec_id():
    ids = set()
    for description in (
        "int8:block=4",
        "int8:block=5",
        "int8:block=4,stochastic=1",
        "int4:block=4",
    ):
        ids.add(build_codec(description).codec_id)
    ids.add(build_codec("dct").codec_id)
    ids.add(build_codec("dct", SHAPES).codec_id)
    assert len(ids) == 6
    assert set(STAGES) >= {"ef", "dct", "powersgd", "topk", "sign"}
