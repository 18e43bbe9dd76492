"""The page of all settings; as a program, prints it for `docs/settings.md`."""

import sys

from commons.settings import Settings

HEADING = """\
# Settings

Every setting is an environment variable, read once at the start; an unknown one is refused where
it is passed in code. The defaults run LocalPay embedded, with nothing else to install.
This page is made from `commons/settings.py` by `python tests/settings_page.py`.

| variable | default | meaning |
|---|---|---|
"""


def settings_page() -> str:
    """Markdown with one row for each field of Settings."""
    prefix = str(Settings.model_config["env_prefix"])
    rows = [
        f"| `{prefix}{name.upper()}` | {_default(field.default)} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    ]
    return HEADING + "".join(rows)


def _default(value: object) -> str:
    return "(empty)" if str(value) == "" else f"`{str(value).lower() if value is False else value}`"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
