"""What `openai:http://HOST:PORT/v1#MODEL` means."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from quantlab.errors import BadInput, shown
from quantlab.records import Precision
from quantlab.runtime.kv_cache import MARK

PREFIX = "openai:"
METHOD = "served"
_EXPECTED = "Write openai:http://HOST:PORT/v1#MODEL; without #MODEL it is the only one that is served there."
#: The longest address that is read.
_LONGEST = 500


@dataclass(frozen=True)
class Server:
    """Where a model is served: the address of the API, without a slash at its end, and the model's name there.

    `model` None is the only one that it serves.
    """

    address: str
    model: str | None

    @property
    def place(self) -> str:
        """Host and port."""
        return urlsplit(self.address).netloc

    @property
    def label(self) -> str:
        """Short enough for a column's head: the last part of the model's name, and where it is served."""
        name = (self.model or METHOD).replace("\\", "/").rstrip("/").rpartition("/")[2].removesuffix(".gguf")
        return f"{name or METHOD}@{self.place}"


def is_served(name: str) -> bool:
    """Whether a name among precisions is meant as a served model."""
    return name.strip().lower().startswith(PREFIX)


def read(spec: str) -> Server:
    """Raises BadInput for what is no address of a server."""
    typed = spec.strip()[len(PREFIX) :]
    address, _, model = typed.partition("#")
    if len(typed) > _LONGEST or any(ord(it) < 33 for it in address):
        raise BadInput(f"{shown(spec)} is no address of a server.", _EXPECTED)
    if MARK in typed:
        raise BadInput(f"{shown(spec)} has {MARK}: how a server keeps keys and values is its own affair.", _EXPECTED)
    try:
        parts = urlsplit(address)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise BadInput(f"{shown(spec)} is no address of a server.", _EXPECTED)
    if parts.username is not None or parts.query:
        what = f"The address of {parts.hostname} holds more than a place."
        raise BadInput(what, f"Give a key in QUANTLAB_OPENAI_KEY. {_EXPECTED}")
    return Server(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", unquote(model).strip() or None)


def precision(server: Server, name: str) -> Precision:
    """The precision, called `name`, as which it enters a comparison. How many bits it has nobody tells."""
    return Precision(name, METHOD, 0.0, "answers from another program")
