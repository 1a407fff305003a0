"""The 3-D CNN of Zunair et al. 2020, the network of the published classifier and of its severity score.

H. Zunair, A. Rahman, N. Mohammed, J. P. Cohen: Uniformizing Techniques to Process CT Scans with 3D CNNs for
Tuberculosis Prediction, PRIME 2020, doi 10.1007/978-3-030-59354-4_15. A bundle names it; the registry builds it.
"""

from torch import nn


def zunair3d(
    *, filters: tuple[int, ...] = (64, 64, 128, 256), dense_units: int = 512, dropout_prob: float = 0.3
) -> nn.Module:
    """Build the network with one input channel and one linear output.

    It takes float32 (n, 1, depth, height, width) and gives (n, 1); the caller applies the sigmoid or none. Convolutions
    are unpadded, as the paper's: with four blocks each side of the grid must have 46 voxels or more.

    Parameters
    ----------
    filters
        Of the blocks' convolutions: 3 x 3 x 3, ReLU, maximum of 2 x 2 x 2, batch normalisation.
    dense_units
        Of the layer between the global average and the output.
    """
    blocks = [
        layer
        for entering, leaving in zip((1, *filters), filters, strict=False)
        for layer in (nn.Conv3d(entering, leaving, 3), nn.ReLU(inplace=True), nn.MaxPool3d(2), nn.BatchNorm3d(leaving))
    ]
    head = (nn.Linear(filters[-1], dense_units), nn.ReLU(inplace=True), nn.Dropout(dropout_prob))
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool3d(1), nn.Flatten(), *head, nn.Linear(dense_units, 1))
