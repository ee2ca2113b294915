"""How systems name things, one YAML file a system; `table` says what may stand in one."""
