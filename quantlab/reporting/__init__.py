"""Records in, something to read out: charts, advice, one HTML file."""
