"""Functions of the system itself, at paths `_system/…`: for the command line, dashboards and other
tools. They run like an app's own, in ordinary transactions, so their results are live; only
administrators may call them.
"""

from cupola.system.registry import System

__all__ = ["System"]
