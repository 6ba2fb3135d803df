"""Cupola and its peers, measured by one harness on one machine; `make bench` runs it."""
