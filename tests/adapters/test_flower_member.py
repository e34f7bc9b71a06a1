"""A ClientApp as a member's recipe: its reply becomes the update, its faults are the member's."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.adapters.flower_apps import write_app
from tests.apps.tiny import write_task

pytest.importorskip("flwr", reason="needs the extra flower: pip install 'kumiai[flower]'")

import numpy as np
import torch

from kumiai.adapters.compute.member_work import MemberJob
from kumiai.adapters.flower.member import FlowerTrainer
from kumiai.apps import wiring
from kumiai.apps.verify import verify_path
from kumiai.apps.view import ProgressEvent
from kumiai.base.errors import InputError
from kumiai.learning.recipe import wrap_recipe
from kumiai.tasks import TaskError, parse_task

EXAMPLE = Path(__file__).parents[2] / "examples" / "10_flower_digits"
REPLY = """\
    import torch
    state = message.content["arrays"].to_torch_state_dict()
    config = message.content["config"]
    state["weight"] = state["weight"] + partition + torch.rand(1)
    count = context.state.get("n", MetricRecord({"n": 0}))["n"] + 1
    context.state["n"] = MetricRecord({"n": count})
    arrays = ArrayRecord(state)
    metrics = MetricRecord({"num-examples": 5 + count, "loss": 0.25})
    {twist}
    content = RecordDict({"arrays": arrays, "metrics": metrics})
    return Message(content=content, reply_to=message)
"""


def make_trainer(folder: Path, twist: str = "pass") -> FlowerTrainer:
    write_app(folder, REPLY.replace("{twist}", twist))
    recipe = wrap_recipe("linear", lambda width: torch.nn.Linear(2, 3), [1_000_000])
    return FlowerTrainer("tiny_app.client_app:app", folder, recipe, {"lr": 0.1})


def job(place: int = 0, number: int = 1, memory: bytes = b"") -> MemberJob:
    return MemberJob(place, 2, number, 99 + number, memory)


MODEL = np.arange(9, dtype=np.float32)


def test_the_reply_becomes_the_update(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    first, second = trainer.train(MODEL, [job(0), job(1)])
    (drawn,) = torch.rand(1, generator=torch.Generator().manual_seed(100)).numpy()
    # layout of a linear layer: six weights, three biases
    assert first.update_P == pytest.approx([drawn] * 6 + [0] * 3, abs=1e-6)
    assert second.update_P - first.update_P == pytest.approx([1] * 6 + [0] * 3, abs=1e-6)
    assert (first.sample_count, first.loss, first.fault) == (6, 0.25, "")
    trainer.close()


def test_state_goes_on_from_what_was_kept_and_the_work_repeats(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    (first,) = trainer.train(MODEL, [job()])
    (second,) = trainer.train(MODEL, [job(number=2, memory=first.memory)])
    (again,) = trainer.train(MODEL, [job(number=2, memory=first.memory)])
    assert (first.sample_count, second.sample_count) == (6, 7)
    assert again.update_P.tobytes() == second.update_P.tobytes()
    assert again.memory == second.memory != first.memory
    trainer.close()


@pytest.mark.parametrize(
    ("twist", "words"),
    [
        ("arrays.pop('bias')", "lacks the tensor 'bias'"),
        ("arrays['extra'] = arrays['bias']", "a tensor 'extra', the task's network has not"),
        ("arrays['bias'] = arrays['weight']", r"'bias' has shape \[3, 2\], expected \[3\]"),
        (
            "from flwr.app import Array; arrays['bias'] = Array(np.zeros(3))",
            r"'bias' is float64 \[3\], expected float32 \[3\]",
        ),
        (
            (
                "from flwr.app import Array; arrays['bias'] = "
                "Array(np.array([0, np.nan, 0], np.float32))"
            ),
            "'bias' holds values that are not finite",
        ),
        (
            (
                "from flwr.app import Array; a = arrays['bias']; arrays['bias'] = "
                "Array(dtype=a.dtype, shape=a.shape, stype=a.stype, data=a.data[:-1])"
            ),
            "'bias' cannot be read",
        ),
        (
            (
                "from flwr.app import Array; a = arrays['weight']; arrays['bias'] = "
                "Array(dtype=a.dtype, shape=(3,), stype=a.stype, data=a.data)"
            ),
            r"'bias' is float32 \[3, 2\]",
        ),
        ("metrics = MetricRecord({})", "num-examples = None"),
        ("metrics['num-examples'] = 0", "num-examples = 0"),
        ("metrics['num-examples'] = float('nan')", "num-examples = nan"),
        ("metrics['loss'] = float('inf')", "loss is inf"),
        ("metrics['loss'] = 10**400", "loss is an integer beyond any float"),
        (
            (
                "from flwr.app import Array; a = arrays['bias']; arrays['bias'] = "
                "Array(dtype=a.dtype, shape=a.shape, stype=a.stype, data=b'')"
            ),
            "'bias' cannot be read",
        ),
        ("raise OSError('no data here')", r"OSError: no data here \(tiny_app/client_app.py"),
    ],
)
def test_a_malformed_reply_is_the_members_fault(tmp_path: Path, twist: str, words: str) -> None:
    trainer = make_trainer(tmp_path, f"if partition == 1: {twist}")
    good, bad = trainer.train(MODEL, [job(0), job(1)])
    assert not good.fault and good.update_P.shape == (9,)
    assert bad.update_P.size == 0 and bad.memory == b""
    with pytest.raises(ValueError, match=words):
        raise ValueError(bad.fault)
    trainer.close()


def test_an_app_that_suits_nobody_is_bad_input(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "arrays.pop('weight')")
    with pytest.raises(InputError, match=r"training.flower .*round 1: the reply lacks .*'weight'"):
        trainer.train(MODEL, [job(0), job(1)])
    trainer.close()


def test_what_a_clientapp_cannot_do_is_said_before_the_run() -> None:
    text = 'name = "x"\n[training]\nflower = "a.b:c"\n'
    with pytest.raises(TaskError, match=r"training\.slim.*slim = false"):
        parse_task(text)
    with pytest.raises(TaskError, match=r"training\.algorithm.*fedavg or diloco"):
        parse_task(text + 'slim = false\nalgorithm = "fedprox"\n')
    with pytest.raises(TaskError, match=r"training\.algorithm.*fedavg or diloco"):
        parse_task(text + 'slim = false\nweighting = "samples"\nalgorithm = "scaffold"\n')
    with pytest.raises(TaskError, match=r"training\.lr_schedule.*set constant"):
        parse_task(text + 'slim = false\nlr_schedule = "cosine"\n')
    with pytest.raises(TaskError, match=r"training\.flower"):
        parse_task('name = "x"\n[training]\nslim = false\nflower = "a.py"\n')


def run_example(folder: Path, notes: list[ProgressEvent], **settings: str) -> object:
    text = (EXAMPLE / "task.toml").read_text(encoding="utf-8")
    for file in ("net.py", "digits_app/__init__.py", "digits_app/task.py", "pyproject.toml"):
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((EXAMPLE / file).read_bytes())
    client = (EXAMPLE / "digits_app" / "client_app.py").read_text(encoding="utf-8")
    breaks = '    partition = int(context.node_config["partition-id"])\n    data'
    broken = '    partition = int(context.node_config["partition-id"])\n'
    if settings.pop("breaks", ""):
        broken += "    if partition == 2:\n        raise KeyError('lost')\n"
    client = client.replace(breaks, broken + "    data", 1)
    (folder / "digits_app" / "client_app.py").write_text(client, encoding="utf-8")
    return wiring.run_task(
        write_task(folder, text), {"training.rounds": "2", **settings}, folder / "run", False,
        notes.append,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["dense-fixed", "ef|topk:density=0.1|int8"])
def test_a_whole_run_on_a_clientapp(tmp_path: Path, codec: str) -> None:
    view = run_example(tmp_path, [], **{"training.codec": codec})
    assert view.phase == "FINISHED"
    assert [len(r.included) for r in view.rounds] == [4, 4]
    assert view.rounds[1].loss_ppm < view.rounds[0].loss_ppm
    assert verify_path(tmp_path / "run").is_ok


@pytest.mark.slow
def test_a_member_whose_app_raises_declines_and_the_others_go_on(tmp_path: Path) -> None:
    notes: list[ProgressEvent] = []
    view = run_example(tmp_path, notes, breaks="yes")
    assert view.phase == "FINISHED"
    assert all("trainer-3" not in r.included and len(r.included) == 3 for r in view.rounds)
    told = [event.message for event in notes if event.kind == "note"][
        1:
    ]  # the first: nobody answers
    assert told and all(t.startswith("trainer-3: KeyError: 'lost' (digits_app") for t in told)
    assert verify_path(tmp_path / "run").is_ok


@pytest.mark.slow
def test_a_clientapps_work_counts_in_a_later_round_too(tmp_path: Path) -> None:
    """What the app remembers goes on from its last update that entered the model."""
    more = {"training.rounds": "3", "training.buffer": "3", "training.staleness_max": "2"}
    view = run_example(tmp_path, [], **more)
    assert view.phase == "FINISHED"
    assert any(r.staleness for r in view.receipts if r.reason_code == "counted")
    assert verify_path(tmp_path / "run").is_ok
