"""An app's folder becomes functions and tables, or one error that says where it is wrong."""

import sys

import pytest

from cupola.errors import FunctionNotFoundError, InvalidPathError, SchemaError
from cupola.functions.app import load_app
from cupola.functions.definitions import Kind, Visibility

GREETING = """
    @query
    def hello(ctx: QueryCtx, name: str) -> str:
        return f"hello {name}"
"""


def test_modules_and_folders_become_paths(write_app):
    """`functions/chat/rooms.py` with `list` is `chat/rooms:list`, as clients write it."""
    folder = write_app(
        {
            "chat/rooms": "@query\ndef list(ctx: QueryCtx) -> float:\n    return 1.0\n",
            "main": "@mutation\ndef default(ctx: MutationCtx) -> None: ...\n",
        }
    )

    app = load_app(folder)

    assert set(app.functions) == {"chat/rooms:list", "main:default"}
    assert app.find("chat/rooms.js:list") is app.find("chat/rooms:list")
    assert app.find("main") is app.find("main:default")


def test_kinds_and_visibility_come_from_the_decorator(write_app):
    app = load_app(
        write_app(
            main="""
            @query
            def a(ctx: QueryCtx) -> None: ...
            @internal_mutation
            def b(ctx: MutationCtx) -> None: ...
            @internal_action
            async def c(ctx: ActionCtx) -> None: ...
            """
        )
    )

    described = {path: (f.kind, f.visibility) for path, f in app.functions.items()}

    assert described == {
        "main:a": (Kind.QUERY, Visibility.PUBLIC),
        "main:b": (Kind.MUTATION, Visibility.INTERNAL),
        "main:c": (Kind.ACTION, Visibility.INTERNAL),
    }


def test_an_imported_function_belongs_to_the_module_that_defines_it(write_app):
    app = load_app(write_app({"one": GREETING, "two": "from functions.one import hello"}))

    assert set(app.functions) == {"one:hello"}


def test_a_function_called_from_python_is_a_plain_call(write_app):
    app = load_app(write_app(main=GREETING))

    assert app.find("main:hello")(None, "ada") == "hello ada"


def test_an_unknown_path_names_the_nearest(write_app):
    app = load_app(write_app(main=GREETING))

    with pytest.raises(FunctionNotFoundError, match="Did you mean 'main:hello'"):
        app.find("main:helo")
    with pytest.raises(FunctionNotFoundError, match="Did you forget to save or deploy it"):
        app.find("elsewhere:other")
    with pytest.raises(InvalidPathError):
        app.find("ma in:hello")


def test_a_folder_without_functions_says_how_to_make_one(tmp_path):
    with pytest.raises(SchemaError, match="cupola new") as raised:
        load_app(tmp_path)
    assert raised.value.code == "NoFunctionsFolder"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import there_is_no_such_module", "there_is_no_such_module"),
        ("def broken(:\n    pass", "SyntaxError"),
        ("x = 1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import sys\nsys.exit()", "SystemExit"),
        ("raise BaseException('strange')", "strange"),
        ("exec('\\x00')", "null byte"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(write_app, source, told):
    """Whatever it raises: a module cannot end the server, and the error shows the line."""
    with pytest.raises(SchemaError) as raised:
        load_app(write_app({"deep/broken": source}))

    assert "functions/deep/broken.py" in raised.value.message
    assert told in raised.value.message
    assert raised.value.code == "ImportFailed"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("@action\ndef a(ctx): ...", "Action `a` must be an `async def`"),
        ("@query\nasync def q(ctx): ...", "`q` is a query and must be a plain `def`"),
        ("@mutation\nasync def m(ctx): ...", "`m` is a mutation and must be a plain `def`"),
        ("@query\ndef q(ctx):\n    yield 1", "`q` yields"),
        ("@query\nasync def q(ctx):\n    yield 1", "must be a plain `def`"),
        ("@query\ndef q(ctx, x: set[int]) -> None: ...", "main:q"),
        ("@query\ndef q(ctx) -> set[int]: ...", "main:q"),
        ("@query\ndef q(ctx, *many: int) -> None: ...", "main:q"),
        ("@query\ndef q() -> None: ...", "main:q"),
        ("@query\ndef q(ctx, x: Nowhere) -> None: ...", "Nowhere"),
        ("class T(Table): \n    a: str", "name"),
        ("class T(Table, name='_t'):\n    a: str", "_t"),
        ("class T(Table, name='t', indexes={'by_b': ['b']}):\n    a: str", "`b`"),
        ("class T(Table, name='t', indexes={'by_id': ['a']}):\n    a: str", "by_id"),
        ("class T(Table, name='t'):\n    _a: str", "_a"),
        ("class T(Table, name='t t'):\n    a: str", "t t"),
        ("class T(Table, name='t'):\n    a: set[int]", "a"),
    ],
)
def test_definitions_that_make_no_sense_are_refused_when_loaded(write_app, source, told):
    """At the push and not at the first call; the message names the function or table."""
    with pytest.raises(SchemaError) as raised:
        load_app(write_app(main=source)).schema  # noqa: B018

    assert told in raised.value.message


def test_a_table_can_be_defined_once_only(write_app):
    table = "class {}(Table, name='notes'):\n    text: str\n"
    folder = write_app(one=table.format("Note"), two=table.format("Other"))

    with pytest.raises(SchemaError, match=r"`Note` in functions\.one and as `Other`") as raised:
        load_app(folder)
    assert raised.value.code == "DuplicateTable"


def test_a_table_may_be_imported_everywhere(write_app):
    folder = write_app(
        schema="class Note(Table, name='notes'):\n    text: str\n",
        one="from .schema import Note\n",
        two="from functions.schema import Note\n",
    )

    assert set(load_app(folder).tables) == {"notes"}


def test_a_file_name_that_no_path_can_have_is_refused_by_name(write_app):
    """`my-file.py` could be imported, but no client could name what is inside."""
    with pytest.raises(SchemaError, match=r"my-file\.py") as raised:
        load_app(write_app({"my-file": GREETING}))
    assert raised.value.code == "BadFunction"


def test_loading_again_makes_a_new_app_and_leaves_the_old_one_working(write_app):
    folder = write_app(main=GREETING)
    old = load_app(folder)
    write_app(main=GREETING.replace("hello {name}", "howdy {name}"), folder=folder)

    new = load_app(folder)

    assert old.find("main:hello")(None, "ada") == "hello ada"
    assert new.find("main:hello")(None, "ada") == "howdy ada"
    assert old.version != new.version


def test_a_change_that_keeps_the_file_size_is_seen_at_once(write_app, monkeypatch):
    """Compiled files are told apart by second and size; two saves may share both."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    folder = write_app(main="@query\ndef number(ctx) -> float:\n    return 1.0\n")
    for number in (1, 2, 3, 4):
        source = f"@query\ndef number(ctx) -> float:\n    return {number}.0\n"
        write_app(main=source, folder=folder)
        assert load_app(folder).find("main:number")(None) == number


def test_when_loading_fails_the_modules_from_before_stay(write_app):
    """Lazy imports of the old code still find the old modules."""
    folder = write_app(main=GREETING, other="x = 1\n")
    load_app(folder)
    before = sys.modules["functions.main"]
    write_app(main="raise RuntimeError('no')", folder=folder)

    with pytest.raises(SchemaError):
        load_app(folder)

    assert sys.modules["functions.main"] is before


def test_one_app_after_another_takes_nothing_over(write_app):
    """Two folders, both with a module `main`: the package name `functions` is reused."""
    first = load_app(write_app(main=GREETING, helper="x = 1\n"))
    folder = write_app(main=GREETING, helper="x = 2\n", user="from functions import helper\n")
    second = load_app(folder)

    assert sys.modules["functions.user"].helper.x == 2
    assert first.find("main:hello") is not second.find("main:hello")


def test_the_version_follows_the_code(write_app):
    folder = write_app(main=GREETING)
    version = load_app(folder).version
    assert load_app(folder).version == version
    write_app(other="", folder=folder)
    assert load_app(folder).version != version
