"""Converts exports of Scope to jobs: timelines (2.0, 2.1) and workflows (1.0)."""

from scope_batch.importing.convert import Imported, import_export

__all__ = ["Imported", "import_export"]
