"""A visitor's comparison from the choice to the views."""

import threading
from collections.abc import Generator, Sequence
from functools import reduce
from typing import Any

from quantlab.records import ComparisonRequest
from quantlab.settings import AppSettings
from quantlab.ui.common.models import before_it_is_found
from quantlab.ui.common.runner import Job, Queueing, watched
from quantlab.ui.compare import form as choices
from quantlab.ui.compare.form import Choice
from quantlab.ui.compare.view import View, fold, halt
from quantlab.ui.services import Services
from quantlab.ui.turns.taking import nothing


def views(
    choice: Choice, app: AppSettings, services: Services, stop: threading.Event, queueing: Queueing
) -> Generator[View, None, None]:
    """Run a comparison; yield what the page shows each time that something may have changed; see `watched`."""

    def begin() -> Job:
        choices.check(choice, app)
        request = ComparisonRequest(choice.model, choice.precisions, choice.prompt, choices.settings(choice, app))
        answered = nothing if choice.fresh else services.answered(request)
        return Job("compare", lambda: services.compare(request, stop=stop, fresh=choice.fresh), answered)

    def see(view: View, batch: Sequence[Any]) -> View:
        return reduce(fold, batch, view)

    yield from watched(View(model=before_it_is_found(choice.model)), begin, see, halt, app, stop, queueing)
