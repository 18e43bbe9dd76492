"""Clearing between groups: accounts, rates, transfers, the ledger, netting and rounds."""
