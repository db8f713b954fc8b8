"""Tasks in their normalized form: what they mean, their files, and their texts as token ids."""
