"""What a finished run knows: prototypes and thresholds, and species enrolled since."""
