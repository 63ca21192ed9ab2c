"""How far a variant is from the reference. Definitions: docs/measurement.md."""
