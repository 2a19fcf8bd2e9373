"""From what went wrong to likely cause, evidence and next step: rules over runs and over error texts."""
