"""One function per `dml` command."""
