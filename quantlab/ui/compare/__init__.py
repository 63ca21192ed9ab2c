"""The tab that asks one prompt of all columns."""
