"""The interface: routes, pages, the command line, migrations; knows all, known by none."""
