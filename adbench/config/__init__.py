"""From words and YAML files to checked objects, composed with Hydra."""
