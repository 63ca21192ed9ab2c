"""Why large models break at 8 bits: a few channels of the activations are far larger than all others.

The input channels of a layer can be made larger and its weights' columns smaller by the same factors, and the product
stays the same: the trick of SmoothQuant (Xiao et al. 2022, arXiv:2211.10438), either way round. So the spread of the
channels can be chosen, and what 8-bit products lose by it be measured on real activations.
"""

from dataclasses import replace
from functools import lru_cache

import torch

from quantlab import models
from quantlab.errors import BadInput
from quantlab.methods import precision
from quantlab.methods.bitsandbytes import BitsAndBytesPrecision
from quantlab.methods.rounded import Matrix
from quantlab.records import Model, units
from quantlab.records.inside import InsideRequest, Loss, Outliers, Product
from quantlab.settings import AppSettings
from quantlab.teach.inside import activations, grids, looking, weights
from quantlab.teach.inside.activations import Read

#: Spreads that the curve goes over, and the largest that may be asked for.
SIGMAS = tuple(step / 4 for step in range(11))
MOST_SIGMA = 3.0
#: The corner of the product that is shown step by step.
CORNER = 4
#: The type that the corner's product with dequantized weights is computed in.
DTYPE = torch.bfloat16


def outliers(request: InsideRequest, app: AppSettings, sigma: float | None = None) -> Outliers:
    """The channels that enter the layer of the request, and the losses at the spread `sigma` (None: the model's own).

    Raises BadInput for typed numbers, which no activations meet, for a spread out of range, and what a load raises.
    """
    if request.values.strip():
        raise BadInput("Typed numbers meet no activations.", "Choose a layer of a model.")
    if sigma is not None and not 0 <= sigma <= MOST_SIGMA:
        raise BadInput(f"The spread cannot be {sigma:g}.", f"Choose 0 to {MOST_SIGMA:g}.")
    model = weights.resolved(request.model, app)
    name = weights.weight_name(model, request.layer)
    weight, read = weights.weight(model, name), activations.entering(model, name, app)
    given, own = read.entering, spread(read.entering)
    asked = own if sigma is None else sigma
    scaled, thinned = moved(given, weight, asked)
    threshold = int8_threshold()
    over = scaled.abs().amax(0) >= threshold
    return Outliers(
        f"{weights.shown_name(model)}, {name}",
        read.text,
        len(given),
        own,
        tuple(scaled.abs().amax(0).tolist()),
        tuple(thinned.abs().amax(0).tolist()),
        tuple(torch.nonzero(over).flatten().tolist()),
        threshold,
        losses(scaled, thinned, asked),
        _curve(model.identity, model, name, read),
        _product(request, model, Matrix(weight, slice(None), name, models.checkpoint(model)), given),
    )


def told(found: Outliers) -> str:
    """One sentence on what is seen."""
    most, middle = max(found.activations), sorted(found.activations)[len(found.activations) // 2]
    times = f", {most / middle:.0f} times that of the middle channel" if middle > 0 else ""
    over = len(found.over)
    every = f"{len(found.activations):,} channels reach {found.threshold:g} somewhere in {found.tokens:,} tokens"
    loss = found.loss
    return (
        f"The largest activation is {units.number(most)}{times}; {over:,} of {every}. In 8 bits the product is off by "
        f"{units.percent(loss.tensor)} with one scale for all, by {units.percent(loss.rows)} with one for each token "
        f"and output, and by {units.percent(loss.kept)} with those channels in 16 bits."
    )


def int8_threshold() -> float:
    """Where LLM.int8 takes a channel for an outlier (Dettmers et al. 2022, arXiv:2208.07339, 3.2)."""
    found = precision("int8")
    assert isinstance(found, BitsAndBytesPrecision)
    return found.threshold


def spread(given: torch.Tensor) -> float:
    """The standard deviation of the logarithms of the channels' largest magnitudes; channels of zeros left out."""
    return float(_logs(given)[1].std(correction=0))


def _logs(given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which channels of `[tokens, channels]` are not zero, and the logarithms of their largest magnitudes."""
    most = given.double().abs().amax(0)
    return most > 0, most[most > 0].log()


def moved(given: torch.Tensor, weight: torch.Tensor, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations `[tokens, inputs]` and weight `[outputs, inputs]` of the same product, the channels' spread `sigma`.

    Channel j is multiplied, and its column divided, by exp((sigma / own - 1) (log m_j - mean log m)), where m_j is its
    largest magnitude and `own` the spread that there is.
    """
    alive, logs = _logs(given)
    own = float(logs.std(correction=0))
    factors = torch.ones(given.shape[1], dtype=torch.float64)
    if own > 0:
        factors[alive] = ((sigma / own - 1) * (logs - logs.mean())).exp()
    return (given * factors).float(), (weight / factors).float()


def losses(given: torch.Tensor, weight: torch.Tensor, sigma: float) -> Loss:
    """Relative errors |ours - exact| / |exact| of three ways to multiply in 8 bits, absmax scales throughout."""
    exact = given.double() @ weight.double().T
    size = exact.norm().clamp(min=1e-300)
    rounded = _rounded(weight, 1)
    beyond = given.abs() >= int8_threshold()
    outlying = beyond.any(0)
    # As bitsandbytes does it: a token's scale leaves out what is beyond, and then the whole channel goes.
    inlying = torch.where(outlying, 0.0, _rounded(torch.where(beyond, 0.0, given), 1))
    wide = given[:, outlying].half().double() @ rounded[:, outlying].T

    def error(ours: torch.Tensor) -> float:
        return float((ours - exact).norm() / size)

    return Loss(
        sigma,
        error(_rounded(given, None) @ _rounded(weight, None).T),
        error(_rounded(given, 1) @ rounded.T),
        error(inlying @ rounded.T + wide),
        int(outlying.sum()),
    )


def _rounded(values: torch.Tensor, dim: int | None) -> torch.Tensor:
    """float64, rounded to 8 bits by absmax: over all, or over each row (`dim` 1). What is all zero stays so."""
    wide = values.double()
    most = wide.abs().amax() if dim is None else wide.abs().amax(dim, keepdim=True)
    step = torch.where(most > 0, most / 127, 1.0)
    return (wide / step).round() * step


def _product(request: InsideRequest, model: Model, matrix: Matrix, given: torch.Tensor) -> Product:
    """The corner where the numbers looked at begin, for the last tokens read."""
    row, part = looking.place(request, *matrix.shape)[:2]
    rows, columns = matrix.shape
    row, first = min(row, max(rows - CORNER, 0)), min(part.start, max(columns - CORNER, 0))
    corner, channels = replace(matrix, rows=slice(row, row + CORNER)), slice(first, first + CORNER)
    found = looking.rounded(grids.chosen(request.precision), corner, model)
    tokens, weight, kept = given[-CORNER:, channels], corner.asked[:, channels], found.values[:, channels]
    computed = tokens.to(DTYPE) @ kept.to(DTYPE).T
    exact = tokens.double() @ weight.double().T
    return Product(
        row,
        first,
        _plain(tokens),
        _plain(weight),
        _plain(found.codes[:, channels]),
        _plain(kept),
        _plain(exact),
        _plain(computed.float()),
        str(DTYPE).removeprefix("torch."),
    )


@lru_cache(maxsize=8)
def _curve(_identity: str, model: Model, name: str, read: Read) -> tuple[Loss, ...]:
    weight = weights.weight(model, name)
    return tuple(losses(*moved(read.entering, weight, each), each) for each in SIGMAS)


def _plain(values: torch.Tensor) -> tuple[tuple, ...]:
    return tuple(map(tuple, values.tolist()))
