"""Pictures of embeddings and of frames, and the colours and projection that reports share with them."""
