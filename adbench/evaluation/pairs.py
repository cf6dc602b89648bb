"""How the pixels of a test set are ordered, image by image, and the pixel AUROC that follows."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PixelPairs:
    """How the pixels of a test set are ordered, image by image.

    The AUROC of pooled pixels is a ratio of sums over pairs of images. So these counts are enough
    for the AUROC of any part of the images, and an interval needs no maps.
    """

    concordant: np.ndarray
    """(n, n) float64: of the pairs of an anomalous pixel of image i and a normal one of image j,
    those in the right order; a tie is half a pair."""
    positives: np.ndarray
    """(n,) float64 anomalous pixels of each image."""
    negatives: np.ndarray
    """(n,) float64 normal pixels of each image."""

    def auroc(self) -> float:
        """Pixel AUROC of all images."""
        return float(self.concordant.sum() / (self.positives.sum() * self.negatives.sum()))

    def without_each(self) -> np.ndarray:
        """(n,) pixel AUROC of the other images, for each image; NaN where they lack a class."""
        own = np.diag(self.concordant)
        concordant = (
            self.concordant.sum() - self.concordant.sum(axis=0) - self.concordant.sum(axis=1) + own
        )
        positives = self.positives.sum() - self.positives
        pairs = positives * (self.negatives.sum() - self.negatives)
        without = np.full(len(own), np.nan)
        np.divide(concordant, pairs, out=without, where=pairs > 0)
        return without
