"""A small convolutional network for single handwritten digits.

Its parameter names are those of the pretrained files in data/models/digit (28 x 28, no batch norm) and
data/models/digit_challenger (16 x 16, batch norm and dropout), so that either loads with `strict=True`.

Shapes: B images, C channels (1), H height, W width, O classes (10).
"""

from typing import cast

from torch import Tensor, nn

CLASSES = 10
HIDDEN = 128


class DigitNet(nn.Module):
    """Two convolutions with max-pooling, then two linear layers."""

    def __init__(self, *, side: int = 28, batch_norm: bool = False, dropout: float | None = None) -> None:
        """Build the network for one image size.

        Args:
            side: height and width of the images, in pixels.
            batch_norm: normalise after each convolution.
            dropout: probability of a zero before each linear layer while training; `None` leaves the layers out, and
                so changes the parameters' names.
        """
        super().__init__()
        self.side = side
        features: list[nn.Module] = []
        for channels_in, channels_out in ((1, 32), (32, 64)):
            features.append(nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1))
            features += [nn.BatchNorm2d(channels_out)] if batch_norm else []
            features += [nn.ReLU(), nn.MaxPool2d(2)]
        drop: list[nn.Module] = [] if dropout is None else [nn.Dropout(dropout)]
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            *drop, nn.Linear(64 * (side // 4) ** 2, HIDDEN), nn.ReLU(), *drop, nn.Linear(HIDDEN, CLASSES)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits of shape (B, 10).

        Args:
            x_BCHW: normalised grey levels, float32, (B, 1, side, side).

        Raises:
            ValueError: the images have another size.
        """
        if tuple(x_BCHW.shape[1:]) != (1, self.side, self.side):
            raise ValueError(
                f"DigitNet was built for images of shape (1, {self.side}, {self.side}), found "
                f"{tuple(x_BCHW.shape[1:])}; set the image feature's height and width to {self.side}, channels to 1"
            )
        return cast(Tensor, self.classifier(self.features(x_BCHW).flatten(start_dim=1)))
