"""The crawler: what hubs say in, listings out; our own actor, follows and deliveries."""
