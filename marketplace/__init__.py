"""The marketplace: listings, consent, places, means of payment, and the search of them."""
