"""What a run's folder says about the run: enough to take it up again, and no secret."""

from __future__ import annotations

from pathlib import Path

from kumiai.adapters.data.user_file import is_user_reference
from kumiai.adapters.language.lora import LORA
from kumiai.apps.population import Casting, Population
from kumiai.apps.rundir import PLAN_FORMAT
from kumiai.apps.workload import Workload, hash_recipe
from kumiai.tasks.document import TaskDocument, to_document


def make_plan(
    task: TaskDocument,
    casting: Casting,
    population: Population,
    workload: Workload,
    base_dir: Path,
) -> dict[str, object]:
    """What a run directory says about itself: enough to take it up again, and no secret."""
    return {
        "format": PLAN_FORMAT,
        "scenario": casting.scenario,
        "base_dir": str(base_dir) if needs_folder(task.model.recipe) else "",
        "recipe_sha256": hash_recipe(task, base_dir),
        "shape": {"input": list(workload.input_shape), "classes": workload.class_count},
        "task": to_document(task),
        "people": [
            {
                "name": person.name,
                "role": person.role,
                "behaviour": person.behaviour,
                "stake": str(person.stake),
                "pubkey": population.pubkey(person.name),
            }
            for person in population.people
        ],
        "customer": population.customer.pubkey,
        "orderer": population.orderer.pubkey,
        "escrow": population.escrow.pubkey,
    }


def needs_folder(recipe: str) -> bool:
    """Tell whether a recipe is made from files beside the task."""
    return recipe == LORA or is_user_reference(recipe)
