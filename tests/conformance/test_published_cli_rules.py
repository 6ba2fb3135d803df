"""Rules that `schema.ts` notes on its indexes, pushed by npm `convex` 1.48's command line."""

from __future__ import annotations

import json

import pytest

from .project import Project
from .test_published_cli import project

__all__ = ["project"]  # a fixture

pytestmark = [pytest.mark.node, pytest.mark.slow]

RULES = """
type Rules = { unique?: true; aggregate?: string[]; onDelete?: string };

export function withRules<Table>(table: Table, rules: Record<string, Rules>): Table {
  for (const index of (table as any).indexes) Object.assign(index, rules[index.indexDescriptor]);
  return table;
}
"""
SCHEMA = """
import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";
import { withRules } from "./rules";

export default defineSchema({
  messages: withRules(
    defineTable({ channel: v.string(), author: v.string(), body: v.string() })
      .index("by_channel", ["channel"])
      .index("by_body", ["channel", "body"]),
    { by_channel: { aggregate: [] }, by_body: { unique: true } },
  ),
});
"""
PUSH = ("dev", "--once", "--tail-logs", "disable")


def test_rules_pass_through_the_published_packages(project: Project) -> None:
    """A push that the data breaks fails and names it; what is accepted holds for both languages."""
    project.convex(*PUSH)
    plain = (project.folder / "convex/schema.ts").read_text()
    for _ in range(2):
        project.send("broken", "twice")
    (project.folder / "convex/rules.ts").write_text(RULES)
    (project.folder / "convex/schema.ts").write_text(SCHEMA)

    said = project.convex(*PUSH, fails=True)
    assert "`by_body` says is unique" in said
    assert project.list("broken") == ["twice", "twice"]

    (project.folder / "convex/schema.ts").write_text(plain)
    (project.folder / "none.jsonl").write_text('{"channel": "a", "author": "b", "body": "c"}')
    project.convex("import", "--table", "messages", "--replace", "-y", "none.jsonl")
    (project.folder / "convex/schema.ts").write_text(SCHEMA)
    project.convex(*PUSH)
    assert project.typecheck("-p", "convex") == ""

    project.send("general", "hi")
    args = json.dumps({"channel": "general", "author": "a", "body": "hi"})
    said = project.convex("run", "messages:send", args, fails=True)
    assert "already has a document" in said
    twice = json.dumps({"channel": "general", "body": "python"})
    assert "already has a document" in project.convex("run", "rooms:send_twice", twice, fails=True)
    assert project.list("general") == ["hi"]
