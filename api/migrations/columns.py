"""Column types as migrations write them: what they are in the database, apart from the models."""

from typing import Final

import sqlalchemy as sa

INTEGER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT: Final = sa.DateTime(timezone=True)


def one_of(name: str, *values: str) -> sa.Enum:
    """Return a text column of the values, held by a CHECK whose name ends in `name`."""
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)
