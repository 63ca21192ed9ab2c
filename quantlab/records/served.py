"""A column that a server answers: what is known of it, and what no server tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from quantlab.records import units
from quantlab.records.ranges import Amount

#: Why a served column lacks what the others have, by the name of the figure in docs/measurement.md.
NOT_TOLD: Mapping[str, str] = {
    "memory": "a server does not tell what its weights and its KV cache take",
    "kld": "a server does not tell the probabilities of all tokens",
}


@dataclass(frozen=True)
class Served:
    """The server of a run. `model` is the name that it knows the model by, `endpoint` what was asked of it.

    `top_k` is of how many tokens it tells the log-probabilities at each position, None where it tells none.
    `top_k_kld` is the divergence from the reference in nats, at each position that both reached by the same tokens, of
    two coarse distributions: those tokens, and the rest as one. It is at most the full KLD, and another figure than it.
    `prompt_tokens` is as how many tokens the server read the prompt, None where it does not say. `missing` says of each
    figure that is not there why; `notes` is what else to know.
    """

    address: str
    model: str
    endpoint: str
    top_k: int | None = None
    top_k_kld: tuple[Amount, ...] = ()
    prompt_tokens: int | None = None
    missing: Mapping[str, str] = field(default_factory=lambda: dict(NOT_TOLD))
    notes: tuple[str, ...] = ()

    @property
    def distance(self) -> float | None:
        """The mean of `top_k_kld`."""
        return sum(self.top_k_kld) / len(self.top_k_kld) if self.top_k_kld else None

    @property
    def said(self) -> tuple[str, ...]:
        """All of it in sentences."""
        asked = f"{self.model!r} answered at {self.address} ({self.endpoint}): its times are those of this client"
        found = [f"{asked}, the network and what else the server does included."]
        found += [f"No figure of {name.replace('kld', 'full KLD')}: {why}." for name, why in self.missing.items()]
        if self.distance is not None:
            count = len(self.top_k_kld)
            found.append(
                f"Top-{self.top_k} divergence {units.nats(self.distance)} from the reference, over {count} "
                f"position{'' if count == 1 else 's'} that both reached by the same tokens: at most the full KLD, and "
                "not to be set beside the KLD of other columns."
            )
        return (*found, *self.notes)
