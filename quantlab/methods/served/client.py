"""A server asked: what it can, and for an answer. Nothing that it does takes longer than is allowed, and it is never
followed to another address."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import httpx

from quantlab.errors import BadInput, ModelError, QuantlabError, Unavailable, unknown
from quantlab.methods.served.address import Server
from quantlab.methods.served.replies import LONGEST_LINE, Piece, error_text, not_ours, parsed, piece, pieces
from quantlab.records import Settings

#: Of how many tokens the log-probabilities are asked for.
TOP = 5
_CONNECT_S = 5.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Can:
    """What a server was found to do. `chat`: it answers messages only, in its own template. `plain`: it takes no
    parameters but those of OpenAI, so that penalties which it may have by default cannot be turned off."""

    model: str
    chat: bool
    logprobs: bool
    plain: bool = False
    prompt_tokens: int | None = None

    @property
    def endpoint(self) -> str:
        return "chat/completions" if self.chat else "completions"


@dataclass(frozen=True)
class Prompt:
    """What is asked: as it was typed, for a chat, and in the model's own template, for what goes on writing."""

    typed: str
    templated: str


@dataclass(frozen=True)
class Arrived:
    """A piece, and when it came by `time.perf_counter`."""

    piece: Piece
    at_s: float


class Client:
    """One server. `silence_s` is how long it may say nothing, ten times as much how long an answer may take."""

    def __init__(self, server: Server, key: str | None, silence_s: float) -> None:
        self._server, self._silence_s = server, silence_s
        host = httpx.URL(server.address).host
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(silence_s, connect=min(_CONNECT_S, silence_s)),
            follow_redirects=False,
            # A proxy for the world outside is none for this machine.
            trust_env=host not in _LOOPBACK,
        )

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._http.aclose()

    async def probe(self, prompt: Prompt) -> Can:
        """Which model is meant, and how it can be asked; it answers with one token for that. Raises QuantlabError."""
        model = await self._model()
        refused: _Refused | None = None
        for chat, logprobs, plain in product((False, True), (True, False), (False, True)):
            if refused is not None and refused.absent and not chat:
                continue
            can = Can(model, chat, logprobs, plain)
            try:
                found = piece(await self._whole(can.endpoint, asked(can, prompt, Settings(max_new_tokens=1))))
            except _Refused as error:
                refused = error
                continue
            return Can(model, chat, logprobs and any(found.tops), plain, found.prompt_tokens)
        raise refused or ModelError(f"{self._server.place} answers nothing.")

    async def answer(
        self, can: Can, prompt: Prompt, settings: Settings, tell: Callable[[Arrived], object]
    ) -> str | None:
        """Tell each piece when it comes, before them an empty one when it is asked. Gives why the answer ended.

        Raises QuantlabError.
        """
        ended, count = None, 0
        tell(Arrived(Piece(), time.perf_counter()))
        body = asked(can, prompt, settings) | {"stream": True}
        async with self._asked("POST", can.endpoint, body) as response:
            async for it in self._pieces(response):
                tell(Arrived(it, time.perf_counter()))
                ended = it.ended or ended
                count += bool(it.text)
                if count > 2 * settings.max_new_tokens + 16:
                    raise ModelError(f"{self._server.place} goes on after {settings.max_new_tokens} tokens.")
        return ended

    async def _pieces(self, response: httpx.Response) -> AsyncIterator[Piece]:
        """Those of a stream; the only one of an answer that came whole, for some servers do not stream."""
        if "json" in response.headers.get("content-type", ""):
            yield piece(parsed(await self._body(response)))
            return
        async for it in pieces(response.aiter_bytes()):
            yield it

    async def _model(self) -> str:
        """The name of the model that is meant. Raises BadInput where it is not served, or not clear which one is."""
        listed = await self._whole("models")
        rows = listed.get("data")
        names = [it["id"] for it in rows if isinstance(it, Mapping) and isinstance(it.get("id"), str)] if isinstance(
            rows, list
        ) else []  # fmt: skip
        wanted = self._server.model
        if wanted is not None:
            if names and wanted not in names:
                raise unknown(f"model at {self._server.place}:", wanted, [it[:100] for it in names[:50]])
            return wanted
        if len(names) != 1:
            some = ", ".join(it[:100] for it in names[:20]) or "no model"
            raise BadInput(f"{self._server.place} serves {some}.", f"Name one: {self._server.address}#MODEL.")
        return names[0]

    async def _whole(self, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        async with self._asked("POST" if body else "GET", path, body) as response:
            return parsed(await self._body(response))

    async def _body(self, response: httpx.Response) -> bytes:
        held = bytearray()
        async for chunk in response.aiter_bytes():
            held += chunk
            if len(held) > LONGEST_LINE:
                raise ModelError("The server's answer has no end.", "Look at what is served there.")
        return bytes(held)

    @asynccontextmanager
    async def _asked(self, method: str, path: str, body: Mapping[str, Any] | None) -> AsyncIterator[httpx.Response]:
        """An answer whose status is good. Whatever goes wrong on the way is told in words."""
        place, url = self._server.place, f"{self._server.address}/{path}"
        try:
            async with self._http.stream(method, url, json=body) as response:
                if response.status_code != 200:
                    raise self._refusal(response, await self._body(response))
                yield response
        except httpx.ConnectError:
            raise Unavailable(f"Nothing answers at {place}.", "Start the server, or mend the address.") from None
        except httpx.TimeoutException:
            raise Unavailable(
                f"{place} said nothing for {self._silence_s:g} s.",
                "Look at its log; QUANTLAB_SERVED_SECONDS sets how long it is waited for.",
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise ModelError(
                f"{place} broke off ({type(error).__name__}).", "Look at the server's log, and try again."
            ) from None

    def _refusal(self, response: httpx.Response, body: bytes) -> QuantlabError:
        status, place = response.status_code, self._server.place
        if response.is_redirect:
            there = response.headers.get("location", "")[:200]
            return ModelError(f"{place} leads elsewhere, to {there!r}.", "Give that address, if you trust it.")
        if status in (401, 403):
            return Unavailable(f"{place} wants a key ({status}).", "Set QUANTLAB_OPENAI_KEY to it.")
        if response.request.method == "GET" and status == 404:
            return ModelError(
                f"There is no such API at {self._server.address} (404).", "Its address mostly ends in /v1."
            )
        try:
            said = error_text(parsed(body).get("detail") or "no reason given")
        except ModelError as error:
            said = error.what if body.lstrip()[:1] == b"{" else not_ours(body).what
        refused = _Refused(f"{place} refuses ({status}). {said}", "Look at the server's log.")
        refused.absent = status in (404, 405, 501)
        return refused


class _Refused(ModelError):
    """A request that this server does not take; another one it may. `absent`: there is no such endpoint."""

    absent = False


def asked(can: Can, prompt: Prompt, settings: Settings) -> dict[str, Any]:
    """What is sent. Greedy is temperature 0 without any penalty: some servers have one for words that come again, which
    llama.cpp and vLLM know by two names."""
    how: dict[str, Any] = (
        {"temperature": settings.temperature, "top_p": settings.top_p, "seed": settings.seed}
        if settings.sample
        else {"temperature": 0}
    )
    if not can.plain:
        how |= {"repeat_penalty": 1.0, "repetition_penalty": 1.0}
        how |= {"top_k": settings.top_k} if settings.sample else {}
    body = {"model": can.model, "max_tokens": settings.max_new_tokens, **how}
    if can.chat:
        told = {"logprobs": True, "top_logprobs": TOP} if can.logprobs else {}
        return {**body, "messages": [{"role": "user", "content": prompt.typed}], **told}
    return {**body, "prompt": prompt.templated, **({"logprobs": TOP} if can.logprobs else {})}
