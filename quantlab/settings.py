"""What the environment says, typed. Every setting is read here and nowhere else."""

import os
from functools import cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from quantlab.errors import BadInput

_HERE = Path(__file__).resolve().parent
#: Inside the package in a wheel, beside it in a checkout.
_DATA = _HERE if (_HERE / "assets").is_dir() else _HERE.parent
ASSETS, DOCS = _DATA / "assets", _DATA / "docs"
PUBLIC_MODELS = ("smollm2", "demo", "shape:bench-100m", "shape:SmolLM2-135M")


def _cache_folder() -> Path:
    """Where the system wants caches, by the XDG base directory specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quantlab" / "checkpoints"


def _data_file(name: str) -> Path:
    """Where the system wants what a program keeps, by the same specification."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "quantlab" / name


class AppSettings(BaseSettings):
    """Settings of the app and the command line; `QUANTLAB_<NAME>` in the environment changes one.

    `public` is on by itself on Hugging Face Spaces. In public only `allowed_models` can be chosen (Hub ids with a
    40-digit revision), the limits hold on the server whatever a browser sends, and there is no history: `history_file`
    is None, because one visitor must not see another's prompts. Classes there are in public too: of a visitor they keep
    choices and numbers, and nothing that says who it was.
    """

    model_config = SettingsConfigDict(env_prefix="QUANTLAB_", extra="ignore", populate_by_name=True)

    public: bool = Field(default_factory=lambda: bool(os.environ.get("SPACE_ID")))
    space: str = Field(default_factory=lambda: os.environ.get("SPACE_ID", ""), description="the Space that this is")
    # As the package `spaces` reads it.
    zero_gpu: bool = Field(default_factory=lambda: os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true"))
    # Spaces set the address on which their proxy looks for the app.
    host: str = Field(default_factory=lambda: os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    port: int = Field(default_factory=lambda: int(os.environ.get("PORT", "7860")), ge=0, le=65_535)
    device: str | None = None
    memory_budget: int | None = Field(
        default=None, ge=0, description="bytes of the variant cache; None: 80 % of what is free"
    )
    cache_folder: Path = Field(default_factory=_cache_folder, description="where quantized checkpoints are kept")
    cache_bytes: int = Field(
        default=20 * 10**9, ge=0, description="the most that quantized checkpoints may take on disk"
    )
    adapters_folder: Path = Field(
        default_factory=lambda: _data_file("adapters"), description="where adapters are kept that have a name alone"
    )
    history_file: Path | None = Field(
        default_factory=lambda: _data_file("history.sqlite"), description="empty: nothing is kept"
    )
    history_bytes: int = Field(
        default=10**9, ge=0, description="the most that the history may take; the oldest entries go"
    )
    classroom_file: Path | None = Field(
        default_factory=lambda: _data_file("classroom.sqlite"), description="empty: there are no classes"
    )
    quiz_folder: Path | None = Field(
        default_factory=lambda: _data_file("quiz"), description="exports that are questions too; empty: none"
    )
    class_codes: int = Field(default=500, ge=1, description="the most classes that are kept; the oldest go")
    class_visitors: int = Field(default=200, ge=1, description="the most visitors of one class")
    classroom_bytes: int = Field(default=50 * 10**6, ge=10**5, description="the most that all classes may take on disk")
    allowed_models: Annotated[tuple[str, ...], NoDecode] = PUBLIC_MODELS
    max_columns: int = Field(default=6, ge=1)
    max_new_tokens: int = Field(default=512, ge=1, description="the most new tokens a visitor may ask for")
    max_prompt_tokens: int = Field(default=1_024, ge=1, description="the longest prompt in public, in tokens")
    max_seconds: float = Field(default=120.0, gt=0, description="wall-clock limit of one comparison in public")
    public_finetune: bool = Field(default=False, description="whether visitors of a public page may fine-tune")
    finetune_seconds: float = Field(default=600.0, gt=0, description="wall-clock limit of one training in public")
    queue_size: int = Field(
        default=128, ge=1, description="runs that wait at most; the next one is told that it is full"
    )
    queue_each: int = Field(default=3, ge=1, description="the most of them of one visitor")
    replay_bytes: int = Field(
        default=50 * 10**6, ge=0, description="the most that finished comparisons take in memory, packed"
    )
    # Hosting: who comes in, how often, and what is told of it.
    password: SecretStr | None = Field(default=None, description="the class's password; empty: everybody comes in")
    # A Space whose front matter says hf_oauth has a client's id.
    sign_in: bool = Field(
        default_factory=lambda: bool(os.environ.get("SPACE_ID") and os.environ.get("OAUTH_CLIENT_ID")),
        description="visitors of a Space sign in with Hugging Face",
    )
    organisation: str = Field(default="", description="of those, only members of this organisation at Hugging Face")
    rate_limit: str = Field(default="", description='runs of one visitor, as "10/minute"; empty: no limit')
    access_log: bool | None = Field(default=None, description="a line for each request; None: in public")
    metrics: bool = Field(default=True, description="whether /metrics tells counts to Prometheus")
    shutdown_seconds: float = Field(default=30.0, ge=0, description="how long SIGTERM lets running answers end")
    # Programs, and models that other programs serve.
    openai_key: SecretStr | None = Field(default=None, description="handed to served models that want a key")
    served_seconds: float = Field(default=60.0, gt=0, description="how long a served model may say nothing")
    mcp: bool = Field(default=False, description="whether the endpoints are tools for language models too (MCP)")

    @property
    def signs_in(self) -> bool:
        """Whether visitors sign in with Hugging Face."""
        return self.sign_in or bool(self.organisation)

    @field_validator("allowed_models", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("history_file", "classroom_file", "quiz_folder", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        if isinstance(value, str):
            return Path(value).expanduser() if value.strip() else None
        return value

    @model_validator(mode="after")
    def _no_history_in_public(self) -> Self:
        if self.public:
            self.history_file = None
        return self


@cache
def app_settings() -> AppSettings:
    """The settings of this process. Raises BadInput for a value in the environment that cannot be."""
    try:
        return AppSettings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, it['loc'])) or 'value'}: {it['msg']}" for it in error.errors())
        raise BadInput(
            f"A setting in the environment is wrong ({wrong}).", "See the settings in the README."
        ) from error
    except ValueError as error:
        raise BadInput(f"PORT is no number ({error}).", "Set it to a free port, such as 7861.") from error
