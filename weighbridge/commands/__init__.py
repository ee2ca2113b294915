"""One file per command, and what they share: text, errors, the client of the admin port."""
