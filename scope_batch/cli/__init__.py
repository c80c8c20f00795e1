"""The command line. No other room prints or turns exceptions into exit codes."""
