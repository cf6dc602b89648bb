"""Systems of anomalib (Akcay et al., arXiv 2202.08341) as detectors, on our images and geometry."""
