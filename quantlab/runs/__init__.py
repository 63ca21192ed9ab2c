"""The jobs: what was asked is planned, loaded and measured, and told as events."""
