"""Whole Flower apps on our engine: the same results as by hand, and clear words for what fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.adapters.flower_apps import ADD_ONE, SERVER, write_app

pytest.importorskip("flwr", reason="needs the extra flower: pip install 'kumiai[flower]'")

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from kumiai.adapters.flower import library
from kumiai.adapters.flower.arrays import TravelledArray, copy_arrays
from kumiai.adapters.flower.exchange import Exchange
from kumiai.adapters.flower.project import fuse_config, read_project
from kumiai.adapters.flower.running import AppRun, choose_supernodes, run_app
from kumiai.adapters.flower.state import decode_records, encode_records
from kumiai.apps.cli import main
from kumiai.base.errors import InputError, RunFailedError

EXAMPLE = Path(__file__).parents[2] / "examples" / "10_flower_digits"


def play(folder: Path, nodes: int = 4, *overrides: str) -> AppRun:
    return run_app(read_project(folder), nodes, overrides, lambda exchange: None)


def test_federated_averaging_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = play(write_app(tmp_path))
    # each round adds sum(p * (p + 1)) / sum(p + 1) for partitions p = 0..3: 20 / 10
    assert "final [4.0, 4.0, 4.0]" in capsys.readouterr().out
    assert [(e.round, e.kind, e.asked, e.answered) for e in done.exchanges] == [
        (1, "train", 4, 4),
        (2, "train", 4, 4),
    ]
    assert done.exchanges[0].metrics["loss"] == pytest.approx(2.0)
    assert done.exchanges[0].sent_bytes == done.exchanges[0].received_bytes > 4 * 3 * 4


def test_the_example_keeps_state_a_node_and_honours_its_mod() -> None:
    seen: list[Exchange] = []
    run_app(read_project(EXAMPLE), 3, ["num-server-rounds=2"], seen.append)
    over = [e for e in seen if e.is_over]
    assert [(e.round, e.kind) for e in over] == [
        (1, "train"), (1, "evaluate"), (2, "train"), (2, "evaluate"),
    ]  # fmt: skip
    assert [over[i].metrics["rounds-seen"] for i in (0, 2)] == [1, 2]  # context.state
    assert over[0].metrics["step-size"] > 0  # the mod
    assert over[3].metrics["eval-loss"] < over[1].metrics["eval-loss"]


def test_a_client_that_raises_is_an_error_reply_with_its_line(tmp_path: Path) -> None:
    body = '    if partition == 1:\n        raise KeyError("no such column")\n' + ADD_ONE
    done = play(write_app(tmp_path, body))
    assert [e.answered for e in done.exchanges] == [3, 3]
    assert {(f.round, f.partition) for f in done.faults} == {(1, 1), (2, 1)}
    assert "KeyError: 'no such column' (tiny_app/client_app.py, line 11)" in done.faults[0].line


def test_a_failed_call_leaves_no_trace_in_the_state(tmp_path: Path) -> None:
    body = """\
    count = context.state.get("n", MetricRecord({"n": 0}))["n"] + 1
    context.state["n"] = MetricRecord({"n": count})
    if partition == 1 and message.content["config"]["server-round"] == 1:
        raise ValueError("once")
    values = np.full(3, count, np.float32)
    metrics = MetricRecord({"num-examples": 1, "count": count})
    content = RecordDict({"arrays": ArrayRecord([values]), "metrics": metrics})
    return Message(content=content, reply_to=message)
"""
    done = play(write_app(tmp_path, body), 2)
    # in round 2, node 0 has counted twice, node 1 once
    assert done.exchanges[1].metrics["count"] == pytest.approx(1.5)


def test_what_a_client_does_to_its_message_touches_nobody_else(tmp_path: Path) -> None:
    body = """\
    seen = message.content["config"].get("touched", 0)
    message.content["config"]["touched"] = seen + 1
    message.content["arrays"].clear()
    metrics = MetricRecord({"num-examples": 1, "seen": seen})
    content = RecordDict({"arrays": ArrayRecord([np.ones(3, np.float32)]), "metrics": metrics})
    return Message(content=content, reply_to=message)
"""
    done = play(write_app(tmp_path, body))
    assert [e.metrics["seen"] for e in done.exchanges] == [0, 0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    return None\n", "returned NoneType, not a Message"),
        ("    raise SystemExit(3)\n", "SystemExit: 3"),
        ("    context.state = {}\n" + ADD_ONE, "made context.state a dict"),
    ],
)
def test_no_usable_reply_at_all_fails_the_run(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(RunFailedError, match=words):
        play(write_app(tmp_path, body))


def test_replies_that_disagree_end_in_the_strategys_own_words(tmp_path: Path) -> None:
    body = ADD_ONE.replace('"num-examples"', '"number"')
    with pytest.raises(RunFailedError, match=r"ServerApp raised .*num-examples"):
        play(write_app(tmp_path, body))


def test_a_server_that_raises_names_its_line(tmp_path: Path) -> None:
    server = SERVER + '    raise RuntimeError("disk full")\n'
    with pytest.raises(RunFailedError, match=r"disk full \(tiny_app/server_app.py, line 15\)"):
        play(write_app(tmp_path, server=server))


def test_two_apps_of_one_name_do_not_mix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(write_app(tmp_path / "a"))
    play(write_app(tmp_path / "b", ADD_ONE.replace("+ partition\n", "+ 7\n")))
    # Flower adds float32 numbers in the order of arrival, so the last bit may differ
    finals = [
        [round(float(number), 4) for number in line.removeprefix("final [").rstrip("]").split(",")]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("final [")
    ]
    assert finals == [[4.0] * 3, [14.0] * 3]
    assert not any(name.startswith("tiny_app") for name in sys.modules)


def test_flowers_identity_is_put_back(tmp_path: Path) -> None:
    from flwr.supercore.task_identity import TaskIdentity

    play(write_app(tmp_path))
    with pytest.raises(RuntimeError):
        _ = TaskIdentity.run_id


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[tool.flwr.app]", "[tool.other]", r"no \[tool.flwr.app\]"),
        ('serverapp = "tiny_app.server_app:app"\n', "", "serverapp"),
        ("tiny_app.client_app:app", "tiny_app.gone:app", "no module tiny_app.gone"),
        ("tiny_app.client_app:app", "elsewhere:app", "no module elsewhere"),
        ("tiny_app.client_app:app", "tiny_app.client_app:other", "has no other"),
        ("tiny_app.client_app:app", "tiny_app.server_app:app", "ServerApp, not a ClientApp"),
        ("tiny_app.client_app:app", "tiny_app/client_app.py", "pkg.module:name"),
        ("lr = 0.5", "lr = [1]", "numbers, texts"),
        ("lr = 0.5", "lr = ", "not TOML"),
    ],
)
def test_a_project_that_is_none(
    tmp_path: Path, old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_app(tmp_path)
    path = folder / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    if "tool.other" in new:
        text = text.replace("[tool.flwr.app.components]", "[tool.other.components]")
        text = text.replace("[tool.flwr.app.config", "[tool.other.config")
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        play(folder)
    assert main(["flower", "run", str(folder)]) == 2
    assert capsys.readouterr().err.startswith("kumiai: ")


def test_run_config_overrides_are_flowers_own_form(tmp_path: Path) -> None:
    config = read_project(write_app(tmp_path)).config
    assert config == {"num-server-rounds": 2, "lr": 0.5, "name": "plain", "deep.key": 1}
    fused = fuse_config(config, ["lr=1.5 name='a b'", "deep.key=2"], tmp_path)
    assert fused == {"num-server-rounds": 2, "lr": 1.5, "name": "a b", "deep.key": 2}
    (tmp_path / "more.toml").write_text("lr = 3.0", encoding="utf-8")
    assert fuse_config(config, ["more.toml"], tmp_path)["lr"] == 3.0
    for wrong in ("rounds=2", "lr", "lr=", "lr=abc", "lr=[1]", "x y=1", ""):
        with pytest.raises(InputError, match="--run-config"):
            fuse_config(config, [wrong], tmp_path)


def test_number_of_nodes(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    assert choose_supernodes(read_project(folder), None) == 10
    with (folder / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write('[tool.flwr.federations]\ndefault = "here"\n')
        file.write("[tool.flwr.federations.here]\noptions.num-supernodes = 6\n")
    assert choose_supernodes(read_project(folder), None) == 6
    assert choose_supernodes(read_project(folder), 3) == 3
    with pytest.raises(InputError, match="--supernodes"):
        choose_supernodes(read_project(folder), 0)


def test_the_command_ends_with_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_app(tmp_path)
    for lang, words in (("en", "2 rounds in"), ("ja", "2 ラウンド")):
        assert main(["flower", "run", str(folder), "--supernodes", "4", "--lang", lang]) == 0
        out = capsys.readouterr().out
        assert words in out and "4/4" in out and "final [4.0, 4.0, 4.0]" in out


def test_without_flwr_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'kumiai\[flower\]'"):
        library.require_flower()


@settings(max_examples=40, deadline=None)
@given(
    arrays_of.arrays(
        st.sampled_from(["<f4", "<f8", "<i8", "|u1", "|b1", ">f4", "<f2"]),
        arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    st.booleans(),
)
def test_a_travelled_array_reads_as_flowers_own(values: np.ndarray, is_fortran: bool) -> None:
    original = Array(np.asfortranarray(values) if is_fortran else values)
    travelled = copy_arrays(ArrayRecord({"x": original}))["x"]
    assert isinstance(travelled, TravelledArray)
    twin, mine = original.numpy(), travelled.numpy()
    assert mine.dtype == twin.dtype and mine.shape == twin.shape
    assert mine.tobytes() == twin.tobytes()
    assert mine.flags.writeable and not np.shares_memory(mine, travelled.numpy())


def test_an_array_that_lies_about_its_bytes_is_refused() -> None:
    whole = Array(np.ones(5, np.float32))
    cut = Array(dtype="float32", shape=(5,), stype=whole.stype, data=whole.data[:-4])
    with pytest.raises(ValueError, match="buffer"):
        TravelledArray(cut).numpy()
    odd = Array(dtype="float32", shape=(5,), stype="other", data=whole.data)
    with pytest.raises(TypeError):
        TravelledArray(odd).numpy()


def test_a_state_survives_as_bytes() -> None:
    records = RecordDict(
        {
            "a": ArrayRecord([np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(0)]),
            "m": MetricRecord({"i": 2**60, "f": 0.1, "l": [1.5, float("inf")]}),
            "c": ConfigRecord({"s": "é", "b": b"\x00\xff", "t": True, "bs": [b"x", b""], "e": []}),
        }
    )
    data = encode_records(records)
    assert decode_records(data) == records
    assert encode_records(decode_records(data)) == data
    for broken in (data[:-1], data + b"x", data[:4], b"\xff" * 8):
        with pytest.raises(ValueError, match=r"state of|Expecting|decode"):
            decode_records(broken)
