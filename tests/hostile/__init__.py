"""Hostile and damaged files, and the proof that the tests would notice a weaker reader."""
