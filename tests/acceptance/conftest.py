"""The plugin's project is run by test_plugin, in an environment of its own."""

collect_ignore = ["plugin_project"]
