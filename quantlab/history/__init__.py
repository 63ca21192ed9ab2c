"""The history: every comparison and quality run in one SQLite file. Nothing here imports torch."""

from quantlab.history.entries import Entry, Kind, State
from quantlab.history.history import History, Resumed
from quantlab.history.pruning import Limits, Pruned
from quantlab.history.recorder import Recorder
from quantlab.settings import app_settings

__all__ = ["Entry", "History", "Kind", "Limits", "Pruned", "Recorder", "Resumed", "State", "open_history"]


def open_history() -> History | None:
    """The history that the settings name; None where nothing is kept (always so in public).

    Raises Unavailable where the file cannot be used, BadInput where it is of a newer version.
    """
    app = app_settings()
    return None if app.history_file is None else History(app.history_file, app.history_bytes)
