"""Models of Photon ML's kind: generalised linear models with fixed and random effects (GLMix), in Photon's own files.

Needs `pip install 'ambry[photon]'`.
"""
