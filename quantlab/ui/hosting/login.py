"""Who may come in: those who know the class's password, or who sign in with Hugging Face."""

import hmac
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from quantlab.errors import BadInput
from quantlab.settings import AppSettings
from quantlab.ui.hosting.gate import refuse
from quantlab.ui.hosting.quota import App, Scope

#: What the page needs before anybody is signed in, and what the server asks of itself while it starts.
_FOR_ALL = re.compile(
    r"^/(login/(huggingface|callback)|logout|healthz|metrics|gradio_api/startup-events|robots\.txt)/?$"
)
ASKED_FOR = "This page is for a class: any name, and the password that your teacher gave you."


def by_password(app: AppSettings) -> Callable[[str, str], bool] | None:
    """What gradio asks of a name and a password; None where there is no password."""
    if app.password is None or not app.password.get_secret_value():
        return None
    wanted = app.password.get_secret_value().encode()
    return lambda name, password: hmac.compare_digest(password.encode(), wanted)


def check_sign_in(app: AppSettings) -> bool:
    """Whether visitors sign in with Hugging Face. Raises BadInput where that cannot be."""
    if not app.signs_in:
        return False
    if not app.space or not os.environ.get("OAUTH_CLIENT_ID"):
        raise BadInput(
            "Visitors can sign in with Hugging Face on a Space whose README.md says `hf_oauth: true` alone.",
            "Elsewhere set QUANTLAB_PASSWORD instead.",
        )
    if by_password(app) is not None:
        raise BadInput("There is a password and a sign-in.", "Set QUANTLAB_PASSWORD or QUANTLAB_SIGN_IN, not both.")
    return True


class SignedIn:
    """Stands before the page's own server (ASGI), behind gradio's session: lets through who is signed in and, where
    `organisation` is set, belongs to it."""

    def __init__(self, app: App, organisation: str = "") -> None:
        self._app, self._organisation = app, organisation

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        if scope["type"] == "http" and not _FOR_ALL.match(scope["path"]):
            who = (scope.get("session") or {}).get("oauth_info")
            if who is None or who.get("expires_at", math.inf) < time.time():
                await self._to_sign_in(scope, send)
                return
            if self._organisation and self._organisation not in organisations(who):
                await refuse(send, 403, f"This page is for members of {self._organisation} at Hugging Face.")
                return
            scope = scope | {"session": scope["session"] | {"oauth_info": _without_lists(who)}}
        await self._app(scope, receive, send)

    async def _to_sign_in(self, scope: Scope, send: Callable) -> None:
        if scope["path"] != "/" or scope["method"] not in ("GET", "HEAD"):
            await refuse(send, 401, "Sign in with Hugging Face first: open the page anew.")
            return
        headers = [(b"location", b"/login/huggingface"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _without_lists(who: Mapping[str, Any]) -> dict[str, Any]:
    """What handlers are told of somebody. gradio breaks off over a session in which something is a list."""
    userinfo = {name: value for name, value in (who.get("userinfo") or {}).items() if not isinstance(value, list)}
    return {"userinfo": userinfo}


def organisations(who: Mapping[str, Any]) -> set[str]:
    """The names of the organisations of which Hugging Face says that somebody belongs to them."""
    listed = (who.get("userinfo") or {}).get("orgs") or []
    return {str(it.get("preferred_username") or it.get("name")) for it in listed if isinstance(it, Mapping)}
