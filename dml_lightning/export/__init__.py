"""`dml export`: a finished run as a folder that needs neither this package nor PyTorch."""
