"""Where texts and labels come from (the hub, files, docstrings, a user's table), up to one normalized form."""
