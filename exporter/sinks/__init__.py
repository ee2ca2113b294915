"""One file per destination; `type:` in the settings is the file's name."""
