"""The history: every comparison and quality run in one SQLite file. Nothing here imports torch."""

from quantlab.settings import app_settings
from quantlab.store.entries import Entry, Kind, State
from quantlab.store.history import History, Resumed
from quantlab.store.recorder import Recorder

__all__ = ["Entry", "History", "Kind", "Recorder", "Resumed", "State", "open_history"]


def open_history() -> History | None:
    """The history that the settings name; None where nothing is kept (always so in public).

    Raises Unavailable where the file cannot be used, BadInput where it is of a newer version.
    """
    file = app_settings().history_file
    return None if file is None else History(file)
