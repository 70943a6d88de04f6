"""Legacy pickle files: read without ever running anything in them, and written for the old system."""
