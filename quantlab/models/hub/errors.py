"""What the Hub and the way to it answer, in words that a user can act on."""

from collections.abc import Iterator
from contextlib import contextmanager

from quantlab.errors import BadInput, ModelError, QuantlabError
from quantlab.models.source import SMOLLM2, offline_names
from quantlab.runtime.disk import NO_ROOM


class OutOfReach(ModelError):
    """The Hub was not asked, or gave no answer: whether it has the model is not known."""


#: A connection that was there and ended. The library went from httpx to httpx2; their errors have the same names.
_BROKEN_OFF = "ReadError", "RemoteProtocolError"


def worth_asking_again(error: BaseException) -> bool:
    """Whether a connection ended before the answer began, or was reset: kept ones are closed by servers at any time.

    An answer that was cut the library has taken up itself, several times.
    """
    kind = type(error).__name__
    return kind == "ReadError" or (kind == "RemoteProtocolError" and "without sending a response" in str(error))


@contextmanager
def translate_errors(repo: str, revision: str | None) -> Iterator[None]:
    """Turn the errors of huggingface_hub, of HTTP and of the disk into ModelError; others pass."""
    try:
        yield
    except QuantlabError:
        raise
    except Exception as error:
        if (said := _in_words(_cause(error), repo, revision)) is None:
            raise
        raise said from error


def _cause(error: BaseException) -> BaseException:
    """What was the matter: the library puts "not in the cache either" before it."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _in_words(error: BaseException, repo: str, revision: str | None) -> QuantlabError | None:
    from huggingface_hub import errors as hub

    match error:
        case hub.GatedRepoError():
            return _gated(repo)
        case hub.RepositoryNotFoundError():
            return ModelError(
                f"The Hub has no model {repo!r}, or it is private.",
                f"Check the name. A private one needs a token in HF_TOKEN. {_without_network()}",
            )
        case hub.RevisionNotFoundError():
            advice = "Give a branch, a tag or a commit of that repository."
            return ModelError(f"{repo!r} has no revision {revision!r}.", advice)
        case hub.HFValidationError():
            return BadInput(f"{repo!r} cannot be the name of a model on the Hub.", "It has the form owner/name.")
        case ValueError() if "hf_xet" in str(error):
            advice = "It comes through Xet only: pip install hf_xet, and unset HF_HUB_DISABLE_XET."
            return ModelError(f"A file of {repo!r} is too large for plain HTTP.", advice)
        case hub.RemoteEntryNotFoundError():
            return ModelError(f"A file of {repo!r} is not where the Hub lists it.", "Try again later.")
        case hub.SafetensorsParsingError():
            return ModelError(f"The weights of {repo!r} on the Hub are damaged.", "Choose another model.")
        case hub.HfHubHTTPError():
            return _answered(repo, error.response.status_code)
        case hub.FileMetadataError():
            return ModelError(f"{_where()} does not answer as a Hub does.", "Check HF_ENDPOINT and the proxy.")
        case hub.HTTPError() | hub.OfflineModeIsEnabled():
            return _out_of_reach(error)
        case OSError():
            return _disk(error, repo)
    return None


def _disk(error: OSError, repo: str) -> ModelError:
    if error.errno in NO_ROOM:
        return ModelError(
            f"The disk filled up while {repo!r} was downloaded.",
            "Make room, or set HF_HOME to a folder on a larger disk; files that are whole stay.",
        )
    if error.errno is None:  # the library's, where fewer bytes came than were told
        return ModelError(f"A file of {repo!r} did not come whole.", "Try again.")
    return ModelError(f"The cache of the Hub cannot be written ({error}).", "Set HF_HOME to a folder of yours.")


def _out_of_reach(error: BaseException) -> OutOfReach:
    """No answer from the Hub: switched off, no network, or too slow."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return OutOfReach("The model is not in the cache, and HF_HUB_OFFLINE forbids to fetch it.", _without_network())
    if "Timeout" in type(error).__name__:
        return OutOfReach(f"{_where()} did not answer in time.", f"Try again. {_without_network()}")
    if type(error).__name__ in _BROKEN_OFF:
        return OutOfReach(f"{_where()} broke off in the middle.", "Check the network and try again.")
    return OutOfReach(f"{_where()} is out of reach.", f"Check the network. {_without_network()}")


def _where() -> str:
    from huggingface_hub import constants

    return f"The Hub ({constants.ENDPOINT})"


def _gated(repo: str) -> ModelError:
    from huggingface_hub import constants, get_token

    ask = f"Ask for access at {constants.ENDPOINT}/{repo}"
    if get_token():
        return ModelError(
            f"{repo!r} is gated, and your token (HF_TOKEN) has no access to it.", f"{ask}, then try again."
        )
    return ModelError(
        f"{repo!r} is gated: its owners ask for an agreement.", f"{ask}, then set HF_TOKEN to your token."
    )


def _answered(repo: str, status: int) -> ModelError:
    if status in (401, 403):
        return ModelError(f"The Hub refuses {repo!r} (HTTP {status}).", "Check the token in HF_TOKEN, or unset it.")
    if status == 429:
        return ModelError("The Hub asks for fewer requests (HTTP 429).", "Wait some minutes, or set HF_TOKEN.")
    return ModelError(f"The Hub failed with HTTP {status}.", f"Try again later. {_without_network()}")


def _without_network() -> str:
    others = ", ".join(offline_names())
    return f"Without the Hub these work: folders, .gguf files, {SMOLLM2} where its package is installed, {others}."
