"""What the dashboard stores."""

from cupola import Id, Table


class Metric(Table, name="metrics", indexes={"by_name": ["name"]}):
    """Something that is measured, with its latest value at hand for the overview."""

    name: str
    unit: str
    latest: float
    measured: float
    """When, in milliseconds since 1970, by the clock of whoever measured."""


class Sample(Table, name="samples", indexes={"by_metric": ["metric", "measured"]}):
    """One measurement."""

    metric: Id[Metric]
    measured: float
    value: float
