"""One file a step, in order. Knows nothing of the present schema: a migration never changes once released."""
