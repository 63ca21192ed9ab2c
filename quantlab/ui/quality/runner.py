"""One visitor's quality run from the choice to the views."""

import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from quantlab.records import QualityRequest
from quantlab.records.events import QualityEvents
from quantlab.settings import AppSettings
from quantlab.ui.common.runner import Job, Queueing, watched
from quantlab.ui.quality import form as choices
from quantlab.ui.quality.form import QualityChoice
from quantlab.ui.quality.view import QualityView, fold, halt
from quantlab.ui.services import Services


def views(
    choice: QualityChoice, app: AppSettings, services: Services, stop: threading.Event, queueing: Queueing
) -> Generator[QualityView, None, None]:
    """Measure; yield what the tab shows each time that something may have changed; see `runner.watched`."""

    def begin() -> Job:
        choices.check(choice, app)
        settings = choices.settings(choice, app)

        def measure() -> QualityEvents:  # a text may have to be fetched
            request = QualityRequest(choice.model, choice.precisions, choices.text(choice), settings)
            return services.quality(request, stop=stop)

        return Job("quality", measure)

    def see(view: QualityView, batch: Sequence[Any]) -> QualityView:
        now = time.monotonic()
        view = replace(view, at=now)
        for event in batch:
            view = fold(view, event, now)
        return view

    yield from watched(QualityView(tasks=choice.all_tasks), begin, see, halt, app, stop, queueing)
