"""A judge's machine: a member of a job's committee, or of its jury."""

from kumiai.market.judge.machine import JudgePolicy, JudgeState, Judging, Sit

__all__ = ["JudgePolicy", "JudgeState", "Judging", "Sit"]
