"""/healthz and /metrics, beside gradio's own routes. Neither asks who is there, and neither says who was."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import quantlab
from quantlab.ui.hosting.work import Work


def routes(work: Work, told: bool = True) -> list[Route]:
    """`told`: /metrics is there too."""

    async def health(request: Request) -> Response:
        """200 while new work is taken, 503 once the server is about to end."""
        state = {"status": "ending" if work.ending else "ok", "running": work.running, "version": quantlab.__version__}
        return JSONResponse(state, 503 if work.ending else 200, {"cache-control": "no-store"})

    def metrics(request: Request) -> Response:
        return Response(work.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST, "cache-control": "no-store"})

    return [Route("/healthz", health), *([Route("/metrics", metrics)] if told else [])]
