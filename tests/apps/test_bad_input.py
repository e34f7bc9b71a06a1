"""What is wrong from outside: a clear message and exit code, or a Reject and the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests.apps.tiny import TASK, write_task

import kumiai
from kumiai.adapters.store.blobs import DirectoryBlobs
from kumiai.adapters.store.ledger import SqliteLedger
from kumiai.adapters.store.log import SqliteLog
from kumiai.apps import wiring
from kumiai.apps.cli import main
from kumiai.apps.rundir import RunDir
from kumiai.apps.verify import verify_path
from kumiai.apps.view import RunView
from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import InputError, StoreError
from kumiai.base.log import Record
from kumiai.nodes import ports

Complain = Callable[[Path], str]


@pytest.fixture
def complain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a task by the command line; it must fail as bad input, in one line, without a run."""

    def run(text: str, *overrides: str) -> str:
        task = write_task(tmp_path / "task", text)
        words = [word for each in overrides for word in ("--set", each)]
        code = main(["run", str(task), "--out", str(tmp_path / "run"), "--quiet", *words])
        message = capsys.readouterr().err
        assert code == 2, message
        assert "Traceback" not in message
        assert not (tmp_path / "run" / "log.db").exists()
        return message

    return run


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("training.roundz=3", "roundz"),
        ("training.rounds=many", "rounds"),
        ("training.rounds=0", "rounds"),
        ("training.rounds=-1", "rounds"),
        ("training.learning_rate=fast", "learning_rate"),
        ("data.source=nowhere", "source"),
        ("data.trainers=100000", "trainers"),
        ("model.recipe=gpt9", "recipe"),
        ("rewards.budget=0", "budget"),
        ("rewards.budget=3", "budget"),
        ("rewards.alpha=0", "alpha"),
        ("validation.validators=0", "validators"),
    ],
)
def test_a_task_that_cannot_be_run_names_the_field(
    complain: Callable[..., str], override: str, named: str
) -> None:
    assert named in complain(TASK, override)


@pytest.mark.parametrize(
    "text",
    ["", "not toml [", TASK + "\n[surprise]\nx = 1\n", TASK.replace("seed = 3", "seed = 'x'")],
)
def test_a_task_file_that_is_none_is_bad_input(complain: Callable[..., str], text: str) -> None:
    complain(text)


DATA_HEAD = """\
import numpy as np

def load():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(240, 6)).astype("float32")
    y = (X[:, 0] > 0).astype("int64")
"""
USER_TASK = TASK.replace('source = "digits"', 'source = "mine.py:load"')


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("    X[7, 2] = np.nan\n    return X, y\n", "data.source"),
        ("    return X, y[:-1]\n", "data.source"),
        ("    return X[:0], y[:0]\n", "data.source"),
        ("    return X[0], y\n", "data.source"),
        ("    return X, y - 1\n", "data.source"),
        ("    return X\n", "data.source"),
        ("    raise RuntimeError('disk on fire')\n", "disk on fire"),
    ],
)
def test_unusable_data_names_the_source_and_the_fault(
    complain: Callable[..., str], tmp_path: Path, lines: str, named: str
) -> None:
    write_task(tmp_path / "task", DATA_HEAD + lines, "mine.py")
    assert named in complain(USER_TASK)


RECIPE_HEAD = "from torch import nn\n\ndef build(width):\n"
RECIPE_TASK = TASK.replace('recipe = "mlp"\noptions = { hidden = 16 }', 'recipe = "net.py:build"')


OTHER_LAYERS = """\
    layers = [nn.Flatten(), nn.Linear(64, 8)]
    layers += [nn.Linear(8, 10)] if width < 1 else [nn.ReLU(), nn.Linear(8, 10)]
    return nn.Sequential(*layers)
"""
NARROWER_IS_BIGGER = """\
    n = int(8 / width)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n), nn.Linear(n, 10))
"""


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("    raise RuntimeError('no such layer')\n", "no such layer"),
        ("    return 'a model'\n", "model.recipe"),
        (OTHER_LAYERS, "model.recipe"),
        (NARROWER_IS_BIGGER, "model.recipe"),
        ("    return nn.Sequential(nn.Flatten(), nn.Linear(63, 10))\n", "model.recipe"),
    ],
)
def test_an_unusable_recipe_is_named_before_anybody_works(
    complain: Callable[..., str], tmp_path: Path, body: str, named: str
) -> None:
    write_task(tmp_path / "task", RECIPE_HEAD + body, "net.py")
    message = complain(RECIPE_TASK)
    assert named in message
    assert "model.recipe" in message


OWN_LOSS = """\
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def loss(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets)
"""


def test_distillation_of_a_loss_of_ones_own_is_bad_input(
    complain: Callable[..., str], tmp_path: Path
) -> None:
    write_task(tmp_path / "task", RECIPE_HEAD + OWN_LOSS, "net.py")
    message = complain(RECIPE_TASK, "training.slim_distill=true")
    assert "training.slim_distill" in message and "leave it off" in message


def _run(tmp_path: Path, **settings: str) -> RunView:
    overrides = {name.replace("__", "."): value for name, value in settings.items()}
    return kumiai.run(write_task(tmp_path), tmp_path / "run", overrides)


@dataclass
class Spoiling:
    """One member sends other bytes than an update, every round."""

    inner: ports.ComputePort
    blobs: ports.BlobPort
    member: str
    data: bytes
    size_bytes: int | None = None

    def init_model(self) -> str:
        return self.inner.init_model()

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        return [
            replace(
                result,
                update=self.blobs.put(self.data),
                size_bytes=len(self.data) if self.size_bytes is None else self.size_bytes,
            )
            if result.member == self.member
            else result
            for result in self.inner.train(jobs)
        ]

    def score(self, jobs: Sequence[ports.ScoreJob]) -> list[ports.ScoreResult]:
        return self.inner.score(jobs)

    def recheck(self, jobs: Sequence[ports.RecheckJob]) -> list[ports.RecheckResult]:
        return self.inner.recheck(jobs)  # type: ignore[attr-defined,no-any-return]

    def aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        return self.inner.aggregate(job)


ONES = np.ones(7, np.int32)
SPOILT = {
    "wrong size": save({"update": ONES}),
    "wrong dtype": save({"update": np.full(1210, np.nan, np.float32)}),
    "wrong name": save({"model": np.ones(1210, np.int32)}),
    "two tensors": save({"update": ONES, "more": ONES}),
    "not safetensors": b"\x80\x04pickle me",
    "empty": b"",
    "header beyond the end": (2**40).to_bytes(8, "little") + b"{}",
    "bigger than the cap": save({"update": np.ones(200_000, np.int32)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(SPOILT))
def test_a_malformed_update_earns_nothing_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    honest = wiring.make_compute

    def spoil(task, casting, population, workload, blobs, *rest):  # type: ignore[no-untyped-def]
        inner = honest(task, casting, population, workload, blobs, *rest)
        return Spoiling(inner, blobs, population.pubkey("trainer-2"), SPOILT[kind])

    monkeypatch.setattr(wiring, "make_compute", spoil)
    run = _run(tmp_path, training__rounds="1")
    culprit = run.member("trainer-2")
    assert (culprit.reward, culprit.verdict) == (0, "INVALID")
    assert next(r.reason_code for r in run.receipts if r.member == "trainer-2") == "malformed"
    assert "trainer-2" not in run.rounds[0].included
    assert len(run.rounds[0].included) >= 2
    assert sum(m.reward for m in run.members) + run.totals["refunded"] == run.totals["funded"]
    assert verify_path(tmp_path / "run").is_ok


def test_work_that_diverges_is_declined_and_not_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard of one member blows its training up: NaN never leaves the member."""
    load = wiring.load_workload

    def load_broken(task, base_dir):  # type: ignore[no-untyped-def]
        workload = load(task, base_dir)
        x, y = workload.data.shards[1]
        shards = [*workload.data.shards]
        shards[1] = (x * 1e30, y)
        return replace(
            workload, data=replace(workload.data, shards=type(workload.data.shards)(shards))
        )

    monkeypatch.setattr(wiring, "load_workload", load_broken)
    run = _run(tmp_path, training__rounds="1")
    receipt = next(r for r in run.receipts if r.member == "trainer-2")
    assert (receipt.reason_code, receipt.amount) == ("declined", 0)
    assert run.member("trainer-2").slashed == 0
    assert "trainer-2" not in run.rounds[0].included


def test_a_run_in_which_everybody_diverges_fails_and_refunds(tmp_path: Path) -> None:
    task = write_task(
        tmp_path, TASK.replace("learning_rate_ppm = 200000", "learning_rate = 1000000")
    )
    code = main(["run", str(task), "--out", str(tmp_path / "run"), "--quiet"])
    assert code in (2, 4)  # either the field is refused, or the run ends with its money back
    if code == 4:
        run = kumiai.load(tmp_path / "run")
        assert run.phase == "FAILED"
        assert run.totals["refunded"] == run.totals["funded"]


def _full_log(countdown: int) -> type[SqliteLog]:
    class FullLog(SqliteLog):
        left = countdown

        def append(self, records: Sequence[Record]) -> None:
            FullLog.left -= 1
            if FullLog.left < 0:
                raise StoreError("no space left on the disk")
            super().append(records)

    return FullLog


def _full_blobs(countdown: int) -> type[DirectoryBlobs]:
    class FullBlobs(DirectoryBlobs):
        left = countdown

        def put(self, data: bytes) -> str:
            FullBlobs.left -= 1
            if FullBlobs.left < 0:
                raise StoreError("no space left on the disk")
            return super().put(data)

    return FullBlobs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("store", "make"),
    [
        ("SqliteLog", lambda: _full_log(6)),
        ("DirectoryBlobs", lambda: _full_blobs(2)),
        ("DirectoryBlobs", lambda: _full_blobs(7)),
    ],
)
def test_a_full_disk_stops_the_run_and_resuming_pays_nobody_twice(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    store: str,
    make: Callable[[], type],
) -> None:
    task = write_task(tmp_path)
    words = ["--out", str(tmp_path / "run"), "--quiet", "--set", "training.rounds=1"]
    with monkeypatch.context() as broken:
        broken.setattr(wiring, store, make())
        assert main(["run", str(task), *words]) == 5
    assert "no space left" in capsys.readouterr().err
    assert main(["run", str(task), *words, "--resume"]) == 0
    run = kumiai.load(tmp_path / "run")
    assert sum(m.reward for m in run.members) + run.totals["refunded"] == run.totals["funded"]
    assert verify_path(tmp_path / "run").is_ok
    with SqliteLedger.open_readonly(tmp_path / "run" / "ledger.db") as ledger:
        keys = [applied.command.key for applied in ledger.history()]
    assert len(set(keys)) == len(keys)


def test_a_file_where_the_folder_should_be_is_a_plain_message(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(InputError, match="it is a file"):
        _run(tmp_path)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_recipe_file_that_changed_since_the_run_is_not_run(tmp_path: Path) -> None:
    """Same shapes, other network: the scores could not be what they were."""
    source = Path(__file__).parents[1] / "adapters" / "recipes" / "conv.py"
    text = source.read_text().replace("self.conv(x)", "self.conv(x.view(-1, 1, 8, 8))")
    text = text.replace(", 4)", ", 10)")
    task = write_task(tmp_path, TASK.replace('recipe = "mlp"', 'recipe = "model.py:build"'))
    task.write_text(task.read_text().replace("options = { hidden = 16 }", ""))
    recipe = tmp_path / "model.py"
    recipe.write_text(text)
    run = {"training.rounds": "1"}
    kumiai.run(task, tmp_path / "run", run)
    assert verify_path(tmp_path / "run").is_ok
    recipe.write_text(f"raise SystemExit('was run')\n{text}")
    hashes = [sha256_hex(each.encode()) for each in (recipe.read_text(), text)]
    report = verify_path(tmp_path / "run")
    with pytest.raises(InputError) as caught:
        kumiai.export(tmp_path / "run")
    for word in ("model.recipe = 'model.py:build'", *hashes, "put back"):
        assert word in str(caught.value)
        assert any(word in str(finding) for finding in report.findings)
    recipe.write_text(f"{text}# a remark\n")
    with pytest.raises(InputError, match="another task, recipe file"):
        kumiai.run(task, tmp_path / "run", run, resume=True)


def test_a_plan_of_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"format":"kumiai/plan/1"}')
    with pytest.raises(InputError, match=r"format = 'kumiai/plan/1'.*kumiai/plan/2"):
        RunDir(tmp_path).read_plan()
