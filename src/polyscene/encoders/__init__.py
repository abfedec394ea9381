"""Encoders: any timm network. Pyramid networks give their stages, plain ViTs some of their blocks."""
