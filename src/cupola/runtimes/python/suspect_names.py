"""What `suspects` knows by name: calls that C drives, and calls that are slow by themselves."""

CONSUMERS = frozenset(
    [
        "sum",
        "min",
        "max",
        "sorted",
        "list",
        "tuple",
        "set",
        "frozenset",
        "any",
        "all",
        "dict",
        "bytes",
        "bytearray",
        "collections.deque",
        "collections.Counter",
        "collections.OrderedDict",
        "dict.fromkeys",
        "functools.reduce",
        "_functools.reduce",
        "math.fsum",
        "math.prod",
        "array.array",
        "heapq.nlargest",
        "heapq.nsmallest",
    ]
)
CONSUMING_METHODS = frozenset(
    [
        "join",
        "extend",
        "update",
        "union",
        "intersection",
        "difference",
        "symmetric_difference",
        "issuperset",
        "fromkeys",
    ]
)
ENDLESS = frozenset(
    [
        "itertools.count",
        "itertools.cycle",
        "itertools.repeat",
        "itertools.product",
        "itertools.permutations",
        "itertools.combinations",
        "itertools.combinations_with_replacement",
    ]
)
ADAPTERS = frozenset(
    [
        "enumerate",
        "reversed",
        "iter",
        "itertools.accumulate",
        "itertools.batched",
        "itertools.chain",
        "itertools.compress",
        "itertools.dropwhile",
        "itertools.filterfalse",
        "itertools.islice",
        "itertools.pairwise",
        "itertools.starmap",
        "itertools.takewhile",
        "itertools.tee",
        "itertools.zip_longest",
        "itertools.groupby",
        "itertools.chain.from_iterable",
        "filter",
        "map",
        "zip",
    ]
)
SKIPPING = frozenset(
    ["filter", "itertools.filterfalse", "itertools.dropwhile", "itertools.compress"]
)
#: the shortest argument ends them
SHORTEST = frozenset(["zip", "map", "itertools.starmap"])
#: the position of a function that is called per step
PER_STEP = {
    "map": 0,
    "filter": 0,
    "functools.reduce": 0,
    "_functools.reduce": 0,
    "itertools.filterfalse": 0,
    "itertools.dropwhile": 0,
    "itertools.takewhile": 0,
    "itertools.starmap": 0,
    "itertools.accumulate": 1,
}
GROWING = frozenset(["math.factorial", "math.comb", "math.perm", "math.lcm"])
REGEX = frozenset(
    f"re.{name}"
    for name in [
        "compile",
        "match",
        "search",
        "fullmatch",
        "findall",
        "finditer",
        "sub",
        "subn",
        "split",
    ]
)
SLOW = {
    "hashlib.pbkdf2_hmac": "is slow on purpose",
    "_hashlib.pbkdf2_hmac": "is slow on purpose",
    "hashlib.scrypt": "is slow on purpose",
    "_hashlib.scrypt": "is slow on purpose",
    "zlib.decompress": "may unpack to any size",
    "gzip.decompress": "may unpack to any size",
    "bz2.decompress": "may unpack to any size",
    "lzma.decompress": "may unpack to any size",
    "eval": "runs code that cannot be searched",
    "exec": "runs code that cannot be searched",
    "sys.set_int_max_str_digits": "lifts the bound on converting numbers",
}
SLOW_LIBRARIES = frozenset(
    [
        "ctypes",  # and may crash the process
        "numpy",
        "pandas",
        "polars",
        "scipy",
        "sklearn",
        "torch",
        "tensorflow",
        "jax",
        "pyarrow",
        "duckdb",
        "PIL",
        "cv2",
        "bcrypt",
        "argon2",
    ]
)
