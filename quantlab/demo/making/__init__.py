"""How the bundled model was made. Nothing imports it but its tests."""
