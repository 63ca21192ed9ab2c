"""The tab that trains adapters on a frozen base."""
