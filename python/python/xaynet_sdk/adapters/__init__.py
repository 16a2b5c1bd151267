"""Programs for other frameworks as participants. Each module needs its framework, and imports it when it is used."""
