"""The tab for looking inside a weight matrix: numbers, levels, errors."""
