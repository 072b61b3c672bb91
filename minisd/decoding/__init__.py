"""From brain activity to features of pictures, and back to pictures.

himalaya, scikit-image, nibabel, h5py and scipy come with the ``brain`` extra.
"""
