"""What the Hub and the way to it answer, in words that a user can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from quantlab.errors import BadInput, ModelError
from quantlab.models.source import SMOLLM2, offline_names


@contextmanager
def told(repo: str, revision: str | None) -> Iterator[None]:
    """Turn the errors of huggingface_hub, of HTTP and of the disk into ModelError; others pass."""
    from huggingface_hub import errors as hub

    try:
        yield
    except hub.GatedRepoError as error:
        raise _gated(repo) from error
    except hub.RepositoryNotFoundError as error:
        raise ModelError(
            f"The Hub has no model {repo!r}, or it is private.",
            f"Check the name. A private one needs a token in HF_TOKEN. {_without_network()}",
        ) from error
    except hub.RevisionNotFoundError as error:
        raise ModelError(
            f"{repo!r} has no revision {revision!r}.", "Give a branch, a tag or a commit of that repository."
        ) from error
    except hub.HFValidationError as error:
        raise BadInput(f"{repo!r} cannot be the name of a model on the Hub.", "It has the form owner/name.") from error
    except hub.RemoteEntryNotFoundError as error:
        raise ModelError(f"A file of {repo!r} is not where the Hub lists it.", "Try again later.") from error
    except hub.SafetensorsParsingError as error:
        raise ModelError(f"The weights of {repo!r} on the Hub are damaged.", "Choose another model.") from error
    except hub.HfHubHTTPError as error:
        raise _answered(repo, error.response.status_code) from error
    except (hub.HTTPError, hub.OfflineModeIsEnabled) as error:
        raise out_of_reach(error) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelError(
                f"The disk filled up while {repo!r} was downloaded.",
                "Make room, or set HF_HOME to a folder on a larger disk; the download goes on where it ended.",
            ) from error
        raise ModelError(
            f"The cache of the Hub cannot be written ({error}).", "Set HF_HOME to a folder of yours."
        ) from error


def out_of_reach(error: Exception) -> ModelError:
    """No answer from the Hub: switched off, no network, or too slow."""
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return ModelError("The model is not in the cache, and HF_HUB_OFFLINE forbids to fetch it.", _without_network())
    # The library went from httpx to httpx2; the names of their errors are the same.
    if "Timeout" in type(error).__name__:
        return ModelError(f"The Hub ({constants.ENDPOINT}) did not answer in time.", f"Try again. {_without_network()}")
    return ModelError(f"The Hub ({constants.ENDPOINT}) is out of reach.", f"Check the network. {_without_network()}")


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
    return f"Without the Hub these work: {SMOLLM2} where its package is installed, {others}, and local folders."
