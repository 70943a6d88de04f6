"""Playing benchmark sets, and what their results say."""
