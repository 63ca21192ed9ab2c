"""What the tab asks of the layers below, each imported when it is first called: they bring torch."""

from dataclasses import dataclass

from quantlab.records.inside import Inside, InsideRequest, Outliers
from quantlab.settings import AppSettings


@dataclass(frozen=True)
class InsideJobs:
    """See `quantlab.teach.inside`; in public the models are those allowed."""

    app: AppSettings

    def layers(self, model: str) -> tuple[str, ...]:
        from quantlab.teach import inside

        return inside.layers(inside.resolved(model, self.app))

    def look(self, request: InsideRequest, others: bool) -> Inside:
        from quantlab.teach import inside

        return inside.look(request, self.app, others)

    def outliers(self, request: InsideRequest, sigma: float | None) -> Outliers:
        from quantlab.teach import inside

        return inside.outliers(request, self.app, sigma)
