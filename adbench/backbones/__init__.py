"""Frozen networks that turn images into feature maps: timm's and open_clip's."""
