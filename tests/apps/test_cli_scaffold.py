"""`kumiai new` makes a folder that holds a valid task, a nested model and real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kumiai.adapters.data.user_file import load_user_dataset, load_user_recipe
from kumiai.apps.cli.scaffold import FILES, create, explain
from kumiai.base.errors import InputError, StoreError
from kumiai.tasks.document import parse_task


def test_the_folder_is_a_task_that_can_run(tmp_path: Path) -> None:
    folder = create("my-task", tmp_path)
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    task = parse_task((folder / "task.toml").read_text(encoding="utf-8"), {})
    assert task.name == "my-task"
    data = load_user_dataset(task.data.source, task.data.options, 1, folder)
    assert data.features.shape == (342, 4) and data.class_count == 3
    assert len(data.owner_names) == 9 >= task.data.trainers
    recipe = load_user_recipe(task.model.recipe, task.model.options, task.model.widths_ppm, folder)
    narrow, full = recipe.build(0.25).state_dict(), recipe.build(1.0).state_dict()
    assert list(narrow) == list(full)
    assert all(a.shape <= b.shape for a, b in zip(narrow.values(), full.values(), strict=True))
    assert "@NAME@" not in "".join((folder / name).read_text(encoding="utf-8") for name in FILES)
    assert "cd my-task" in explain(folder)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "task.toml").write_text("precious")
    with pytest.raises(InputError, match="nothing was changed"):
        create("mine", tmp_path)
    assert (tmp_path / "mine" / "task.toml").read_text() == "precious"


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", ".hidden", "a b", "x" * 65, "名前", "a\n"])
def test_unfit_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="letters, digits"):
        create(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match="No space left"):
        create("mine", tmp_path)
    assert list(tmp_path.iterdir()) == []
