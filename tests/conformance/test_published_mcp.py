"""`npx convex mcp start`: its tools over stdio, against a server of one's own.

The command asks its makers' cloud whether somebody is logged in, whatever the deployment. Two
variables let it ask this server instead; see docs/reference/typescript.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .project import Project

pytestmark = [pytest.mark.node, pytest.mark.slow]


class Tools:
    """A client of the Model Context Protocol, one request at a time."""

    def __init__(self, project: Project, **variables: str) -> None:
        project.use({**project.variables, **variables})
        words = ["mcp", "start", "--project-dir", str(project.folder)]
        self._process = project.start_tool("convex/bin/main.js", *words)
        self._asked = 0
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
        self.ask("initialize", {**hello, "clientInfo": {"name": "tests", "version": "1"}})
        self._send({"method": "notifications/initialized"})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        self._asked += 1
        self._send({"id": self._asked, "method": method, "params": params})
        assert self._process.stdout
        for line in self._process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self._asked:
                return answer["result"]
        raise AssertionError("it has ended")

    def call(self, tool: str, **arguments: Any) -> Any:
        result = self.ask("tools/call", {"name": tool, "arguments": arguments})
        return json.loads(result["content"][0]["text"])


@pytest.fixture(scope="module")
def project(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("mcp") / "app", node)
    project.start()
    project.convex("dev", "--once", "--tail-logs", "disable", "--typecheck", "disable")
    project.send("mcp", "hello")
    yield project
    project.stop()


@pytest.fixture(scope="module")
def tools(project: Project) -> Tools:
    key = project.server.admin_key()
    return Tools(
        project, CONVEX_PROVISION_HOST=project.server.url, CONVEX_OVERRIDE_ACCESS_TOKEN=key
    )


@pytest.fixture(scope="module")
def selector(tools: Tools) -> str:
    (deployment,) = tools.call("status")["availableDeployments"]
    return str(deployment["deploymentSelector"])


def test_all_tools_are_listed(tools: Tools) -> None:
    names = {tool["name"] for tool in tools.ask("tools/list", {})["tools"]}
    assert names == {
        *("data", "envGet", "envList", "envRemove", "envSet", "functionSpec", "insights"),
        *("logs", "run", "runOneoffQuery", "status", "tables"),
    }


def test_tables_come_with_schema_and_inferred_shape(tools: Tools, selector: str) -> None:
    tables = tools.call("tables", deploymentSelector=selector)["tables"]
    messages = tables["messages"]
    assert messages["schema"]["tableName"] == "messages"
    fields = {
        each["fieldName"]: each["shape"]["type"] for each in messages["inferredSchema"]["fields"]
    }
    assert (fields["body"], fields["_id"]) == ("String", "Id")


def test_data_functions_and_queries(tools: Tools, selector: str) -> None:
    data = tools.call(
        "data", deploymentSelector=selector, tableName="messages", order="desc", limit=1
    )
    assert data["page"][0]["body"] == "hello"
    spec = tools.call("functionSpec", deploymentSelector=selector)
    assert "messages.js:list" in json.dumps(spec)
    ran = tools.call(
        "run", deploymentSelector=selector, functionName="messages:count", args='{"channel":"mcp"}'
    )
    assert ran["result"] == 1
    query = """
        import { query } from "convex:/_system/repl/wrappers.js";
        export default query({
          handler: async (ctx) => (await ctx.db.query("messages").collect()).length,
        });
    """
    assert tools.call("runOneoffQuery", deploymentSelector=selector, query=query)["result"] == 1


def test_variables_and_logs(tools: Tools, selector: str) -> None:
    tools.call("envSet", deploymentSelector=selector, name="MCP", value="yes")
    assert tools.call("envGet", deploymentSelector=selector, name="MCP")["value"] == "yes"
    listed = tools.call("envList", deploymentSelector=selector)["variables"]
    assert [each["name"] for each in listed] == ["MCP"]
    tools.call("envRemove", deploymentSelector=selector, name="MCP")
    assert tools.call("envList", deploymentSelector=selector)["variables"] == []
    assert "entries" in tools.call("logs", deploymentSelector=selector)


def test_insights_are_of_the_cloud_alone(tools: Tools, selector: str) -> None:
    assert "error" in tools.call("insights", deploymentSelector=selector)


def test_who_has_no_key_is_refused(project: Project) -> None:
    stranger = Tools(
        project, CONVEX_PROVISION_HOST=project.server.url, CONVEX_OVERRIDE_ACCESS_TOKEN="x|01"
    )
    assert "Not Authorized" in stranger.call("status")["error"]
