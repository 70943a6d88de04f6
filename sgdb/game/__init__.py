"""SameGame itself: pure functions, no input or output."""
