"""WikiText-2's test set, the text that this field's papers measure perplexity on, from the Hugging Face Hub.

Merity et al. 2016, Pointer Sentinel Mixture Models (arXiv:1609.07843); articles of Wikipedia, under CC BY-SA. One file
of one commit, so that everybody reads the same; the Hub's library keeps it in its own cache.
"""

from functools import partial
from pathlib import Path

from quantlab.errors import Unavailable
from quantlab.models.hub import reachable

REPO, COMMIT = "Salesforce/wikitext", "b08601e04326c79dfdd32d625aee71d232d685c3"
FILE = "wikitext-2-raw-v1/test-00000-of-00001.parquet"
#: Between two rows. GPTQ (Frantar et al. 2022) and those who compare with it join them so; the file that
#: `llama-perplexity` is given has nothing there.
BETWEEN = "\n\n"
#: How long the Hub may take to answer at all, in seconds.
PATIENCE_S = 5
_ADVICE = "Name another text: demo, english, or a file of your own."


def content() -> str:
    """All rows of the test set, joined. Raises Unavailable where it cannot be fetched or read."""
    file = _file()
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise Unavailable(
            "The text wikitext2 is a Parquet file, and the package pyarrow is not installed.",
            f"pip install pyarrow. {_ADVICE}",
        ) from error
    try:
        return BETWEEN.join(parquet.read_table(file, columns=["text"])["text"].to_pylist())
    except (ArrowException, OSError, KeyError, TypeError) as error:
        raise Unavailable(f"The text wikitext2 is damaged ({file}).", f"Delete that file. {_ADVICE}") from error


def _file() -> Path:
    """Where it lies in the Hub's cache; fetched where it does not."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError

    wanted = partial(hf_hub_download, REPO, FILE, repo_type="dataset", revision=COMMIT)
    try:
        return Path(wanted(local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    if constants.HF_HUB_OFFLINE:
        raise _lacking("HF_HUB_OFFLINE forbids to fetch it")
    # The library asks for half a minute, and says so on the terminal, before it gives up.
    if not reachable(PATIENCE_S):
        raise _lacking(f"the Hub ({constants.ENDPOINT}) cannot be reached")
    try:
        return Path(wanted(tqdm_class=_unseen()))
    except HfHubHTTPError as error:
        raise _lacking(f"the Hub ({constants.ENDPOINT}) answers with HTTP {error.response.status_code}") from error
    except HTTPError as error:
        raise _lacking(f"the Hub ({constants.ENDPOINT}) broke off") from error
    except OSError as error:  # the disk, or what the library makes of no answer
        why = error.strerror or f"the Hub ({constants.ENDPOINT}) does not answer"
        raise _lacking(f"it cannot be fetched: {why}") from error


def _lacking(why: str) -> Unavailable:
    return Unavailable(f"The text wikitext2 is not in the Hub's cache, and {why}.", _ADVICE)


def _unseen() -> type:
    """A bar that is not drawn: it is less than a megabyte, and would come between our own lines."""
    from tqdm import tqdm

    class Unseen(tqdm):
        def __init__(self, *args: object, **kwargs: object) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **kwargs | {"disable": True})

    return Unseen
