"""One deployment's pushes: from what the command line sends to running code.

    start_push       evaluate the code; begin to get ready for its schema, while the old one serves
    wait_for_schema  until indexes are built and stored documents checked
    finish_push      code, schema and facts become those in force, in one transaction

A push that is started and never finished binds nobody for long: the next one overwrites it, and
after half an hour it is withdrawn. Pushes of the same schema share one preparation.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from cupola.auth import Identity
from cupola.backend import Backend, CallResult
from cupola.backend.pushes import PushDone
from cupola.database.schema_push import SchemaPush
from cupola.database.transaction import Transaction
from cupola.deploy.analyzer import v8_analyzer
from cupola.deploy.answers import (
    Json,
    module_hashes,
    nothing_finished,
    push_finished,
    push_started,
)
from cupola.deploy.auth_config import providers_of
from cupola.deploy.code import AUTH_CONFIG, DeployedCode, joined
from cupola.deploy.evaluation import evaluated, evaluated_schema, missing_variables
from cupola.deploy.events import push_finished_event
from cupola.deploy.exports import Exports
from cupola.deploy.imports import Imports
from cupola.deploy.made_up_queries import MadeUpQuery, run_made_up_query
from cupola.deploy.predictions import component_predictions, schema_prediction
from cupola.deploy.python_code import change_event
from cupola.deploy.requests import FinishPush, StartPush, VariableChange, WaitForSchema
from cupola.deploy.schemas import index_diffs, joined_schema, schema_text
from cupola.deploy.storage import StoredCode, load_environment
from cupola.deploy.system_calls import call_system
from cupola.errors import BadRequestError, CupolaError, DeveloperError, OverloadedError, SchemaError
from cupola.functions.app import App
from cupola.functions.bundles import Analyzer
from cupola.runtimes.v8.node_version import node_runtime
from cupola.schema import SchemaDefinition
from cupola.system.deployment import UPDATE_ENVIRONMENT, check_total, checked_changes
from cupola.system.events import PUSH, note
from cupola.values import split_qualified

_STAGED_MAX: Final = 20
_STAGED_FOR_S: Final = 1800.0
_LOOK_EVERY_S: Final = 1.0
_WAIT_MAX_S: Final = 60.0
_MADE_UP_QUERIES_MAX: Final = 2
_EXPECT_AFTER_S: Final = 1.0

MakeAnalyzer = Callable[[Backend], Analyzer]


class _Preparation:
    """A schema that the database gets ready for, and how that went."""

    def __init__(self, backend: Backend, schema: SchemaDefinition) -> None:
        self.schema = schema
        self.error: CupolaError | None = None
        self.ended = asyncio.Event()
        self.push: SchemaPush = backend.pushes.stage(schema, self._end)

    def _end(self, error: BaseException | None) -> None:
        if isinstance(error, CupolaError):
            self.error = error
        self.ended.set()

    @property
    def is_of_use(self) -> bool:
        """Whether a push that begins now may share it."""
        return self.error is None and not self.push.is_overwritten and not self.push.violation

    def answer(self) -> Json:
        """How far it is, as `wait_for_schema` tells it."""
        push = self.push
        if push.is_overwritten:
            return {"type": "raceDetected"}
        why = push.violation or (self.error.message if self.error is not None else None)
        if why is not None:
            component, table = split_qualified(push.failed_table or "")
            return {
                "type": "failed",
                "error": why,
                "componentPath": component,
                "tableName": table or None,
            }
        if push.is_prepared:
            return {"type": "complete"}
        built, total = push.progress()
        progress = {
            "schemaValidationComplete": False,
            "indexesComplete": built,
            "indexesTotal": total,
        }
        return {"type": "inProgress", "components": {"": progress}}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Staged:
    """A push that was started and may be finished."""

    code: DeployedCode
    environment: dict[str, str]
    index_diffs: Json
    preparation: _Preparation
    had_tables: frozenset[str]
    """The components that had tables when it was started."""


class Deployer:
    """Joins the code of an app's folder, which is Python, with what is pushed, which is JavaScript.

    Belongs to the thread of its backend.
    """

    def __init__(self, backend: Backend, make_analyzer: MakeAnalyzer = v8_analyzer) -> None:
        """Reads what the deployment has stored. `make_analyzer` is called at the first push."""
        self._backend = backend
        self._clock = backend.clock
        self._make_analyzer = make_analyzer
        self._analyzer: Analyzer | None = None
        self._warming_up: asyncio.Task[None] | None = None
        reader = backend.node.persistence.reader
        self._stored = StoredCode(reader)
        self._variables = load_environment(reader)
        self._python = backend.app
        self._staged: dict[str, _Staged] = {}
        self._lock = asyncio.Lock()
        self.on_push: Callable[[App], None] = lambda app: None
        """Told of each push that serves, with the code of both languages."""
        self._made_up_queries = 0
        self.exports = Exports(backend)
        self.imports = Imports(backend)
        self._note_version()

    @property
    def code(self) -> DeployedCode | None:
        """The pushed code that serves."""
        return self._stored.code

    @property
    def python(self) -> App:
        """The running code of the app's folder, without what is pushed."""
        return self._python

    @property
    def environment(self) -> dict[str, str]:
        """What `process.env` and `os.environ` answer: the system's variables, then the app's."""
        return self._with_built_in(self._variables)

    def _with_built_in(self, variables: Mapping[str, str]) -> dict[str, str]:
        system = self._backend.node.system
        built_in = {"CONVEX_CLOUD_URL": system.cloud_url, "CONVEX_SITE_URL": system.site_url}
        return {**{name: value for name, value in built_in.items() if value}, **variables}

    @property
    def variables(self) -> dict[str, str]:
        """The variables that administrators have set."""
        return dict(self._variables)

    # ---------------------------------------------------------------- code of the app's folder

    def deploy_python(self, python: App, done: PushDone) -> None:
        """Make other Python code the running one, beside the pushed code. Else as `Backend.deploy`.

        Raises:
            SchemaError: The two do not fit together.
        """
        code, environment = self.code, self.environment
        app = joined(python, code, environment)

        def finished(error: BaseException | None) -> None:
            if error is None:
                self._python = python
                if self.code is not code or self.environment != environment:
                    self._use()  # variables were changed meanwhile
            done(error)

        self._backend.node.runtime.environment = environment
        self._backend.deploy(app, finished, change_event(self._backend, python, app))

    def deploy_python_now(self, python: App) -> None:
        """`deploy_python`, turning the backend by hand until it is over. Raises: as it failed."""
        outcome: list[BaseException | None] = []
        self.deploy_python(python, outcome.append)
        while not outcome:
            self._backend.turn()
        if outcome[0] is not None:
            raise outcome[0]

    def serve_at(self, cloud_url: str, site_url: str) -> None:
        """The server has opened its ports: tell the code where it is."""
        system = self._backend.node.system
        if (system.cloud_url, system.site_url) == (cloud_url, site_url):
            return
        system.cloud_url, system.site_url = cloud_url, site_url
        self._backend.node.links.origin = cloud_url
        if self._backend.state == "ready":
            self._use()

    def _use(self) -> None:
        self._note_version()
        app = joined(self._python, self.code, self.environment)
        self._backend.use(app, self.environment)

    def _note_version(self) -> None:
        code = self.code
        version = code.facts.server_version if code is not None else None
        system = self._backend.node.system
        system.server_version = version
        system.node_version = node_runtime() if code is not None and code.uses_node else None

    # ---------------------------------------------------------------- pushes

    def config_hashes(self) -> Json:
        """What is deployed, so that a push sends only what differs. The push follows at once."""
        self._expect_push()
        return module_hashes(self.code)

    def _expect_push(self) -> None:
        """Start what a push needs, while its code is on its way."""
        self._backend.expect_push()
        if self._warming_up is None or self._warming_up.done():
            warm_up = self._the_analyzer().warm_up()
            self._warming_up = asyncio.get_running_loop().create_task(warm_up)
            self._warming_up.add_done_callback(_ignore)

    async def evaluate_schema(self, push: StartPush) -> Json:
        """What a push would do to stored documents and indexes; changes nothing.

        Raises:
            CupolaError: Its schema makes no sense.
        """
        pushing = push, self.code, self.environment, self._the_analyzer(), self._clock
        schema = joined_schema(self._python.schema, await evaluated_schema(*pushing))
        predictions: Json = {"": await schema_prediction(self._backend, schema)}
        new: list[str] = []
        if push.component_definitions:
            code = await evaluated(*pushing)
            root = code.instances(self.environment)
            predictions |= await component_predictions(self._backend, root, code.components)
            known = self.code.components if self.code is not None else {}
            new = sorted(code.components.keys() - known.keys())
        return {"componentSchemaEvaluations": predictions, "newComponentDefinitions": new}

    async def start_push(self, push: StartPush, *, only_evaluate: bool = False) -> Json:
        """Evaluate a push and get ready for it.

        Raises:
            CupolaError: It cannot be; nothing was changed.
        """
        variables = self.variables
        environment = self.environment
        try:
            code = await evaluated(push, self.code, environment, self._the_analyzer(), self._clock)
            app = joined(self._python, code, environment)
        except DeveloperError as error:
            raise _while_pushing(error) from error
        paths = [each.path for each in code.instances(environment).all() if each.path]
        diffs: Json = index_diffs(self._backend.node.committer.catalog, app.schema, paths)
        push_id = self._clock.random_bytes(16).hex()
        if not (push.dry_run or push.for_codegen or only_evaluate):
            tables = self._backend.node.committer.catalog.by_name.values()
            had_tables = frozenset(table.component for table in tables)
            preparation = self._prepare(app.schema)
            self._stage(push_id, _Staged(code, variables, diffs, preparation, had_tables))
            self._backend.prepare(app)
        return push_started(push_id, self.code, code, variables, diffs)

    def _the_analyzer(self) -> Analyzer:
        if self._analyzer is None:
            self._analyzer = self._make_analyzer(self._backend)
        return self._analyzer

    def _prepare(self, schema: SchemaDefinition) -> _Preparation:
        for staged in self._staged.values():
            shared = staged.preparation
            if shared.schema == schema and shared.is_of_use:
                return shared
        return _Preparation(self._backend, schema)

    def _stage(self, push_id: str, staged: _Staged) -> None:
        self._staged[push_id] = staged
        while len(self._staged) > _STAGED_MAX:
            self._forget(next(iter(self._staged)))
        asyncio.get_running_loop().call_later(_STAGED_FOR_S, self._forget, push_id)

    def _forget(self, push_id: str) -> None:
        """Nobody finishes this push any more: withdraw its schema, if no other push needs it."""
        staged = self._staged.pop(push_id, None)
        if staged is None:
            return
        others = (each.preparation for each in self._staged.values())
        if all(staged.preparation is not other for other in others):
            self._backend.pushes.withdraw(staged.preparation.push)

    async def wait_for_schema(self, request: WaitForSchema) -> Json:
        """Whether the database is ready for a push; waits for that, but no longer than asked."""
        if request.dry_run:
            return {"type": "complete"}
        staged = self._staged.get(request.schema_change.push_id or "")
        if staged is None:
            return {"type": "raceDetected"}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(request.timeout_ms / 1000, _WAIT_MAX_S)
        while (answer := staged.preparation.answer())["type"] == "inProgress":
            left_s = deadline - loop.time()
            if left_s <= 0 or self._backend.state == "draining":
                return answer
            try:
                async with asyncio.timeout(min(left_s, _LOOK_EVERY_S)):
                    await staged.preparation.ended.wait()
            except TimeoutError:
                continue
        return answer

    async def finish_push(self, request: FinishPush) -> Json:
        """Make a push's code and schema those in force. Returns once that is durable.

        Raises:
            CupolaError: The old code goes on serving.
        """
        if request.dry_run:
            return nothing_finished()
        push_id = request.start_push.push_id or ""
        async with self._lock:
            staged = self._staged.get(push_id)
            if staged is None:
                raise _race("it was never started here, or another one was meanwhile")
            self._require_finishable(staged)
            app = await self._loaded(staged)
            finished = await self._accept(staged, app, request.message)
            self._note_version()
            self.on_push(app)
        # The next push finds a process ready; the first calls of this one come first.
        asyncio.get_running_loop().call_later(_EXPECT_AFTER_S, self._backend.expect_push)
        self._forget(push_id)
        return finished

    async def _loaded(self, staged: _Staged) -> App:
        """What will run, once a worker has loaded it. Raises: BadRequestError (RaceDetected)."""
        while True:
            python = self._python
            app = joined(python, staged.code, self.environment)
            if app.schema != staged.preparation.schema:
                raise _race("the tables of the Python code have changed meanwhile")
            self._backend.prepare(app)
            await self._backend.wait_prepared(app)
            if python is self._python:  # else the code beside it has changed while we waited
                return app

    def _require_finishable(self, staged: _Staged) -> None:
        if staged.environment != self._variables:
            raise _race("environment variables were changed meanwhile")
        missing = missing_variables(staged.code.facts.definition, self._variables)
        if missing:
            raise BadRequestError(
                f"Required environment variables are not set: {', '.join(missing)}. "
                "Set them with `npx convex env set`.",
                code="MissingEnvironmentVariables",
            )
        answer = staged.preparation.answer()
        if answer["type"] == "raceDetected":
            raise _race("another push has begun")
        if answer["type"] == "failed":
            raise _while_pushing(SchemaError(answer["error"]))
        if answer["type"] == "inProgress":
            raise BadRequestError(
                "The schema is not ready yet; wait for it first.", code="SchemaNotReady"
            )

    async def _accept(self, staged: _Staged, app: App, message: str | None) -> Json:
        """Returns what has changed, once `app` serves and the push is durable."""
        backend = self._backend
        live: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        finished: Json = {}

        def write(transaction: Transaction) -> None:
            nonlocal finished
            finished = self._write(transaction, staged, message)

        def done(error: BaseException | None) -> None:
            if error is not None:
                live.set_exception(error)
                return
            self._stored.confirm()
            backend.node.outbox.put(backend.node.head_ts, lambda: live.set_result(finished))

        backend.pushes.accept(staged.preparation.push, app, write, done)
        return await asyncio.shield(live)

    def _write(self, transaction: Transaction, staged: _Staged, message: str | None) -> Json:
        """The code, and the event that tells of it. Returns: what they change."""
        before, after = self.code, staged.code
        in_force = self._backend.node.committer.catalog
        finished = push_finished(
            before,
            after,
            staged.index_diffs,
            schema=[schema_text(in_force), schema_text(transaction.catalog)],
            had_tables=staged.had_tables,
        )
        self._stored.write(transaction, after)
        metadata = push_finished_event(finished, before, after, message)
        note(transaction, self._backend.limits, PUSH, metadata)
        return finished

    def start(self) -> None:
        """The server runs: whoever waits for what an earlier one left unfinished is told."""
        self.exports.start()
        self.imports.start()

    async def close(self) -> None:
        """The server stops: whatever runs beside it ends."""
        if self._analyzer is not None:
            self._analyzer.close()
        await self.exports.close()
        await self.imports.close()

    async def run_made_up_query(self, sent: MadeUpQuery, identity: Identity) -> CallResult:
        """Run a query that is not deployed. Raises: CupolaError: It is none, or cannot be run."""
        if self._made_up_queries >= _MADE_UP_QUERIES_MAX:
            raise OverloadedError(
                f"{_MADE_UP_QUERIES_MAX} made-up queries run already, each in processes of its "
                "own; try again soon.",
                code="TooManyConcurrentRequests",
            )
        self._made_up_queries += 1
        try:
            return await run_made_up_query(
                self._backend, self._the_analyzer(), self.code, self.environment, sent, identity
            )
        finally:
            self._made_up_queries -= 1

    # ---------------------------------------------------------------- environment variables

    async def update_environment(self, changes: Iterable[VariableChange]) -> None:
        """Set or remove variables. Returns once that is durable and all code sees it.

        Raises:
            CupolaError: A name or value that cannot be; nothing was changed.
        """
        given = [{"name": change.name, "value": change.value} for change in changes]
        async with self._lock:
            variables = dict(self._variables)
            for name, value in checked_changes(given).items():
                if value is None:
                    variables.pop(name, None)
                else:
                    variables[name] = value
            check_total(variables)
            code = await self._code_with(variables)
            facts = msgspec.json.encode(code.facts).decode() if code is not None else None
            args = {"changes": given, "push": facts}
            await call_system(self._backend, UPDATE_ENVIRONMENT, args)
            self._variables = variables
            self._stored.code = code
            self._use()

    async def _code_with(self, variables: Mapping[str, str]) -> DeployedCode | None:
        """The same code where variables have changed: what they decide is evaluated again."""
        code = self.code
        if code is None or AUTH_CONFIG not in code.modules:
            return code
        bundle = code.bundle(self._with_built_in(variables))
        try:
            text = await self._the_analyzer().evaluate_auth_config(
                bundle, code.modules[AUTH_CONFIG]
            )
        except DeveloperError as error:
            raise BadRequestError(error.message, code=error.code) from error
        facts = msgspec.structs.replace(code.facts, auth=providers_of(text))
        return dataclasses.replace(code, facts=facts)


def _ignore(task: asyncio.Task[None]) -> None:
    """What could not be started early is started when it is needed, and tells then."""
    if not task.cancelled():
        task.exception()


def _race(why: str) -> BadRequestError:
    return BadRequestError(f"This push cannot be finished: {why}. Push again.", code="RaceDetected")


def _while_pushing(error: CupolaError) -> BadRequestError:
    text = f"Hit an error while pushing:\n{error.message}"
    return BadRequestError(text, code=error.code)
