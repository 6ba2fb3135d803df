"""Pushes of the published command line: what it sends, how it becomes running code, and where it is
kept (spec: deploy API).
"""

from cupola.deploy.deployer import Deployer

__all__ = ["Deployer"]
