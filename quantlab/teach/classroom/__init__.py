"""Classes: a code under which the votes and predictions of many visitors come together. No torch, no gradio."""

from quantlab.settings import AppSettings
from quantlab.teach.classroom.asked import Asked, Catalog
from quantlab.teach.classroom.store import Classroom, Limits

__all__ = ["Asked", "Catalog", "Classroom", "Limits", "open_classroom"]


def open_classroom(app: AppSettings, asked: Catalog) -> Classroom | None:
    """The classes that the settings name; None where there are none.

    Raises Unavailable where the file cannot be used, BadInput where it is of a newer version.
    """
    if app.classroom_file is None:
        return None
    return Classroom(app.classroom_file, asked, Limits(app.class_codes, app.class_visitors, app.classroom_bytes))
