"""Settings, the only package that reads the environment. Each variable is `DRAFTLINE_` followed by a name.

groups.py and limits.py declare the settings, variables.py reads them from the environment and file.py from
draftline.toml, and problems.py describes the invalid ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from . import variables
from .file import DEFAULT_FILE, SettingsFileError, by_group, read_file, reject_password
from .groups import (
    AuthSettings,
    DatabaseSettings,
    LogSettings,
    MaintenanceSettings,
    MetricsSettings,
    ServerSettings,
    SyncSettings,
    TlsSettings,
    TraceSettings,
)
from .limits import LimitSettings
from .variables import PREFIX, RENAMED, SETTINGS, Setting, renamed_settings, unknown_settings

__all__ = [
    "DEFAULT_FILE", "PREFIX", "RENAMED", "SETTINGS", "AuthSettings", "DatabaseSettings", "LimitSettings", "LogSettings",
    "MaintenanceSettings", "MetricsSettings", "ServerSettings", "Setting", "Settings", "SettingsFileError",
    "SyncSettings", "TlsSettings", "TraceSettings", "renamed_settings", "sources_of", "unknown_settings",
]  # fmt: skip


def sources_of(flags: Iterable[str], file: Path | None) -> dict[str, str]:
    """Return the source of each setting that flags, the environment or a file set. Raise SettingsFileError."""
    return {
        **dict.fromkeys(read_file(file) if file is not None else (), f"file {file}"),
        **dict.fromkeys(variables.set_by_environment(), variables.ENVIRONMENT),
        **dict.fromkeys(flags, "flag"),
    }


class Settings(BaseSettings):
    """All settings. Those that are not passed come from the environment, or are the defaults.

    `from_sources` reads a settings file too.
    They may be passed as groups, `server={"port": 0}`, or by the names of their variables in lower case, `port=0`.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    auth: AuthSettings = AuthSettings()
    tls: TlsSettings = TlsSettings()
    limits: LimitSettings = LimitSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    sync_workers: SyncSettings = SyncSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    traces: TraceSettings = TraceSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            InitSettingsSource(settings_cls, variables.grouped(init_settings())),
            InitSettingsSource(settings_cls, variables.from_environment()),
        )

    @classmethod
    def from_sources(cls, flags: Mapping[str, str], file: Path | None) -> tuple[Settings, dict[str, str]]:
        """Return the settings of flags, the environment and a file, and the source of each that is set.

        `flags` are texts by the names of settings; each overrides the environment, which overrides the file.

        Raise SettingsFileError for the file, and ValidationError for invalid values.
        """
        stored = read_file(file) if file is not None else {}
        if url := flags.get("DRAFTLINE_DATABASE_URL"):
            reject_password(url, "--database-url")
        sources = sources_of(flags, file)
        lower = {name: value for name, value in stored.items() if sources[name].startswith("file")}
        return cls(**by_group({**lower, **flags})), sources

    @model_validator(mode="before")
    @classmethod
    def _has_one_name_each(cls, values: Any) -> Any:
        if both := variables.conflicts():
            raise ValueError("; ".join(both))
        return values

    @property
    def is_protected(self) -> bool:
        """True if callers are authenticated and connections are encrypted."""
        return self.auth.is_enabled and self.tls.is_enabled

    def replaced(self, **values: object) -> Settings:
        """Return a copy with other values, which are not validated, by the names of their variables in lower case."""
        groups: dict[str, BaseModel] = {}
        for group, update in variables.grouped(values).items():
            groups[group] = getattr(self, group).model_copy(update=update)
        return self.model_copy(update=groups)
