"""Pictures of embeddings and of frames."""
