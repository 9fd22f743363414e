"""Carrying runs out: transactions, captured logs, records."""
