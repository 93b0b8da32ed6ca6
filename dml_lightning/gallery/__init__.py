"""Gallery of a finished run: prototypes and thresholds of the known classes, and species enrolled since."""
