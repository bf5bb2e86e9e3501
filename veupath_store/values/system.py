"""What belongs to the application itself: a user and a conversation with fixed ids."""

from typing import Final
from uuid import UUID

SYSTEM_USER_ID: Final = UUID("00000000-0000-4000-8000-000000000001")
"""The owner of what no user asked for."""

SYSTEM_STREAM_ID: Final = UUID("00000000-0000-4000-8000-000000000002")
"""The conversation that such work logs to."""

SYSTEM_SITE_ID: Final = "veupathdb"
"""The site of that conversation: the portal of all."""
