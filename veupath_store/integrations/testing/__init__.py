"""What the fixtures of the pytest plugin give, for annotations and for tests without pytest.

The plugin itself is ``veupath_store.integrations.pytest_plugin``; docs/testing.md shows it in use.
"""

from veupath_store.integrations.testing.clock import StoreClock
from veupath_store.integrations.testing.factories import Factories, Make
from veupath_store.integrations.testing.server import DatabaseServer
from veupath_store.integrations.testing.statements import RecordedStatements, Recorder, recorded

__all__ = ["DatabaseServer", "Factories", "Make", "RecordedStatements", "Recorder", "StoreClock", "recorded"]
