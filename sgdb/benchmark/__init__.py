"""Bots on the games of benchmark sets."""
