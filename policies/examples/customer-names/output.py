"""Where componentize-py looks for the resources of the interface `output`."""

from app import Filter  # noqa: F401
