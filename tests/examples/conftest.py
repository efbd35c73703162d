"""The examples run where they are installed: see tests/test_plugin_example.py."""

collect_ignore_glob = ["*"]
