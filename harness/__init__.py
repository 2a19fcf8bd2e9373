"""Judge: stream sensors through the model, record everything, give verdicts."""
