"""Scheduled jobs and cron jobs: what is due, and how each comes to its end."""

from cupola.scheduling.executor import Engine, Executor

__all__ = ["Engine", "Executor"]
