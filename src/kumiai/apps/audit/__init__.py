"""The checks behind `kumiai verify`, each on its own; `apps.verify` runs them in order."""

from kumiai.apps.audit.checks import CHECKS, check_plan
from kumiai.apps.audit.replay import Replay, replay_log
from kumiai.apps.audit.subject import ScoreRounds, Subject

__all__ = ["CHECKS", "Replay", "ScoreRounds", "Subject", "check_plan", "replay_log"]
