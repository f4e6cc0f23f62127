"""FLUX's transformers as others keep them: folders, files and names."""
