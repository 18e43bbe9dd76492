"""Interest in a listing: passed on to its author and answered, without an account with us."""
