"""Finding models: well-known ones, those on this machine, those on the hub with their published scores."""
