"""Functions that may run long inside one C call are found before they run; ordinary ones are
not."""

import collections
import functools
import itertools
import math
import operator
import re
from itertools import count, repeat

import pytest

from cupola.runtimes.python.suspects import suspects

SMALL = 50
PATTERN = re.compile("a+")
WORD = r"\w+"


def helper_that_sums(n):
    return sum(range(n))


def helper_that_loops(n):
    return [i * 2 for i in range(n)]


def helper_that_calls(n):
    return helper_that_sums(n)


class Report:
    def __init__(self, n):
        self.n = n

    def total(self):
        return sum(range(self.n))


def decorated(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)

    return inner


def sum_range(ctx, n):
    return sum(range(n))


def sum_constant_range(ctx):
    return sum(range(3 * 10**8))


def list_range(ctx, n):
    return list(range(n))


def sorted_map(ctx, n):
    return sorted(map(str, range(n)))


def join_map(ctx, n):
    return "".join(map(str, range(n)))


def max_count(ctx):
    return max(count())


def any_repeat(ctx):
    return any(repeat(0))


def all_cycle(ctx, xs):
    return all(itertools.cycle(xs))


def set_product(ctx, xs):
    return set(itertools.product(xs, repeat=8))


def deque_count(ctx):
    return collections.deque(count(), maxlen=0)


def dict_zip(ctx, n):
    return dict(zip(range(n), range(n), strict=False))


def tuple_enumerate(ctx, n):
    return tuple(enumerate(range(n)))


def list_reversed(ctx, n):
    return list(reversed(range(n)))


def bytes_range(ctx, n):
    return bytes(range(n))


def power(ctx, n):
    return 10**n


def huge_power(ctx):
    return 10**9**9


def power_in_place(ctx, n):
    x = 3
    x **= n
    return x


def shift(ctx, n):
    return 1 << n


def repetition(ctx, n):
    return [0] * n


def repetition_left(ctx, n):
    return n * "x"


def huge_repetition(ctx):
    return "x" * 10**10


def regex(ctx, pattern, text):
    return re.search(pattern, text)


def regex_put_together(ctx, word, text):
    return re.findall(f"^{word}$", text)


def evaluated(ctx, text):
    return eval(text)


def factorial(ctx, n):
    return math.factorial(n)


def builtin_pow(ctx, n):
    return pow(2, n)


def reduce_operator(ctx, n):
    return functools.reduce(operator.add, range(n))


def star(ctx, n):
    return [*range(n)]


def star_argument(ctx, n):
    return print(*range(n))


def unpacked(ctx, n):
    _, *rest = range(n)
    return rest


def extended(ctx, n):
    xs = []
    xs.extend(range(n))
    return xs


def in_place(ctx, n):
    xs = []
    xs += range(n)
    return xs


def membership(ctx, x):
    return x in count()


def through_variable(ctx, n):
    numbers = range(n)
    return sum(numbers)


def through_local_import(ctx):
    from itertools import count as c

    return sum(c())


def skipping_loop(ctx):
    for x in filter(None, repeat(0)):
        return x
    return None


def skipping_next(ctx):
    return next(filter(None, repeat(0)))


def through_helper(ctx, n):
    return helper_that_sums(n)


def through_two_helpers(ctx, n):
    return helper_that_calls(n)


def through_reference(ctx, xs):
    return sorted(xs, key=helper_that_sums)


def through_class(ctx, n):
    return Report(n).total()


def in_nested_function(ctx, n):
    def inner():
        return sum(range(n))

    return inner()


@decorated
def behind_decorator(ctx, n):
    return sum(range(n))


def password(ctx, text):
    import hashlib

    return hashlib.pbkdf2_hmac("sha256", text.encode(), b"salt", 600_000)


BAD = [
    sum_range,
    sum_constant_range,
    list_range,
    sorted_map,
    join_map,
    max_count,
    any_repeat,
    all_cycle,
    set_product,
    deque_count,
    dict_zip,
    tuple_enumerate,
    list_reversed,
    bytes_range,
    power,
    huge_power,
    power_in_place,
    shift,
    repetition,
    repetition_left,
    huge_repetition,
    regex,
    regex_put_together,
    evaluated,
    factorial,
    builtin_pow,
    reduce_operator,
    star,
    star_argument,
    unpacked,
    extended,
    in_place,
    membership,
    through_variable,
    through_local_import,
    skipping_loop,
    skipping_next,
    through_helper,
    through_two_helpers,
    through_reference,
    through_class,
    in_nested_function,
    behind_decorator,
    password,
]


@pytest.mark.parametrize("function", BAD, ids=lambda function: function.__name__)
def test_a_function_that_may_not_be_interruptible_is_found(function):
    reasons = suspects(function)

    assert reasons
    assert reasons[0].startswith("test_suspects.py:")


def sorted_documents(ctx, channel):
    documents = ctx.db.query("messages").collect()
    return sorted(documents, key=lambda document: document.body)


def sum_generator(ctx, docs):
    return sum(m.value for m in docs)


def list_query(ctx):
    return list(ctx.db.query("messages").order("desc"))


def rule(ctx):
    return "-" * 20


def doubled(ctx, x):
    return x * 2


def product_of_numbers(ctx, price, amount):
    return price * amount * 1.19


def loop(ctx, n):
    total = 0
    for i in range(n):
        total += i * i
    return total


def comprehension(ctx, n):
    return [i * i for i in range(n)]


def square(ctx, x):
    return x**2 + x**0.5 + 2**32


def growth(ctx, years):
    return 1.05**years


def in_range(ctx, n):
    return n in range(10, 2000)


def small_ranges(ctx):
    return list(range(10)) + list(range(SMALL))


def indices(ctx, docs):
    return list(range(len(docs)))


def numbered(ctx, docs):
    return list(enumerate(docs))


def zipped_with_count(ctx, docs):
    return dict(zip(count(1), docs))


def mapped(ctx, docs):
    return list(map(str, docs))


def mapped_python(ctx, n):
    return list(map(lambda i: i + 1, range(n)))  # noqa: C417


def mapped_helper(ctx, n):
    return list(map(helper_that_loops, range(n)))


def first_ten(ctx):
    return list(itertools.islice(count(), 10))


def joined(ctx, docs):
    return ", ".join(sorted({d.author for d in docs}))


def chained(ctx, a, b):
    return list(itertools.chain(a, b))


def grouped(ctx, docs):
    return {k: list(g) for k, g in itertools.groupby(docs, key=len)}


def padded(ctx, docs):
    return [None] * len(docs)


def padded_constant(ctx):
    return [0] * SMALL


def flags(ctx):
    return 1 << 20 | 1 << 3


def constant_regex(ctx, text):
    return re.search(r"\d+", text), re.sub(WORD, "", text), PATTERN.match(text)


def escaped_regex(ctx, word, text):
    return re.search(rf"\b{re.escape(word)}\b", text)


def local_pattern(ctx, text):
    pattern = "a" + "b"
    return re.match(pattern, text)


def power_modulo(ctx, x, n, m):
    return pow(x, n, m)


def copied(ctx, data):
    return bytes(data), bytearray(data), list(data), dict(data), set(data)


def updated(ctx, changes):
    data = {}
    data.update(changes, seen=True)
    return data


def maximum(ctx, docs):
    return max(docs, key=lambda d: d.score, default=None), min(1, 2)


def with_helper(ctx, n):
    return helper_that_loops(n)


def counter(ctx, docs):
    return collections.Counter(d.author for d in docs).most_common(3)


def recursion(ctx, n):
    return recursion(ctx, n - 1) if n else 0


def shadowed(ctx, sum, n):
    return sum(range(n))


def while_loop(ctx):
    while True:
        pass


GOOD = [
    sorted_documents,
    sum_generator,
    list_query,
    rule,
    doubled,
    product_of_numbers,
    loop,
    comprehension,
    square,
    growth,
    in_range,
    small_ranges,
    indices,
    numbered,
    zipped_with_count,
    mapped,
    mapped_python,
    mapped_helper,
    first_ten,
    joined,
    chained,
    grouped,
    padded,
    padded_constant,
    flags,
    constant_regex,
    escaped_regex,
    local_pattern,
    power_modulo,
    copied,
    updated,
    maximum,
    with_helper,
    counter,
    recursion,
    shadowed,
    while_loop,
]


@pytest.mark.parametrize("function", GOOD, ids=lambda function: function.__name__)
def test_an_ordinary_function_may_run_in_process(function):
    assert suspects(function) == []


def test_a_reason_names_the_line_and_the_expression():
    line = sum_range.__code__.co_firstlineno

    assert suspects(sum_range) == [
        f"test_suspects.py:{line + 1}: `sum(range(n))` "
        "runs through an iterator of unknown length in one step"
    ]


def test_a_function_without_source_is_suspect():
    namespace: dict = {}
    exec("def f(ctx): return 1", namespace)

    assert suspects(namespace["f"]) == ["the source of `f` is not available"]
