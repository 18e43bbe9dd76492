"""The service's seal, under which statements and published roots leave it."""

from clearing.sealing import Seal
from commons.keys import OwnKeys
from commons.settings import Settings
from crawler.actor import service_key_id


def seal_of(settings: Settings, keys: OwnKeys) -> Seal:
    """Return the seal of a service; its key stands in our actor's document."""
    return Seal(settings.base_url, service_key_id(settings), keys.service)
