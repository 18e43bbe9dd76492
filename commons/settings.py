"""The settings, read once from `LOCALPAY_…` variables and passed to whoever needs them."""

from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_SAME_DATABASE: Final = "postgresql:"


class Settings(BaseSettings):
    """Everything an operator can set; the defaults run LocalPay embedded, on this machine."""

    model_config = SettingsConfigDict(env_prefix="LOCALPAY_", frozen=True, extra="forbid")

    base_url: str = Field(
        "http://127.0.0.1:8080",
        description="Public address of this service, without a path; signatures cover it.",
    )
    data_dir: Path = Field(
        Path("data"), description="Folder of the embedded database, the index and our keys."
    )
    database_url: str = Field(
        "",
        description="SQLAlchemy URL; empty for SQLite in the data folder, "
        "else postgresql+psycopg2://…",
    )
    index_url: str = Field(
        "",
        description="Where the search index is: empty for the data folder, postgresql: for the "
        "database itself, else postgresql+psycopg2://… or the http(s)://… of a Meilisearch server.",
    )
    index_key: SecretStr = Field(
        SecretStr(""),
        description="Key for the Meilisearch server of index_url: one that may search, and "
        "write and swap indexes; empty where it asks for none.",
    )
    contact: str = Field(
        "", description="Mail or web address of the operator, told to the hubs we fetch from."
    )
    allow_loopback: bool = Field(
        default=False,
        description="Development only: let the crawler reach http and this machine's own "
        "addresses. Warns at start.",
    )
    allow_loss: bool = Field(
        default=False,
        description="Tests only: serve on a PostgreSQL that runs with fsync, full_page_writes or "
        "synchronous_commit off and may lose payments that it has confirmed. Warns at start.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR."
    )
    log_json: bool = Field(default=False, description="Log JSON lines instead of text.")

    @field_validator("base_url")
    @classmethod
    def _base_url_is_an_origin(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.netloc or "@" in parts.netloc:
            msg = "must be http(s)://host[:port]"
            raise ValueError(msg)
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            msg = "must have no path, query or fragment"
            raise ValueError(msg)
        return f"{parts.scheme}://{parts.netloc}"

    @field_validator("database_url")
    @classmethod
    def _database_url_is_known(cls, value: str) -> str:
        if value and not value.startswith(("sqlite:///", "postgresql+psycopg2://")):
            msg = "must begin with postgresql+psycopg2:// or sqlite:///"
            raise ValueError(msg)
        return value

    @field_validator("index_url")
    @classmethod
    def _index_url_is_known(cls, value: str) -> str:
        known = ("postgresql+psycopg2://", "http://", "https://")
        if value not in {_SAME_DATABASE, ""} and not value.startswith(known):
            msg = "must be postgresql: or begin with postgresql+psycopg2://, http:// or https://"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _index_has_its_database(self) -> Self:
        if self.index_url == _SAME_DATABASE and not self.database_url.startswith("postgresql"):
            msg = "index_url postgresql: needs a database_url of postgresql+psycopg2://"
            raise ValueError(msg)
        return self

    @property
    def effective_index_url(self) -> str:
        """The index's URL, that of the database where this is to hold it; empty for embedded."""
        return self.database_url if self.index_url == _SAME_DATABASE else self.index_url

    @property
    def effective_database_url(self) -> str:
        """The database's URL with the embedded default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir / 'localpay.sqlite'}"
