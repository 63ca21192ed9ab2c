"""The events of a comparison, in the order in which `compare()` yields them. Every consumer sees the same ones."""

from dataclasses import dataclass

from quantlab.records import Comparison, Load, Run


@dataclass(frozen=True)
class Started:
    """The prompt is read and the columns are known, in the order in which they will run (the reference first)."""

    precisions: tuple[str, ...]
    reference: str
    prompt_token_ids: tuple[int, ...]
    prompt_tokens: tuple[str, ...]


@dataclass(frozen=True)
class Loading:
    """A variant is being loaded: `done` of `total` tensors (total 0 while unknown)."""

    precision: str
    done: int
    total: int
    what: str


@dataclass(frozen=True)
class Loaded:
    precision: str
    load: Load


@dataclass(frozen=True)
class Token:
    """A new token. `text` is the whole answer so far, `index` counts the new tokens from 0."""

    precision: str
    index: int
    token_id: int
    text: str


@dataclass(frozen=True)
class Finished:
    """A variant's run is complete, has failed or was stopped."""

    run: Run


@dataclass(frozen=True)
class Done:
    comparison: Comparison


Event = Started | Loading | Loaded | Token | Finished | Done
