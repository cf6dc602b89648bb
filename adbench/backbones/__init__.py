"""Frozen networks that turn images into feature maps: timm's, open_clip's, and EfficientNet-Lite offline."""
