"""The folder of one market member: its keys, what it decided, its journal, its money, its blobs.

key            the secret keys, one line each: NOSTR, derivation (readable by the owner alone)
plan.json      what the member decided: never changed once it is written
journal.sqlite every input of its machine
money.sqlite   intents of the cashier
blobs/         by sha256
names.json     what a customer calls the keys it knows (may be missing)
report.html    a customer's page; result.json, model.safetensors: what it got
commands/      what other terminals say to the running node
"""

from __future__ import annotations

import fcntl
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kumiai.apps.market.private import create_private, write_private
from kumiai.base import keys
from kumiai.base.canonical import is_hash
from kumiai.base.errors import InputError, StoreError
from kumiai.base.keys import SigningKey

FORMAT = 1


class MarketFolder:
    """Paths and keys of one member. Making the object creates nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plan_path = root / "plan.json"
        self.journal_path = root / "journal.sqlite"
        self.lock_path = root / "journal.sqlite.lock"  # held by the node that runs
        self.money_path = root / "money.sqlite"
        self.blobs_path = root / "blobs"
        self.commands_path = root / "commands"
        self.key_path = root / "key"

    @property
    def exists(self) -> bool:
        """Tell whether a member lives here."""
        return self.plan_path.is_file()

    @property
    def has_commands(self) -> bool:
        """Tell whether other terminals have said something that no node has taken yet."""
        return any(self.commands_path.glob("*.json"))

    @property
    def is_running(self) -> bool:
        """Tell whether a node of this folder runs now, here or in another process."""
        try:
            with self.lock_path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def check_free(self, field: str, look: str) -> None:
        """InputError if a node of this folder runs already. look: where to see what it does."""
        if self.is_running:
            fix = f"its node runs already, in another process: see {look}"
            raise InputError(field, str(self.root), fix)

    def create(self) -> None:
        """Make the folder and its keys; InputError if somebody lives here already."""
        if self.exists:
            fix = "somebody lives there already: name another folder, or go on with it"
            raise InputError("--folder", str(self.root), fix)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.commands_path.mkdir(exist_ok=True)
            create_private(self.key_path, f"{secrets.token_hex(32)}\n{secrets.token_hex(32)}\n")
        except OSError as error:
            raise StoreError(f"{self.root}: {error.strerror}") from error

    def read_key(self) -> SigningKey:
        """Return the member's NOSTR key; InputError if the folder has none."""
        return keys.key_from_secret(bytes.fromhex(self._read_secrets()[0]))

    def read_secret(self) -> str:
        """Return 64 hex digits from which all other secrets are derived."""
        return self._read_secrets()[1]

    def write_plan(self, kind: str, plan: Mapping[str, Any]) -> None:
        """Write down what was decided, once, all or nothing."""
        document = {"format": FORMAT, "kind": kind, **plan}
        try:  # it may hold a wallet's address, which is a secret
            write_private(self.plan_path, json.dumps(document, indent=1, sort_keys=True))
        except OSError as error:
            raise StoreError(f"{self.plan_path}: {error.strerror}") from error

    def read_plan(self, kind: str = "") -> dict[str, Any]:
        """Return the plan; InputError if this is no folder of such a member ("": of any)."""
        try:
            document = json.loads(self.plan_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            fix = f"no {kind or 'member'} lives there (plan.json: {why}); give its folder"
            raise InputError("DIR", str(self.root), fix) from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise InputError("DIR", str(self.root), f"its plan.json is not of format {FORMAT}")
        if kind and document.get("kind") != kind:
            fix = f"a {document.get('kind')} lives there, not a {kind}: give a {kind}'s folder"
            raise InputError("DIR", str(self.root), fix)
        return document

    def _read_secrets(self) -> list[str]:
        try:
            lines = self.key_path.read_text(encoding="utf-8").split()
        except OSError as error:
            fix = f"its file key cannot be read ({error.strerror}): without it nothing can go on"
            raise InputError("DIR", str(self.root), fix) from error
        except UnicodeDecodeError:
            lines = []
        if len(lines) != 2 or not all(is_hash(line.lower()) for line in lines):
            fix = "does not hold two secrets of 64 hex digits"
            raise InputError("DIR", str(self.key_path), fix)
        return lines
